"""Actor calls in flight, and the cards that they are on."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from actors.errors import OrchestratorError
from actors.queue import Priority
from orchestrator.dispatch.retry import Ticket


@dataclass(slots=True, eq=False)
class Bundle:
    """One actor call: requests of one model and one priority for one card. Never changed.

    ``life`` names the card's process; ``rows_ahead`` are the rows in flight on the replica when the
    call left, its own included. ``alone``: the card runs nothing else meanwhile. (Not frozen: see
    ``actors.entries.Entry``.)
    """

    id: int
    model: str
    slot: str
    life: int
    tickets: tuple[Ticket, ...]
    rows: int
    sent: float
    rows_ahead: int
    alone: bool = False

    @property
    def priority(self) -> Priority:
        """That of all its requests."""
        return self.tickets[0].priority

    @property
    def nbytes(self) -> int:
        """Bytes of all its inputs."""
        return sum(ticket.nbytes for ticket in self.tickets)


@dataclass(frozen=True)
class Failure:
    """A request that failed for good; ``set_aside``: because it was alone on cards that died.

    ``died_on``: those and the others that it met its end on, each as often as that happened.
    """

    id: int
    error: OrchestratorError
    set_aside: bool = False
    died_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeskView:
    """The desk's numbers at one moment: ``in_flight`` per card, all else per model.

    ``retries`` by model and the card on which it failed; ``backlog``: rows that are not answered.
    """

    in_flight: Mapping[str, int]
    waiting: Mapping[str, int]
    retries: Mapping[tuple[str, str], int]
    unserved: Mapping[str, str]
    set_aside: tuple[str, ...]
    backlog: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Slot:
    """A card as the desk sees it.

    ``serving`` is the life that takes work, or None and ``why``; ``gone`` says why it will not come
    back. ``holds`` are the models of that life, None: all that the plan has there. ``held_for`` is
    a suspect request that waits for the card to be empty.
    """

    name: str
    serving: int | None = None
    holds: Collection[str] | None = None
    gone: str = ""
    why: str = "is starting"
    in_flight: dict[int, Bundle] = field(default_factory=dict)
    held_for: int | None = None
    _ends: dict[int, tuple[int, str]] = field(default_factory=dict)

    def serves(self, model: str) -> bool:
        """Whether the card takes requests of one of its models now."""
        return self.serving is not None and (self.holds is None or model in self.holds)

    def end(self, life: int, reason: str) -> tuple[int, str]:
        """How many requests a process had when it was first seen dead, and what was said then."""
        if life not in self._ends:
            bundles = [bundle for bundle in self.in_flight.values() if bundle.life == life]
            self._ends[life] = sum(len(bundle.tickets) for bundle in bundles), reason
        return self._ends[life]
