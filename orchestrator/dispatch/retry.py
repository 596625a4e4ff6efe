"""What becomes of a request whose card died, failed or refused it, and the story that it tells.

A card that dies takes its requests in flight with it, and one of them may be the reason. The rules:

- the first death: every request of the card goes elsewhere at once, together with others;
- from the second on a request is a suspect and runs alone on a card;
- two deaths while alone on the card: the request is set aside and named.

So an innocent request that met two deaths costs a card a moment alone, and a guilty one takes at
most four processes with it.
"""

from dataclasses import dataclass, field
from enum import Enum, auto

from actors.errors import OrchestratorError
from actors.queue import Priority
from orchestrator.errors import RequestFailedError


@dataclass(frozen=True)
class RetryRules:
    """``patience``: seconds that a request waits while no replica of its model is serving."""

    deaths_before_alone: int = 2
    deaths_alone: int = 2
    max_deaths: int = 8
    max_errors: int = 2
    patience: float = 120.0


@dataclass
class Ticket:
    """One request on its way through the driver. ``since`` is when its present wait began."""

    id: int
    model: str
    rows: int
    nbytes: int
    since: float
    priority: Priority = "online"
    deaths: int = 0
    deaths_alone: int = 0
    errors: int = 0
    failed_on: set[str] = field(default_factory=set)
    died_on: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)


class Verdict(Enum):
    """What to do with a request that came back without an answer."""

    AGAIN = auto()
    """Send it to any replica, ahead of newer ones."""
    ALONE = auto()
    """Send it to a card that has nothing else of ours."""
    FAIL = auto()
    """Give up; the ticket's story says why."""


def after_death(
    ticket: Ticket, slot: str, reason: str, together: int, rules: RetryRules
) -> Verdict:
    """Judge a request whose card died while ``together`` requests (itself included) were on it."""
    ticket.deaths += 1
    ticket.died_on.append(slot)
    company = (
        "it was alone on the card" if together == 1 else f"{together} requests were on the card"
    )
    ticket.story.append(f"{slot} died ({reason}; {company})")
    if together == 1:
        ticket.deaths_alone += 1
    if ticket.deaths_alone >= rules.deaths_alone:
        ticket.story.append(
            f"set aside: {ticket.deaths_alone} cards died while it was the only request on them"
        )
        return Verdict.FAIL
    if ticket.deaths >= rules.max_deaths:
        ticket.story.append(f"gave up after {ticket.deaths} deaths")
        return Verdict.FAIL
    return Verdict.ALONE if ticket.deaths >= rules.deaths_before_alone else Verdict.AGAIN


def after_error(ticket: Ticket, slot: str, error: str, others: bool, rules: RetryRules) -> Verdict:
    """Judge a request that the library failed on. ``others``: a replica has not tried it yet."""
    ticket.errors += 1
    ticket.failed_on.add(slot)
    ticket.story.append(f"{slot}: {error}")
    return Verdict.AGAIN if others and ticket.errors < rules.max_errors else Verdict.FAIL


def failure(ticket: Ticket) -> OrchestratorError:
    """The error that the caller of a given-up request sees."""
    cards = tuple(sorted({*ticket.failed_on, *ticket.died_on}))
    return RequestFailedError(ticket.model, tuple(ticket.story), cards)
