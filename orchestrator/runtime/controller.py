"""Keeps every slot of a plan served: starts card processes, binds them, and replaces dead ones.

One thread owns the state; Ray's callbacks and timers only put events into its inbox, and nothing in
it waits for a call. Ray gives a process any free card of the node, so a process is bound to a slot
only after it has said which card it got, and only then told which models to load.
"""

import heapq
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Protocol

from actors.messages import CardIdentity, CardOrder, LoadReport
from orchestrator.errors import CardLostError, CardsUnavailableError
from orchestrator.runtime.fleet import CardProcess, Fleet

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RestartRules:
    """When a dead card process is replaced, in seconds, and when its slot is given up.

    The n-th failure in a row waits ``first_delay * 2**(n-1)``, at most ``max_delay``. A card that
    served for ``stable`` seconds starts to count anew. ``start`` bounds the wait for a free card.
    """

    first_delay: float = 0.5
    max_delay: float = 30.0
    most_failures: int = 5
    stable: float = 60.0
    start: float = 120.0

    def delay(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return float(min(self.first_delay * 2 ** (failures - 1), self.max_delay))


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
    STOPPED = "stopped"
    """The deployment is closed."""


@dataclass
class Slot:
    """One slot of the plan and the process that serves it, if any. ``life`` counts processes."""

    name: str
    node_id: str
    state: SlotState = SlotState.WAITING
    life: int = 0
    process: CardProcess | None = None
    identity: CardIdentity | None = None
    report: LoadReport | None = None
    failures: int = 0
    restarts: int = 0
    ready_at: float = 0.0
    why: str = ""
    story: deque[str] = field(default_factory=lambda: deque(maxlen=20))


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


class Controller:
    """``start`` returns when every slot serves; then cards are kept alive until ``close``."""

    def __init__(
        self,
        orders: Mapping[str, CardOrder],
        nodes: Mapping[str, str],
        fleet: Fleet,
        rules: RestartRules | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._orders = orders
        self._fleet = fleet
        self._rules = rules or RestartRules()
        self._clock = clock
        self.slots = {name: Slot(name, nodes[name]) for name in orders}
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._thread = Thread(target=self._run, name="orchestrator-controller", daemon=True)
        self._listener: Listener | None = None
        self._started: Future[None] = Future()
        self._closing = False

    def start(self, listener: Listener) -> None:
        """Start all cards and wait until they serve.

        Raises:
            LoadError, DoesNotFitError: a card cannot load its models; this is not tried again.
            CardLostError: a card's process died too often while it started.
            CardsUnavailableError: a card did not become free in time.
        """
        self._listener = listener
        for slot in self.slots.values():
            self._inbox.put(partial(self._launch, slot))
        self._thread.start()
        self._started.result()

    def lost(self, slot: str, life: int, reason: str) -> None:
        """A call found a card's process gone."""
        self._inbox.put(partial(self._lost, slot, life, reason))

    def close(self, stop_seconds: float) -> None:
        """Stop every card, wait for them at most so long, and end their processes."""
        if self._thread.is_alive():
            self._inbox.put(self._begin_close)
            self._thread.join()
        processes = [slot.process for slot in self.slots.values() if slot.process]
        if stop_seconds > 0:
            wait([process.stop() for process in processes], stop_seconds)
        ends = [process.watch() for process in processes]
        for process in processes:
            process.kill()
        wait(ends, max(stop_seconds, 2.0))
        for slot in self.slots.values():
            slot.state, slot.process = SlotState.STOPPED, None

    def _run(self) -> None:
        while not self._closing:
            try:
                self._turn()
            except Exception as error:
                _log.exception("the controller failed to handle an event")
                if not self._started.done():
                    self._started.set_exception(error)

    def _turn(self) -> None:
        due = max(self._timers[0][0] - self._clock(), 0.0) if self._timers else None
        try:
            event = self._inbox.get(timeout=due)
        except Empty:
            event = heapq.heappop(self._timers)[2]
        event()

    def _after(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (self._clock() + seconds, next(self._order), event))

    def _when_done(self, future: "Future[Any]", event: Callable[..., None], *about: object) -> None:
        future.add_done_callback(lambda done: self._inbox.put(partial(event, *about, done)))

    def _launch(self, slot: Slot) -> None:
        if slot.state is SlotState.GIVEN_UP:
            return
        slot.life += 1
        process = self._fleet.launch(slot.node_id)
        process.label = slot.name
        slot.state, slot.process, slot.identity = SlotState.STARTING, process, None
        self._when_done(process.identify(), self._identified, process)
        self._after(self._rules.start, partial(self._late, process))

    def _late(self, process: CardProcess) -> None:
        slot = self._slot_of(process)
        if slot is not None and slot.state is SlotState.STARTING:
            seconds = self._rules.start
            wanted = len(self.slots)
            running = sum(other.identity is not None for other in self.slots.values())
            hint = f"none became free for slot {slot.name} within {seconds:g} s"
            self._failed(
                slot, CardsUnavailableError(wanted, running, self._fleet.resource, hint), hint
            )

    def _identified(self, process: CardProcess, done: "Future[CardIdentity]") -> None:
        slot = self._slot_of(process)
        if slot is None:
            return
        error = done.exception()
        if error is not None:
            self._failed(slot, error, str(error))
            return
        identity = done.result()
        slot = self._bind(slot, identity)
        slot.state, slot.identity = SlotState.LOADING, identity
        self._note(slot, f"process {identity.pid} on card {identity.npu_id or '?'}")
        self._when_done(process.watch(), self._ended, process)
        self._when_done(process.load(self._orders[slot.name]), self._loaded, process)

    def _bind(self, slot: Slot, identity: CardIdentity) -> Slot:
        """The slot that this card serves: the one of its number, if that still waits for a card.

        Cards of a node are alike, so any binding is right; this one keeps reports stable.
        """
        number = identity.npu_id
        same = next(
            (
                other
                for other in self.slots.values()
                if other.node_id == slot.node_id
                and other.state is SlotState.STARTING
                and other.name.rpartition("/")[2] == number
            ),
            slot,
        )
        if same is not slot:
            slot.process, same.process = same.process, slot.process
            for one in (slot, same):
                if one.process is not None:
                    one.process.label = one.name
        return same

    def _loaded(self, process: CardProcess, done: "Future[LoadReport]") -> None:
        slot = self._slot_of(process)
        if slot is None or self._listener is None:
            return
        error = done.exception()
        if error is not None:
            self._failed(slot, error, str(error))
            return
        slot.report = done.result()
        for warning in slot.report.warnings:
            self._note(slot, warning)
        slot.state, slot.ready_at, slot.why = SlotState.READY, self._clock(), ""
        self._note(slot, f"ready after {slot.report.seconds:.1f} s")
        self._listener.serving(slot.name, slot.life, process)
        if not self._started.done() and all(
            other.state is SlotState.READY for other in self.slots.values()
        ):
            self._started.set_result(None)

    def _ended(self, process: CardProcess, done: "Future[None]") -> None:
        slot = self._slot_of(process)
        if slot is not None:
            error = done.exception() or CardLostError(slot.name, "its process was stopped")
            self._failed(slot, error, getattr(error, "reason", str(error)))

    def _lost(self, name: str, life: int, reason: str) -> None:
        slot = self.slots[name]
        if slot.life == life and slot.process is not None:
            self._failed(slot, CardLostError(name, reason), reason)

    def _failed(self, slot: Slot, error: BaseException, reason: str) -> None:
        """A process is of no further use: end it, and replace it or give the slot up."""
        if slot.process is not None:
            slot.process.kill()
        slot.process = slot.identity = None
        if slot.state is SlotState.READY and self._clock() - slot.ready_at >= self._rules.stable:
            slot.failures = 0
        slot.failures += 1
        slot.why = reason
        self._note(slot, reason)
        if self._listener is not None:
            self._listener.down(slot.name, slot.life, reason)
        if not self._started.done() and not isinstance(error, CardLostError):
            self._started.set_exception(error)
        elif slot.failures >= self._rules.most_failures:
            self._give_up(slot, reason)
        else:
            slot.state = SlotState.WAITING
            slot.restarts += 1
            self._after(self._rules.delay(slot.failures), partial(self._launch, slot))

    def _give_up(self, slot: Slot, reason: str) -> None:
        slot.state = SlotState.GIVEN_UP
        told = f"failed {slot.failures} times in a row, last: {reason}"
        models = ", ".join(model.name for model in self._orders[slot.name].models)
        _log.error("slot %s (%s) is given up: it %s", slot.name, models, told)
        if not self._started.done():
            self._started.set_exception(CardLostError(slot.name, told))
        elif self._listener is not None:
            self._listener.give_up(slot.name, told)

    def _slot_of(self, process: CardProcess) -> Slot | None:
        """The slot that a process serves; None for one that was replaced meanwhile."""
        return next((slot for slot in self.slots.values() if slot.process is process), None)

    def _note(self, slot: Slot, what: str) -> None:
        slot.story.append(what)
        _log.info("slot %s: %s", slot.name, what)

    def _begin_close(self) -> None:
        self._closing = True
        if not self._started.done():
            self._started.cancel()
