"""Requests of a process that does not keep the cards itself: it is told who serves which slot."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from actors.messages import Arrays
from actors.queue import Priority
from actors.shapes import Signature
from orchestrator.errors import NoSuchDeploymentError
from orchestrator.placement import DeploymentPlan
from orchestrator.routes import planned_models, routes
from orchestrator.runtime.calls.outlook import Sent
from orchestrator.runtime.calls.traffic import Checked, Traffic
from orchestrator.runtime.cards.slots import Slot, SlotState
from orchestrator.runtime.options import Options

#: What requests are told that were under way when their deployment ended.
DOWN = "the deployment was taken down"


@dataclass(frozen=True)
class Seen:
    """A deployment as whoever keeps it sees it. May be sent to other processes.

    ``waits_for``: lost cards that others are to take over from. ``over``: it was taken down.
    """

    plan: DeploymentPlan
    slots: tuple[Slot, ...]
    signatures: Mapping[str, Signature]
    waits_for: frozenset[str] = frozenset()
    over: bool = False


class Lender(Protocol):
    """Whoever can tell other processes of its job how to reach the cards."""

    @property
    def plan(self) -> DeploymentPlan:
        """The plan that runs."""

    @property
    def options(self) -> Options:
        """How requests are sent."""

    @property
    def over(self) -> bool:
        """Whether nothing is left that could take requests."""

    def seen(self) -> Seen:
        """As it is now."""

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Have ``changed`` called, on any thread, when ``seen`` differs; returns what ends that."""

    def look(self, slot: str, life: int, reason: str) -> "Future[bool]":
        """Somebody could not reach a card: is it there all the same? Else it is replaced."""

    def pardon(self, deaths: Mapping[str, int]) -> None:
        """So many deaths of these slots' processes were the doing of a request."""

    def hear(self, worker: Hashable, sent: Sent) -> None:
        """What one of these processes sends."""

    def unserved(self, model: str) -> str:
        """Why a model has no card left; empty while it has one."""


class Following(Traffic):
    """Routes requests as the last ``apply`` tells."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._told: dict[str, tuple[int, SlotState, bool]] = {}
        self._slots: tuple[Slot, ...] = ()

    def slots(self) -> Sequence[Slot]:
        """See Traffic."""
        return self._slots

    def _checked(
        self, model: str, inputs: Arrays, priority: Priority, timeout: float | None
    ) -> Checked:
        if self.over:
            raise NoSuchDeploymentError(self.plan.deployment.name)
        return super()._checked(model, inputs, priority, timeout)

    def apply(self, seen: Seen) -> None:
        """Tell the router what has changed since the last time."""
        self._slots = seen.slots
        placed = {name: set(models) for name, models in planned_models(seen.plan).items()}
        for slot in seen.slots:
            placed.setdefault(slot.name, set()).update(model.name for model in slot.order.models)
        replicas = routes(seen.plan, placed, self._options.transport)
        self._router.adopt(replicas)
        self.know(seen.plan, {**self.signatures, **seen.signatures})
        used = {route.slot for route in replicas}
        for slot in seen.slots:
            if slot.name in used:
                self._tell(slot, over=slot.lost and slot.name not in seen.waits_for)
        for name in self._told.keys() - {slot.name for slot in seen.slots}:
            self._router.down(name, self._told.pop(name)[0], "it is no longer in the deployment")

    def looked(self, name: str, life: int, there: bool) -> None:
        """A card that a call could not reach was looked at; if it is there it is used again.

        If nobody found it, or nobody could look, the next ``apply`` tells anew what serves there.
        """
        slot = next((slot for slot in self._slots if slot.name == name), None)
        if there and slot is not None and slot.life == life and slot.serving is not None:
            self._router.serving(name, life, slot.serving, _models(slot))
        elif not there and name in self._told and self._told[name][0] == life:
            self._told.pop(name, None)

    def _tell(self, slot: Slot, over: bool) -> None:
        """What serves a slot now; ``over``: nothing will, and nobody takes over any more."""
        now = slot.life, slot.state, over
        before = self._told.get(slot.name)
        if now == before:
            return
        self._told[slot.name] = now
        process = slot.serving
        if before is not None and (process is None or before[0] != slot.life):
            self._router.down(slot.name, before[0], slot.why or "its process is replaced")
        if process is not None:
            self._router.serving(slot.name, slot.life, process, _models(slot))
        elif before is None:
            self._router.down(slot.name, slot.life, slot.why or f"is {slot.state.value}")
        if over:
            self._router.give_up(slot.name, slot.why)


class Borrowed(Following):
    """The cards of a job in one of its workers; ``on_lost`` asks the job's driver to look."""

    def __init__(
        self,
        options: Options,
        seen: Seen,
        on_lost: Callable[[str, int, str], None],
        on_culprit: Callable[[Mapping[str, int]], None],
    ) -> None:
        super().__init__(options)
        self.open(seen.plan, on_lost, on_culprit)
        self.apply(seen)

    def apply(self, seen: Seen) -> None:
        """See Following; what is over fails all that it has, and takes nothing more."""
        if seen.over:
            self.over = True
            self.end(why=DOWN)
        else:
            super().apply(seen)

    def answered(self) -> dict[str, int]:
        """Requests that were answered, by model."""
        return {name: counts.answered for name, counts in self._router.counts.items()}


class Watchers:
    """Those who want to hear that the cards have changed. Thread-safe."""

    def __init__(self) -> None:
        self._told: tuple[Callable[[], None], ...] = ()

    def add(self, changed: Callable[[], None]) -> Callable[[], None]:
        """One more; returns what removes it."""
        self._told = (*self._told, changed)
        return partial(self._remove, changed)

    def tell(self) -> None:
        """They have."""
        for changed in self._told:
            changed()

    def _remove(self, changed: Callable[[], None]) -> None:
        self._told = tuple(one for one in self._told if one is not changed)


def shown(slots: Iterable[Slot]) -> tuple[Slot, ...]:
    """Slots as they are now."""
    return tuple(slot.shown() for slot in slots)


def _models(slot: Slot) -> frozenset[str]:
    return frozenset(model.name for model in slot.order.models)
