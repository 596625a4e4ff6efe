"""What becomes of a request whose card died, failed or refused it, and the story that it tells.

A card that dies takes its requests in flight with it, and one of them may be the reason. The rules:

- the first death in company: every request of the card goes elsewhere at once, with others;
- from the second on, or when no other request of this driver was there, a request is a suspect and
  has a card to itself: the card runs nothing else meanwhile, whoever sent it;
- two deaths of cards that it had to itself: the request is set aside and named.

So an innocent request that met two deaths costs a card a moment alone, and a guilty one takes at
most four processes with it.
"""

from dataclasses import dataclass
from enum import Enum, auto

from actors.errors import OrchestratorError
from actors.queue import Priority
from orchestrator.errors import RequestFailedError


@dataclass(frozen=True)
class RetryRules:
    """``patience``: seconds that a request waits while no replica of its model is serving.

    Where there was no memory for its call, a request pauses for ``pause`` seconds, the next time
    for twice as long, and fails the ``most_without_room``-th time.
    """

    deaths_before_alone: int = 2
    deaths_alone: int = 2
    max_deaths: int = 8
    max_errors: int = 2
    patience: float = 120.0
    pause: float = 0.1
    most_without_room: int = 9


@dataclass(slots=True, eq=False)
class Ticket:
    """One request on its way through the driver. ``since`` is when its present wait began.

    ``suspect``: it has a card to itself from the start, and so many deaths of such cards are
    enough; 0: as the rules say. ``blamed``: it was given up because of what it did to cards, see
    RequestFailedError. ``open``: it has neither an answer nor a failure; ``queued``: it waits in
    line; ``on``: the slot and the life of the process that has it.
    """

    id: int
    model: str
    rows: int
    nbytes: int
    since: float
    priority: Priority = "online"
    suspect: int = 0
    deaths: int = 0
    deaths_alone: int = 0
    errors: int = 0
    without_room: int = 0
    failed_on: frozenset[str] = frozenset()
    died_on: tuple[str, ...] = ()
    story: tuple[str, ...] = ()
    blamed: bool = False
    open: bool = True
    queued: bool = False
    on: tuple[str, int] | None = None


class Verdict(Enum):
    """What to do with a request that came back without an answer."""

    AGAIN = auto()
    """Send it to any replica, ahead of newer ones."""
    ALONE = auto()
    """Send it to a card that runs nothing else meanwhile."""
    LATER = auto()
    """Send it again after a pause."""
    FAIL = auto()
    """Give up; the ticket's story says why."""


def after_death(
    ticket: Ticket, slot: str, reason: str, together: int, alone: bool, rules: RetryRules
) -> Verdict:
    """Judge a request whose card died while ``together`` requests (itself included) were on it.

    That counts this driver's alone; ``alone``: the card ran nothing else, whoever sent it.
    """
    ticket.deaths += 1
    ticket.deaths_alone += alone
    ticket.died_on += (slot,)
    ticket.story += (f"{slot} died ({reason}; {_company(together, alone)})",)
    if ticket.deaths_alone >= (ticket.suspect or rules.deaths_alone):
        told = f"{ticket.deaths_alone} cards died while it was the only request on them"
        if ticket.deaths_alone == 1:
            told = "a card died while it was the only request on it"
        ticket.story += (f"set aside: {told}",)
        ticket.blamed = True
        return Verdict.FAIL
    if ticket.deaths >= rules.max_deaths:
        ticket.story += (f"gave up after {ticket.deaths} deaths",)
        return Verdict.FAIL
    suspect = ticket.suspect or together == 1 or ticket.deaths >= rules.deaths_before_alone
    return Verdict.ALONE if suspect else Verdict.AGAIN


def after_error(
    ticket: Ticket, slot: str, error: str, others: bool, rules: RetryRules, blamed: bool = True
) -> Verdict:
    """Judge a request that failed on a card. ``others``: a replica has not tried it yet.

    ``blamed``: the library failed on it; else it was a mistake on its way.
    """
    ticket.errors += 1
    ticket.failed_on |= {slot}
    ticket.story += (f"{slot}: {error}",)
    if others and ticket.errors < rules.max_errors:
        return Verdict.AGAIN
    ticket.blamed = blamed
    return Verdict.FAIL


def after_no_room(ticket: Ticket, error: str, rules: RetryRules) -> Verdict:
    """Judge a request for whose call there was no memory on its way."""
    ticket.without_room += 1
    ticket.story += (error,)
    return Verdict.LATER if ticket.without_room < rules.most_without_room else Verdict.FAIL


def failure(ticket: Ticket) -> OrchestratorError:
    """The error that the caller of a given-up request sees."""
    cards = tuple(sorted({*ticket.failed_on, *ticket.died_on}))
    return RequestFailedError(ticket.model, ticket.story, cards, ticket.blamed)


def _company(together: int, alone: bool) -> str:
    if alone:
        return "it was alone on the card"
    if together == 1:
        return "no other request of this driver was on the card"
    return f"{together} requests were on the card"
