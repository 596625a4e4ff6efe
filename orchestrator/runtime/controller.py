"""Keeps every slot of a plan served: starts card processes, binds them, and replaces dead ones.

One thread owns the state; Ray's callbacks and timers only put events into its inbox, and nothing in
it waits for a call. Ray gives a process any free card of the node, so a process is bound to a slot
only after it has said which card it got, and only then told which models to load.
"""

import itertools
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from functools import partial

from actors.errors import CardBrokenError
from actors.messages import CardIdentity, LoadReport
from orchestrator.errors import CardHangsError, CardLostError, CardsUnavailableError
from orchestrator.runtime.events import Events
from orchestrator.runtime.fleet import CardProcess, Fleet
from orchestrator.runtime.journal import EventName, Journal
from orchestrator.runtime.options import RestartRules
from orchestrator.runtime.slots import Listener, Slot, SlotState, bind
from orchestrator.runtime.starts import Starts
from orchestrator.runtime.watchdog import Watchdog

_NO_NAME = Journal()

#: A process that is drained has so much longer to stop before it is killed.
_STOP_SECONDS = 5.0
#: A process that says itself that it is broken may still answer what it had.
_LAST_WORDS_SECONDS = 1.0


class Controller:
    """``start`` starts what has no process yet; then cards are kept alive until ``close``.

    A slot that comes with a process is taken to serve already.
    """

    def __init__(
        self,
        slots: Iterable[Slot],
        fleet: Fleet,
        rules: RestartRules | None = None,
        clock: Callable[[], float] = time.monotonic,
        journal: Journal = _NO_NAME,
    ) -> None:
        self._fleet = fleet
        self._journal = journal
        self._rules = rules or RestartRules()
        self._clock = clock
        self.slots = {slot.name: slot for slot in slots}
        self._events = Events("orchestrator-controller", clock, self._failed_to_handle)
        self._watchdog = Watchdog(
            self._events, clock, self._rules.watch, self._serving, self._hangs
        )
        self._starts = Starts()
        self._listener: Listener | None = None
        self._awaited: dict[str, Future[None]] = {}
        self._retiring: dict[str, list[Future[None]]] = {}

    def start(self, listener: Listener, *, patient: bool = False) -> "Future[None]":
        """Start all cards; the future is done when they serve, and fails when one cannot.

        It fails with LoadError or DoesNotFitError (a card cannot load its models, which is not
        tried again), CardLostError (a card's process died too often) or CardsUnavailableError (a
        card did not become free in time). ``patient``: all of them have served before, so whatever
        happens is tried again as for a card that serves, and the future is done at once.
        """
        self._listener = listener
        done: Future[None] = Future()
        wanted = [slot for slot in self.slots.values() if slot.state is SlotState.WAITING]
        for slot in self.slots.values():
            if slot.process is not None:
                self._events.put(self._resume, slot)
        for slot in wanted:
            if not patient:
                self._awaited[slot.name] = done
            self._events.put(self._launch, slot)
        if not self._awaited:
            done.set_result(None)
        self._events.put(self._watchdog.look)
        self._events.start()
        return done

    def lost(self, slot: str, life: int, reason: str) -> None:
        """A call found a card's process gone."""
        self._events.put(self._lost, slot, life, reason)

    def retire(self, slot: str, drain_seconds: float) -> "Future[None]":
        """Let a slot's process finish what it has, for at most so long, and end it."""
        done: Future[None] = Future()
        self._events.put(self._retire, slot, drain_seconds, done)
        return done

    def install(self, slot: Slot) -> "Future[None]":
        """Start a slot that has no process, unless it is drained; the future is as of ``start``."""
        done: Future[None] = Future()
        self._events.put(self._install, slot, done)
        return done

    def resume(self, slot: str) -> None:
        """Start a slot again that was drained or given up."""
        self._events.put(self._restart, slot)

    def forget(self, slot: str) -> None:
        """A slot without a process is none of the deployment any more."""
        self._events.put(self._forget, slot)

    def close(self, stop_seconds: float) -> None:
        """Stop every card, wait for them at most so long, and end their processes."""
        self._events.end(self._stop_waiting)
        processes = [slot.process for slot in self.slots.values() if slot.process]
        if stop_seconds > 0:
            wait([process.stop() for process in processes], stop_seconds)
        ends = [process.watch() for process in processes]
        for process in processes:
            process.kill()
        wait(ends, max(stop_seconds, 2.0))
        for slot in self.slots.values():
            slot.state, slot.process = SlotState.STOPPED, None

    def _failed_to_handle(self, error: Exception) -> None:
        """A mistake of ours must not leave anybody waiting for ever."""
        for done in {id(one): one for one in self._awaited.values()}.values():
            self._settle(done, error)

    def _launch(self, slot: Slot) -> None:
        process = self._fleet.launch(slot.node_id, slot.order.host)
        process.label = slot.name
        slot.state, slot.process, slot.life = SlotState.STARTING, process, process.life
        self._events.when_done(process.identify(), self._identified, process)
        self._events.after(self._rules.start, self._late, process)

    def _relaunch(self, slot: Slot, life: int) -> None:
        if slot.state is SlotState.WAITING and slot.life == life:
            self._launch(slot)

    def _late(self, process: CardProcess) -> None:
        slot = self._slot_of(process)
        if slot is not None and slot.state is SlotState.STARTING:
            seconds = self._rules.start
            wanted = len(self.slots)
            running = sum(other.identity is not None for other in self.slots.values())
            hint = f"none became free for slot {slot.name} within {seconds:g} s"
            if slot.order.host.lasting:
                hint += f", with {slot.order.host.lasting:,} bytes of Ray's memory beside it"
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
        slot = bind(self.slots.values(), slot, identity)
        slot.state, slot.identity = SlotState.LOADING, identity
        where = f"process {identity.pid} on card {identity.npu_id or '?'}"
        self._note(slot, "restart" if slot.restarts else "start", where)
        self._events.when_done(process.watch(), self._ended, process)
        begun = partial(self._events.put, self._begun, process)
        report = self._starts.load(process, slot.order, identity, begun)
        self._events.when_done(report, self._loaded, process)

    def _loaded(self, process: CardProcess, done: "Future[LoadReport]") -> None:
        slot = self._slot_of(process)
        if slot is None or slot.state is not SlotState.LOADING:
            return
        error = done.exception()
        if error is not None:
            self._failed(slot, error, str(error))
            return
        slot.report = done.result()
        for warning in slot.report.warnings:
            self._note(slot, "warning", warning)
        self._note(slot, "ready", f"ready after {slot.report.seconds:.1f} s")
        self._serve(slot, process)
        self._awaited_no_more(slot)

    def _begun(self, process: CardProcess) -> None:
        self._events.after(self._rules.load, self._stuck, process)

    def _stuck(self, process: CardProcess) -> None:
        slot = self._slot_of(process)
        if slot is not None and slot.state is SlotState.LOADING:
            seconds = self._rules.load
            self._hangs(process, f"it hangs: its models have not loaded within {seconds:g} s")

    def _awaited_no_more(self, slot: Slot) -> None:
        done = self._awaited.pop(slot.name, None)
        if done is not None and done not in self._awaited.values():
            self._settle(done)

    def _resume(self, slot: Slot) -> None:
        """A process that serves already, and was found by a controller that has just started."""
        if slot.process is not None:
            self._events.when_done(slot.process.watch(), self._ended, slot.process)
            self._serve(slot, slot.process)

    def _serve(self, slot: Slot, process: CardProcess) -> None:
        slot.state, slot.ready_at, slot.why = SlotState.READY, self._clock(), ""
        if self._listener is not None:
            self._listener.serving(slot.name, slot.life, process)

    def _ended(self, process: CardProcess, done: "Future[None]") -> None:
        slot = self._slot_of(process)
        if slot is not None:
            error = done.exception() or CardLostError(slot.name, "its process was stopped")
            self._failed(slot, error, getattr(error, "reason", str(error)))

    def _lost(self, name: str, life: int, reason: str) -> None:
        slot = self.slots.get(name)
        if slot is not None and slot.life == life and slot.process is not None:
            self._failed(slot, CardLostError(name, reason), reason)

    def _failed(self, slot: Slot, error: BaseException, reason: str) -> None:
        """A process is of no further use: end it, and replace it or give the slot up."""
        if slot.state is SlotState.DRAINING:
            self._retired(slot)
            return
        process, slot.process, slot.identity = slot.process, None, None
        if slot.state is SlotState.READY and self._clock() - slot.ready_at >= self._rules.stable:
            slot.failures = 0
        slot.failures += 1
        slot.why = reason
        self._note(slot, "death", reason)
        if self._listener is not None:  # first: what is in flight there is to tell the reason
            self._listener.down(slot.name, slot.life, reason)
        broken = isinstance(error, CardBrokenError)
        if process is not None:
            self._events.after(_LAST_WORDS_SECONDS if broken else 0.0, process.kill)
        slot.refused = slot.name in self._awaited and not isinstance(error, CardLostError)
        if slot.refused:
            self._give_up(slot, reason, error)
        elif (broken or isinstance(error, CardHangsError)) and self._unfit_too_often(slot):
            told = f"was unfit {len(slot.unfit)} times, last: {reason}"
            self._give_up(slot, told, CardLostError(slot.name, told), SlotState.QUARANTINED)
        elif slot.failures >= self._rules.most_failures:
            told = f"failed {slot.failures} times in a row, last: {reason}"
            self._give_up(slot, told, CardLostError(slot.name, told))
        else:
            slot.state = SlotState.WAITING
            slot.restarts += 1
            delay = self._rules.delay(slot.failures)
            self._events.after(delay, self._relaunch, slot, slot.life)

    def _unfit_too_often(self, slot: Slot) -> bool:
        now = self._clock()
        recent = (at for at in slot.unfit if now - at < self._rules.unfit_within)
        slot.unfit = (*recent, now)
        return len(slot.unfit) > self._rules.most_unfit

    def _hangs(self, process: CardProcess, reason: str) -> None:
        slot = self._slot_of(process)
        if slot is not None:
            self._failed(slot, CardHangsError(slot.name, reason), reason)

    def _give_up(
        self,
        slot: Slot,
        told: str,
        error: BaseException,
        state: SlotState = SlotState.GIVEN_UP,
    ) -> None:
        slot.state = state
        done = self._awaited.get(slot.name)
        if done is not None:
            self._settle(done, error)
        else:
            event: EventName = "given-up" if state is SlotState.GIVEN_UP else "quarantine"
            self._note(slot, event, f"{state.value}: it {told}", logging.ERROR)
        slot.why = told
        if self._listener is not None:
            self._listener.give_up(slot.name, told)

    def _settle(self, done: "Future[None]", error: BaseException | None = None) -> None:
        """Tell who waits for slots to serve, or that one of them cannot."""
        self._awaited = {name: one for name, one in self._awaited.items() if one is not done}
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def _install(self, slot: Slot, done: "Future[None]") -> None:
        self.slots[slot.name] = slot
        if slot.state is SlotState.WAITING:
            self._awaited[slot.name] = done
            self._launch(slot)
        else:
            done.set_result(None)

    def _forget(self, name: str) -> None:
        self.slots.pop(name, None)

    def _restart(self, name: str) -> None:
        slot = self.slots.get(name)
        if slot is not None and (slot.lost or slot.state is SlotState.DRAINED):
            slot.failures, slot.unfit, slot.why = 0, (), ""
            self._launch(slot)

    def _retire(self, name: str, drain_seconds: float, done: "Future[None]") -> None:
        slot = self.slots.get(name)
        if slot is None:
            done.set_result(None)
            return
        self._retiring.setdefault(name, []).append(done)
        process, before = slot.process, slot.state
        if before is SlotState.DRAINING:
            return
        slot.state, slot.why = SlotState.DRAINING, "it is being drained"
        if self._listener is not None:
            self._listener.down(name, slot.life, slot.why)
        if process is None or before is SlotState.STARTING:
            self._retired(slot)
            return
        self._events.after(drain_seconds + _STOP_SECONDS, process.kill)
        self._events.when_done(process.drain(drain_seconds), self._drained, process)

    def _drained(self, process: CardProcess, _done: "Future[bool]") -> None:
        """Whatever is left is answered with an error that sends it elsewhere."""
        self._events.when_done(process.stop(), self._stopped, process)

    def _stopped(self, process: CardProcess, _done: "Future[None]") -> None:
        slot = self._slot_of(process)
        if slot is not None:
            self._retired(slot)

    def _retired(self, slot: Slot) -> None:
        if slot.process is not None:
            slot.process.kill()
        slot.process = slot.identity = None
        slot.state, slot.why = SlotState.DRAINED, "it was drained"
        self._note(slot, "drained", slot.why)
        if self._listener is not None:
            self._listener.down(slot.name, slot.life, slot.why)
        self._awaited_no_more(slot)
        for done in self._retiring.pop(slot.name, ()):
            done.set_result(None)

    def _serving(self) -> list[CardProcess]:
        return [slot.serving for slot in self.slots.values() if slot.serving is not None]

    def _slot_of(self, process: CardProcess) -> Slot | None:
        """The slot that a process serves; None for one that was replaced meanwhile."""
        return next((slot for slot in self.slots.values() if slot.process is process), None)

    def _note(self, slot: Slot, event: EventName, what: str, level: int = logging.INFO) -> None:
        slot.story.append(what)
        models = [model.name for model in slot.order.models]
        self._journal.tell(event, what, card=slot.name, models=models, level=level)

    def _stop_waiting(self) -> None:
        for done in (*self._awaited.values(), *itertools.chain(*self._retiring.values())):
            done.cancel()
