"""Keeps every slot of a plan served: starts card processes, binds them, and replaces dead ones.

One thread owns the state; Ray's callbacks and timers only put events into its inbox, and nothing in
it waits for a call. Ray gives a process any free card of the node, so a process is bound to a slot
only after it has said which card it got, and only then told which models to load.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import replace

from actors.errors import CardBrokenError
from orchestrator.errors import CardHangsError, CardLostError
from orchestrator.runtime.cards.fleet import CardProcess, Fleet
from orchestrator.runtime.cards.history import Verdict
from orchestrator.runtime.cards.losses import Loss
from orchestrator.runtime.cards.slots import Listener, Slot, SlotState
from orchestrator.runtime.cards.starting import Starting
from orchestrator.runtime.cards.watchdog import Watchdog
from orchestrator.runtime.journal import EventName, Journal
from orchestrator.runtime.options import RestartRules

_NO_NAME = Journal()
_NONE_LOST: Mapping[str, Loss] = {}

#: A process that is drained has so much longer to stop before it is killed.
_STOP_SECONDS = 5.0
#: A process that says itself that it is broken may still answer what it had.
_LAST_WORDS_SECONDS = 1.0
#: What a slot's last process died of, a driver may know better: it has so long to say so.
_PARDON_SECONDS = 2.0


class Controller(Starting):
    """``start`` starts what has no process yet; then cards are kept alive until ``close``.

    A slot that comes with a process is taken to serve already. ``lost``: slots that were before.
    """

    def __init__(
        self,
        slots: Iterable[Slot],
        fleet: Fleet,
        rules: RestartRules | None = None,
        clock: Callable[[], float] = time.monotonic,
        journal: Journal = _NO_NAME,
        lost: Mapping[str, Loss] = _NONE_LOST,
    ) -> None:
        super().__init__(slots, fleet, rules or RestartRules(), clock, journal, lost)
        self._promised: set[Future[None]] = set()
        self._closed = False
        self._watchdog = Watchdog(
            self._events, clock, self._rules.watch, self._serving, self._hangs
        )

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
                self._waits.serve(slot.name, done)
            self._events.put(self._launch, slot)
        if patient or not wanted:
            done.set_result(None)
        self._events.put(self._watchdog.look)
        self._events.start()
        return done

    def lost(self, slot: str, life: int, reason: str) -> None:
        """A call found a card's process gone."""
        self._events.put(self._lost, slot, life, reason)

    def retire(self, slot: str, drain_seconds: float) -> "Future[None]":
        """Let a slot's process finish what it has, for at most so long, and end it."""
        done = self._promise()
        self._events.put(self._retire, slot, drain_seconds, done)
        return done

    def install(self, slot: Slot) -> "Future[None]":
        """Start a slot that has no process, unless it is drained; the future is as of ``start``."""
        done = self._promise()
        self._events.put(self._install, slot, done)
        return done

    def resume(self, slot: str) -> None:
        """Start a slot again that was drained or given up."""
        self._events.put(self._restart, slot)

    def readmit(self, slot: str) -> "Future[None]":
        """Forget that a slot is lost, so that it may be installed again; done when it is."""
        done = self._promise()
        self._events.put(self._readmit, slot, done)
        return done

    def rebind(self, before: str, now: str) -> None:
        """A node is back under another id."""
        self._events.put(self._rebind, before, now)

    def pardon(self, deaths: Mapping[str, int]) -> None:
        """So many deaths of slots' processes were the doing of a request, not of their cards."""
        self._events.put(self._pardon, deaths)

    @property
    def plugged(self) -> list[str]:
        """The node of each quarantined card that a process of ours keeps from being used."""
        return self._plugs.nodes()

    def forget(self, slot: str) -> None:
        """A slot without a process is none of the deployment any more."""
        self._events.put(self._forget, slot)

    def close(self, stop_seconds: float) -> None:
        """Stop every card, wait for them at most so long, and end their processes."""
        self._events.end(self._waits.cancel)
        self._closed = True
        for promised in self._promised.copy():
            promised.cancel()
        processes = [slot.process for slot in self.slots.values() if slot.process]
        processes += self._plugs.processes()
        if stop_seconds > 0:
            wait([process.stop() for process in processes], stop_seconds)
        ends = [process.watch() for process in processes]
        for process in processes:
            process.kill()
        wait(ends, max(stop_seconds, 2.0))
        for slot in self.slots.values():
            slot.state, slot.process = SlotState.STOPPED, None

    def _promise(self) -> "Future[None]":
        """To be kept on the thread of the events; cancelled when that is over."""
        done: Future[None] = Future()
        self._promised.add(done)
        done.add_done_callback(self._promised.discard)
        if self._closed:
            done.cancel()
        return done

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
        process, slot.process = slot.process, None
        identity, slot.identity = slot.identity, None
        served = slot.state is SlotState.READY
        was_stable = served and self._clock() - slot.ready_at >= self._rules.stable
        broken = isinstance(error, CardBrokenError)
        unfit = broken or isinstance(error, CardHangsError)
        slot.history = slot.history.failed(
            self._rules, time.time(), unfit=unfit, was_stable=was_stable
        )
        slot.why = reason
        refused = self._waits.is_awaited(slot.name) and not isinstance(error, CardLostError)
        # What ends a start is raised there.
        self._note(slot, "death", reason, logging.INFO if refused else logging.WARNING)
        if self._listener is not None:  # first: what is in flight there is to tell the reason
            self._listener.down(slot.name, slot.life, reason)
        if process is not None:
            self._events.after(_LAST_WORDS_SECONDS if broken else 0.0, process.kill)
        slot.refused = refused
        if refused:
            self._give_up(slot, Verdict(False, reason), error)
            return
        slot.state = SlotState.WAITING
        if slot.history.verdict(self._rules, reason) is None:
            self._try_again(slot)
        else:
            npu_id = identity.npu_id if identity else ""
            self._keep_history(slot)
            self._events.after(_PARDON_SECONDS, self._judge, slot, slot.life, npu_id)

    def _try_again(self, slot: Slot) -> None:
        slot.history = replace(slot.history, restarts=slot.history.restarts + 1)
        self._keep_history(slot)
        delay = self._rules.delay(max(slot.history.failures, 1))
        self._events.after(delay, self._relaunch, slot, slot.life)

    def _judge(self, slot: Slot, life: int, npu_id: str) -> None:
        """Give a slot up that has failed too often, if that is still so."""
        if not self._still_waits(slot, life):
            return
        verdict = slot.history.verdict(self._rules, slot.why)
        if verdict is None:
            self._try_again(slot)
        else:
            self._give_up(slot, verdict, CardLostError(slot.name, verdict.why), npu_id)

    def _pardon(self, deaths: Mapping[str, int]) -> None:
        for name in deaths.keys() & self.slots.keys():
            slot = self.slots[name]
            slot.history = slot.history.pardoned(deaths[name])
            self._keep_history(slot)

    def _keep_history(self, slot: Slot) -> None:
        if self._listener is not None:
            self._listener.failed(slot)

    def _hangs(self, process: CardProcess, reason: str) -> None:
        slot = self._slot_of(process)
        if slot is not None:
            self._failed(slot, CardHangsError(slot.name, reason), reason)

    def _give_up(
        self, slot: Slot, verdict: Verdict, error: BaseException, npu_id: str = ""
    ) -> None:
        loss = Loss(verdict.why, slot.node_id, verdict.quarantined, npu_id)
        if self._listener is not None:
            self._listener.losing(slot, loss)
        self._plugs.shun(slot.name, loss)
        slot.why = verdict.why
        slot.state = SlotState.QUARANTINED if verdict.quarantined else SlotState.GIVEN_UP
        if not self._waits.cannot_serve(slot.name, error):
            event: EventName = "quarantine" if verdict.quarantined else "given-up"
            self._note(slot, event, f"{slot.state.value}: it {verdict.why}", logging.ERROR)
        if self._listener is not None:
            self._listener.give_up(slot.name, verdict.why)

    def _install(self, slot: Slot, done: "Future[None]") -> None:
        before = self.slots.get(slot.name)
        if before is not None and before.process is not None:  # it was wanted back in between
            before.process.kill()
        self.slots[slot.name] = slot
        if slot.state is SlotState.WAITING:
            self._plugs.readmit(slot.name)
            self._waits.serve(slot.name, done)
            self._launch(slot)
        else:
            done.set_result(None)

    def _forget(self, name: str) -> None:
        self.slots.pop(name, None)

    def _restart(self, name: str) -> None:
        slot = self.slots.get(name)
        if slot is not None and (slot.lost or slot.state is SlotState.DRAINED):
            slot.history, slot.why = slot.history.forgiven(), ""
            self._plugs.readmit(name)
            self._launch(slot)

    def _readmit(self, name: str, done: "Future[None]") -> None:
        self._plugs.readmit(name)
        slot = self.slots.get(name)
        if slot is not None and slot.lost:
            del self.slots[name]
        done.set_result(None)

    def _rebind(self, before: str, now: str) -> None:
        for slot in self.slots.values():
            if slot.node_id == before:
                slot.node_id = now

    def _retire(self, name: str, drain_seconds: float, done: "Future[None]") -> None:
        slot = self.slots.get(name)
        if slot is None or slot.lost:
            done.set_result(None)
            return
        self._waits.empty(name, done)
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
        self._waits.serves(slot.name)
        self._waits.emptied(slot.name)

    def _serving(self) -> list[CardProcess]:
        return [slot.serving for slot in self.slots.values() if slot.serving is not None]
