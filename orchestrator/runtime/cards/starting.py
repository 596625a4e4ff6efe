"""How a slot comes to serve: a process is started, says its card, waits its turn, and loads."""

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from ray.exceptions import RayError

from actors.messages import CardIdentity, CardStats, LoadReport
from orchestrator.errors import CardLostError, CardsUnavailableError
from orchestrator.runtime.cards.fleet import CardProcess, Fleet
from orchestrator.runtime.cards.losses import Loss
from orchestrator.runtime.cards.plugs import Plugs
from orchestrator.runtime.cards.slots import Listener, Slot, SlotState, bind
from orchestrator.runtime.cards.waits import Waits
from orchestrator.runtime.events import Events
from orchestrator.runtime.journal import EventName, Journal
from orchestrator.runtime.options import RestartRules

#: Seconds; of a shorter wait for a turn nothing is said.
_LONG = 5.0


class Starting:
    """The part of a controller that starts processes; what fails on the way is another's matter.

    Lives on the thread of its events.
    """

    def __init__(
        self,
        slots: Iterable[Slot],
        fleet: Fleet,
        rules: RestartRules,
        clock: Callable[[], float],
        journal: Journal,
        lost: Mapping[str, Loss],
    ) -> None:
        self._fleet = fleet
        self._plugs = Plugs(lost)
        self._journal = journal
        self._rules = rules
        self._clock = clock
        self.slots = {slot.name: slot for slot in slots}
        self._waits = Waits()
        self._events = Events("orchestrator-controller", clock, self._waits.all_fail)
        self._listener: Listener | None = None

    def _failed(self, slot: Slot, error: BaseException, reason: str) -> None:
        raise NotImplementedError

    def _hangs(self, process: CardProcess, reason: str) -> None:
        raise NotImplementedError

    def _ended(self, process: CardProcess, done: "Future[None]") -> None:
        raise NotImplementedError

    def _launch(self, slot: Slot) -> None:
        try:
            process = self._fleet.launch(slot.node_id, slot.order.host)
        except RayError as error:  # this Ray has ended, or its user has left it
            self._failed(slot, CardLostError(slot.name, str(error)), str(error))
            return
        process.label = slot.name
        slot.state, slot.process, slot.life = SlotState.STARTING, process, process.life
        self._events.when_done(process.identify(), self._identified, process)
        self._events.after(self._rules.start, self._late, process)

    def _relaunch(self, slot: Slot, life: int) -> None:
        if self._still_waits(slot, life):
            self._launch(slot)

    def _still_waits(self, slot: Slot, life: int) -> bool:
        known = self.slots.get(slot.name) is slot
        return known and slot.state is SlotState.WAITING and slot.life == life

    def _late(self, process: CardProcess) -> None:
        slot = self._slot_of(process)
        if slot is not None and slot.state is SlotState.STARTING:
            seconds = self._rules.start
            wanted = len(self.slots)
            running = sum(other.identity is not None for other in self.slots.values())
            hint = f"none became free for slot {slot.name} within {seconds:g} s"
            if slot.order.host.lasting:
                hint += f", with {slot.order.host.lasting:,} bytes of Ray's memory beside it"
            if shunned := self._plugs.on(slot.node_id):
                hint += f"; npu {', '.join(shunned)} of its node is quarantined"
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
        if self._plugs.take(process, identity):
            self._events.when_done(process.watch(), self._unplugged, process)
            self._launch(slot)
            return
        slot = bind(self.slots.values(), slot, identity)
        slot.state, slot.identity = SlotState.LOADING, identity
        where = f"process {identity.pid} on card {identity.npu_id or '?'}"
        self._note(slot, "restart" if slot.restarts else "start", where)
        self._events.when_done(process.watch(), self._ended, process)
        turn = process.enter(slot.order.host.peak)
        self._events.when_done(turn, self._entered, process, self._clock())
        self._watch_turn(process, turn)

    def _unplugged(self, process: CardProcess, _done: "Future[None]") -> None:
        self._plugs.ended(process)

    def _watch_turn(self, process: CardProcess, turn: "Future[None]") -> None:
        """A turn may take as long as others load; whoever waits for it must still answer."""
        self._events.after(self._rules.load, self._silent, process, turn, process.stats())

    def _silent(
        self, process: CardProcess, turn: "Future[None]", sign: "Future[CardStats]"
    ) -> None:
        slot = self._slot_of(process)
        if turn.done() or slot is None or slot.state is not SlotState.LOADING:
            return
        if sign.done():
            self._watch_turn(process, turn)
        else:
            told = f"no sign of life for {self._rules.load:g} s, before its turn to load"
            self._hangs(process, f"it hangs: {told}")

    def _entered(self, process: CardProcess, asked: float, done: "Future[None]") -> None:
        """It is its turn to load, for which it asked then."""
        if (slot := self._still_loads(process, done)) is not None:
            waited, host = self._clock() - asked, slot.order.host
            if waited >= _LONG:
                how = "as estimated" if host.estimated else "as measured"
                room = f"room on its host for the {host.peak:,} bytes of its load, {how}"
                self._note(slot, "start", f"waited {waited:.0f} s for {room}")
            self._events.after(self._rules.load, self._stuck, process)
            self._events.when_done(process.load(slot.order), self._loaded, process)

    def _loaded(self, process: CardProcess, done: "Future[LoadReport]") -> None:
        slot = self._still_loads(process, done)
        if slot is None:
            return
        slot.report = done.result()
        for warning in slot.report.warnings:
            self._note(slot, "warning", warning)
        self._note(slot, "ready", f"ready after {slot.report.seconds:.1f} s")
        self._serve(slot, process)
        self._waits.serves(slot.name)

    def _still_loads(self, process: CardProcess, done: "Future[Any]") -> Slot | None:
        """The slot of a process that is on its way, unless what it has just done failed."""
        slot = self._slot_of(process)
        if slot is None or slot.state is not SlotState.LOADING:
            return None
        error = done.exception()
        if error is not None:
            self._failed(slot, error, str(error))
            return None
        return slot

    def _stuck(self, process: CardProcess) -> None:
        slot = self._slot_of(process)
        if slot is not None and slot.state is SlotState.LOADING:
            seconds = self._rules.load
            self._hangs(process, f"it hangs: its models have not loaded within {seconds:g} s")

    def _resume(self, slot: Slot) -> None:
        """A process that serves already, and was found by a controller that has just started."""
        if slot.process is not None:
            self._events.when_done(slot.process.watch(), self._ended, slot.process)
            self._serve(slot, slot.process)

    def _serve(self, slot: Slot, process: CardProcess) -> None:
        slot.state, slot.ready_at, slot.why = SlotState.READY, self._clock(), ""
        if self._listener is not None:
            self._listener.serving(slot.name, slot.life, process)

    def _slot_of(self, process: CardProcess) -> Slot | None:
        """The slot that a process serves; None for one that was replaced meanwhile."""
        return next((slot for slot in self.slots.values() if slot.process is process), None)

    def _note(self, slot: Slot, event: EventName, what: str, level: int = logging.INFO) -> None:
        slot.story.append(what)
        models = [model.name for model in slot.order.models]
        self._journal.tell(event, what, card=slot.name, models=models, level=level)
