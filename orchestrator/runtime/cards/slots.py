"""The slots of a deployment as its controller keeps them."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from actors.messages import CardIdentity, CardOrder, LoadReport
from actors.shapes import Signature
from orchestrator.runtime.cards.fleet import CardProcess
from orchestrator.runtime.cards.history import History
from orchestrator.runtime.cards.losses import Loss


class SlotState(str, Enum):
    """Where a slot stands."""

    STARTING = "starting"
    """A process was asked for and has not said yet which card it got."""
    LOADING = "loading"
    """Bound; it builds its models."""
    READY = "ready"
    """It serves."""
    WAITING = "waiting"
    """Its process died; the next one is started when the back-off is over."""
    GIVEN_UP = "given up"
    """It failed too often in a row."""
    QUARANTINED = "quarantined"
    """Its processes hang or fail again and again; none is started until somebody wants that."""
    DRAINING = "draining"
    """Its process finishes what it has and ends; none follows by itself."""
    DRAINED = "drained"
    """It has no process, because somebody wanted that."""
    STOPPED = "stopped"
    """The deployment is closed."""


#: States that end by themselves in one that serves, if all goes well.
TO_COME = (SlotState.STARTING, SlotState.LOADING, SlotState.WAITING)


@dataclass
class Slot:
    """One slot and the process that serves it, if any, with what it was told to load.

    ``life`` tells its processes apart, ``history`` is what became of them, ``refused`` that it
    could not load what it was told at first. May be sent elsewhere, as ``shown``.
    """

    name: str
    node_id: str
    order: CardOrder
    state: SlotState = SlotState.WAITING
    life: int = 0
    process: CardProcess | None = None
    identity: CardIdentity | None = None
    report: LoadReport | None = None
    history: History = field(default_factory=History)
    ready_at: float = 0.0
    why: str = ""
    refused: bool = False
    story: deque[str] = field(default_factory=lambda: deque(maxlen=20))

    @property
    def serving(self) -> CardProcess | None:
        """The process that takes requests now."""
        return self.process if self.state is SlotState.READY else None

    @property
    def lost(self) -> bool:
        """Whether no process will follow by itself, though one should serve."""
        return self.state in (SlotState.GIVEN_UP, SlotState.QUARANTINED)

    @property
    def restarts(self) -> int:
        """How often its process was replaced."""
        return self.history.restarts

    def shown(self) -> "Slot":
        """As it is now."""
        return replace(self, story=self.story.copy())


def told_of(slot: Slot) -> str:
    """How a slot is, for people."""
    return f"{slot.name} is {slot.state.value}" + (f": {slot.why}" if slot.why else "")


class Listener(Protocol):
    """Who is told which card serves: the router."""

    def serving(self, slot: str, life: int, card: CardProcess) -> None:
        """A process has its models and takes requests."""
        ...

    def down(self, slot: str, life: int, reason: str) -> None:
        """A process is gone; another may follow."""
        ...

    def give_up(self, slot: str, reason: str) -> None:
        """No other will follow."""
        ...

    def failed(self, slot: Slot) -> None:
        """What counts of a slot's processes has changed: that must outlive who keeps it."""
        ...

    def losing(self, slot: Slot, loss: Loss) -> None:
        """No process will follow: so it must be kept before anybody sees that."""
        ...


def bind(slots: Iterable[Slot], slot: Slot, identity: CardIdentity) -> Slot:
    """The slot that this card serves: the one of its number, if that still waits for a card.

    Cards of a node are alike, so any binding is right; this one keeps reports stable.
    """
    same = next(
        (
            other
            for other in slots
            if other.node_id == slot.node_id
            and other.state is SlotState.STARTING
            and other.name.rpartition("/")[2] == identity.ray_id
        ),
        slot,
    )
    if same is not slot:
        slot.process, same.process = same.process, slot.process
        slot.life, same.life = same.life, slot.life
        for one in (slot, same):
            if one.process is not None:
                one.process.label = one.name
    return same


def signatures_of(slots: Iterable[Slot]) -> dict[str, Signature]:
    """What the models on these cards take and give."""
    known: dict[str, Signature] = {}
    for slot in slots:
        if slot.report is not None:
            known.update(slot.report.signatures)
    return known
