"""CardActor: the process that owns one card. A plain class that the runtime starts and calls.

It starts empty, is identified, gets one CardOrder in its life, and answers batches until it is
drained and stopped. A model has as many threads as Model objects, which take batches from the
card's queue. Requests that can run at once do so in their caller's own thread: that spares them two
handovers. Control calls (stats, memory, drain, stop) touch only the queue's lock, which is never
held while the library works.
"""

import itertools
import math
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from actors.accounts import busy_share, memory_report
from actors.batch import scratch
from actors.device import DEVICES
from actors.errors import (
    CardBrokenError,
    InvalidRequestError,
    NotServingError,
    NotWantedError,
    PredictError,
)
from actors.lite import library_name
from actors.loading import Loaded, load_models
from actors.messages import (
    CardIdentity,
    CardOrder,
    CardState,
    CardStats,
    LoadReport,
    MemoryReport,
    Reply,
    Request,
    Working,
)
from actors.model_object import ModelObject
from actors.queue import Batch, CardQueue
from actors.served import Call, Piece, PieceEntry, ServedModel, Ticket, batch_fails
from actors.shapes import Array, Gear
from actors.terms import terms_of

#: So many requests that nobody waits for are known, should they come after that was told.
_FORGOTTEN = 256
#: Which states may follow which. A card's process loads once: there is no way back.
FOLLOWS: Mapping[CardState, frozenset[CardState]] = {
    CardState.EMPTY: frozenset({CardState.LOADING, CardState.STOPPED}),
    CardState.LOADING: frozenset({CardState.READY, CardState.FAILED, CardState.STOPPED}),
    CardState.READY: frozenset({CardState.DRAINING, CardState.STOPPED, CardState.FAILED}),
    CardState.DRAINING: frozenset({CardState.STOPPED, CardState.FAILED}),
    CardState.FAILED: frozenset({CardState.STOPPED}),
    CardState.STOPPED: frozenset(),
}
#: Seconds that a reserved card waits for the call that it was reserved for.
_LEASE = 10.0
_ENDED = frozenset({CardState.FAILED, CardState.STOPPED})


@dataclass(frozen=True)
class _Place:
    """A Model object, and what the batches that it runs are joined in."""

    target: ModelObject
    buffers: Mapping[str, Array]


class CardActor:
    """One card: ``identify``, ``load``, then ``predict_many`` from any number of threads."""

    def __init__(
        self,
        on_built: Callable[[], None] | None = None,
        devices: Path = DEVICES,
        on_broken: Callable[[CardBrokenError], None] = lambda error: None,
    ) -> None:
        """Start empty. ``on_built`` is called once, when all models are built and none has run.

        ``devices`` is the folder of the cards' device files. ``on_broken`` is called when a model
        fails on what it has answered before: the card takes nothing any more.
        """
        self._on_built = on_built
        self._on_broken = on_broken
        self._devices = devices
        self._lock = threading.Lock()
        self._quiet = threading.Condition(self._lock)
        self._state = CardState.EMPTY
        self._identity = CardIdentity("", "", 0, os.getpid())
        self._started = time.monotonic()
        self._order: CardOrder | None = None
        self._loaded: Loaded | None = None
        self._models: Mapping[str, ServedModel] = {}
        self._wake: dict[str, threading.Condition] = {}
        self._idle: dict[str, list[_Place]] = {}
        self._queue: CardQueue[Piece] = CardQueue({})
        self._working: dict[int, Batch[Piece]] = {}
        self._forgotten: dict[int, None] = {}
        self._held_up = 0
        self._reservations = itertools.count(1)
        self._reserved = 0
        self._claimed = False
        self._broken: CardBrokenError | None = None
        self._threads: list[threading.Thread] = []
        self._busy: Callable[[], float | None] = lambda: None

    def identify(
        self, node_id: str, npu_id: str, device_id: int, visible: str = ""
    ) -> CardIdentity:
        """Tell the process which card it was given, and return its identity."""
        self._identity = CardIdentity(node_id, npu_id, device_id, os.getpid(), visible=visible)
        return self._identity

    def load(self, order: CardOrder) -> LoadReport:
        """Declare, size, build and warm up the slot's models; once in the life of the process.

        Raises:
            DoesNotFitError: the planned bytes exceed the card; nothing was built.
            LoadError: a model could not be loaded. The process is of no further use.
            CardError: loaded before, or the library or the card is not there.
        """
        started = time.monotonic()
        with self._lock:
            self._move(CardState.LOADING, order.slot)
            self._order = order
        try:
            loaded = load_models(order, self._identity, self._devices, self._on_built)
            self._order, self._loaded, self._models = loaded.order, loaded, loaded.served
            self._identity = replace(self._identity, library=library_name(loaded.library))
            self._busy = busy_share(order.kind, loaded.library, self._identity.device_id)
            with self._lock:
                self._move(CardState.READY, order.slot)
                self._start_threads(order, loaded.objects)
        except BaseException:  # whatever it was, the process is of no further use
            with self._lock:
                if self._state is CardState.LOADING:
                    self._move(CardState.FAILED, order.slot)
            raise
        signatures = {name: served.signature for name, served in self._models.items()}
        seconds = time.monotonic() - started
        memory = self.memory(fresh=True)
        return LoadReport(self._identity, signatures, memory, seconds, loaded.warnings)

    def reserve(self) -> int:
        """Begin nothing more, end what runs, and keep the card free for one call.

        Returns what to give to ``predict_many`` within ten seconds. If the process dies after this
        has returned and before that call has, it is of that call.

        Raises:
            NotServingError: the card takes no requests now.
        """
        with self._lock:
            self._held_up += 1
            self._quiet.wait_for(self._free_or_over)
            if self._state is not CardState.READY:
                self._let_begin()
                raise NotServingError(self._slot, self._state.value)
            self._reserved = reservation = next(self._reservations)
            self._claimed = False
        lease = threading.Timer(_LEASE, self._expire, [reservation])
        lease.daemon = True
        lease.start()
        return reservation

    def predict_many(self, requests: Sequence[Request], reservation: int = 0) -> list[Reply]:
        """Answer requests, in their order; blocks until all are done.

        They are joined with whatever else waits for the same model; with a ``reservation`` the card
        runs nothing else until they are done. A request that fails has its error in its own reply.

        Raises:
            NotServingError: the card takes no requests now; none of these was run.
        """
        call, now = Call(len(requests)), time.monotonic()
        tickets: list[Ticket] = []
        entries: list[PieceEntry] = []
        for request in requests:
            ticket = Ticket(request, call, now, [])
            tickets.append(ticket)
            if request.id in self._forgotten:
                ticket.error = NotWantedError(self._slot, request.model)
                continue
            try:
                entries.extend(self._served(request.model).admit(ticket))
            except InvalidRequestError as error:
                ticket.error = error
        with self._lock:
            if self._state is not CardState.READY:
                raise NotServingError(self._slot, self._state.value)
            for ticket in tickets:
                if ticket.error is not None:
                    self._refuse(ticket)
            taken = None if reservation else self._put(entries, now)
        if taken is not None:
            self._run(*taken)
            self._finish(*taken)
        elif reservation:
            self._run_alone(entries, reservation)
        call.wait()
        return [self._reply(ticket) for ticket in tickets]

    def forget(self, request_ids: Collection[int]) -> None:
        """Nobody waits for these any more: those that are not begun are not run.

        Nor are those that come later: their call may travel for longer than this one.
        """
        ids = frozenset(request_ids)
        with self._lock:
            self._forgotten.update(dict.fromkeys(ids))
            while len(self._forgotten) > _FORGOTTEN:
                del self._forgotten[next(iter(self._forgotten))]
            self._drop(self._queue.remove(lambda entry: entry.item.ticket.request.id in ids))

    def stats(self) -> CardStats:
        """State and counters now; never waits for the library."""
        with self._lock:
            models = {
                name: served.counters.stats(self._queue.queued(name))
                for name, served in self._models.items()
            }
            state, running = self._state, self._queue.running
            working, now = tuple(self._working.values()), time.monotonic()
        return CardStats(
            slot=self._slot,
            state=state,
            identity=self._identity,
            models=models,
            uptime_seconds=time.monotonic() - self._started,
            busy_share=self._busy(),
            running=running,
            working=tuple(
                Working(batch.model, now - batch.taken, self._models[batch.model].expected)
                for batch in working
            ),
            occupied_seconds=self._loaded.occupied.seconds if self._loaded else 0.0,
        )

    def memory(self, fresh: bool = False) -> MemoryReport:
        """Planned against measured bytes; ``fresh`` waits for the card's memory to be read anew.

        Raises:
            NotServingError: no models are loaded.
        """
        order, loaded = self._order, self._loaded
        if order is None or loaded is None:
            raise NotServingError(self._slot, self._state.value)
        now = loaded.gauge.read() if fresh else loaded.gauge.latest
        device_id = self._identity.device_id
        return memory_report(order, loaded.library, device_id, loaded.idle, now)

    def drain(self, timeout_seconds: float) -> bool:
        """Take nothing new and finish what is here; False when that took longer than allowed."""
        with self._lock:
            if self._state is not CardState.DRAINING:
                self._move(CardState.DRAINING, self._slot)
                self._quiet.notify_all()
            return self._quiet.wait_for(lambda: self._queue.empty, timeout_seconds)

    def stop(self) -> None:
        """Answer what still waits with NotServingError, let running batches end, join the threads.

        Nothing of the library is finalised: models may be referenced elsewhere, and memory comes
        back with the end of the process.
        """
        with self._lock:
            if self._state is not CardState.STOPPED:
                self._move(CardState.STOPPED, self._slot)
            self._send_back(self._queue.clear())
            for wake in self._wake.values():
                wake.notify_all()
            self._quiet.wait_for(lambda: self._queue.empty)
        for thread in self._threads:
            thread.join()
        if self._loaded is not None:
            self._loaded.gauge.close()

    @property
    def _slot(self) -> str:
        return self._order.slot if self._order else f"{self._identity.npu_id or '?'} (no slot yet)"

    def _move(self, to: CardState, slot: str) -> None:
        """The only place that changes the state; callers hold the lock."""
        if to not in FOLLOWS[self._state]:
            raise NotServingError(slot, f"{self._state.value} and cannot become {to.value}")
        self._state = to

    def _start_threads(
        self, order: CardOrder, objects: Mapping[str, Sequence[ModelObject]]
    ) -> None:
        self._queue = CardQueue({model.name: terms_of(order, model) for model in order.models})
        self._wake = {m.name: threading.Condition(self._lock) for m in order.models}
        for name, targets in objects.items():
            signature = self._models[name].signature
            self._idle[name] = [_Place(target, scratch(signature)) for target in targets]
            for index in range(len(targets)):
                thread = threading.Thread(
                    target=self._serve, args=(name,), name=f"{name}-{index}", daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def _serve(self, name: str) -> None:
        """The life of one of a model's threads."""
        while (taken := self._next_batch(name)) is not None:
            while taken is not None:  # a thread that waits holds no arrays of its last batch
                self._run(*taken)
                taken = self._finish(*taken, go_on=True)

    def _run(self, place: _Place, batch: Batch[Piece]) -> None:
        """Run a batch: each of its requests has an answer or an error then."""
        served = self._models[batch.model]
        try:
            good = partial(self._require_good, served)
            served.run(place.target, place.buffers, batch.entries, good)
        except CardBrokenError as error:
            self._close(batch, error)
        except Exception as error:
            batch_fails(batch, PredictError(self._slot, served.name, repr(error)))

    def _require_good(self, served: ServedModel, target: ModelObject, gear: Gear) -> None:
        """After an error: nothing is begun on the card until the canary has been answered.

        Raises:
            CardBrokenError: it was not.
        """
        with self._lock:
            self._held_up += 1
        try:
            served.require_good(target, gear)
        finally:
            with self._lock:
                self._let_begin()

    def _close(self, batch: Batch[Piece], error: CardBrokenError) -> None:
        """Take nothing any more, and send back what waits."""
        with self._lock:
            batch_fails(batch, error)
            if self._broken is None and self._state is not CardState.STOPPED:
                self._broken = error
                self._move(CardState.FAILED, self._slot)
                self._send_back(self._queue.clear())

    def _free_or_over(self) -> bool:
        """Whether nothing runs and nobody else has reserved the card, or it takes nothing more."""
        free = not self._queue.running and not self._reserved
        return free or self._state is not CardState.READY

    def _put(self, entries: Sequence[PieceEntry], now: float) -> tuple[_Place, Batch[Piece]] | None:
        """Add to what waits; what may run at once is the caller's. Callers hold the lock."""
        if len(entries) == 1 and self._queue.empty and not self._held_up:
            [entry] = entries  # on an idle card there is nothing to weigh
            if entry.expires > now:
                return self._begun(self._queue.take_alone(entry, now))
        for entry in entries:
            self._queue.put(entry)
        models = {entry.model for entry in entries}
        taken = self._take(entries[0].model, now) if len(models) == 1 else None
        if taken is None:
            for model in models:
                self._wake[model].notify()  # it may have to wait for less long
            self._wake_next(now)
        return taken

    def _run_alone(self, entries: Sequence[PieceEntry], reservation: int) -> None:
        """Run these and nothing else meanwhile, and end the reservation."""
        while not self._claim(reservation):
            reservation = self.reserve()  # its time was over
        try:
            for entry in entries:
                with self._lock:
                    if self._state in _ENDED:
                        self._send_back([entry])
                        continue
                    taken = self._begun(self._queue.take_alone(entry, time.monotonic()))
                self._run(*taken)
                self._finish(*taken)
        finally:
            self._end_reservation()

    def _claim(self, reservation: int) -> bool:
        """From now on it lasts until whoever claimed it ends it; False when it is over."""
        with self._lock:
            if self._claimed or self._reserved != reservation:
                return False
            self._claimed = True
            return True

    def _expire(self, reservation: int) -> None:
        """Nobody claimed it in time: its driver may be gone."""
        if self._claim(reservation):
            self._end_reservation()

    def _end_reservation(self) -> None:
        with self._lock:
            self._reserved = 0
            self._let_begin()

    def _let_begin(self) -> None:
        """One reason less to begin nothing; callers hold the lock."""
        self._held_up -= 1
        self._quiet.notify_all()
        for model in self._models:
            self._wake_if_any(model)

    def _drop(self, entries: Sequence[PieceEntry]) -> None:
        """Do not run what nobody waits for any more; callers hold the lock."""
        now = time.monotonic()
        for entry in entries:
            entry.item.ticket.error = NotWantedError(self._slot, entry.model)
            self._models[entry.model].settle(entry.item.ticket, now)
        if entries:
            self._quiet.notify_all()

    def _send_back(self, entries: Sequence[PieceEntry]) -> None:
        """Answer these with NotServingError; callers hold the lock."""
        now = time.monotonic()
        for entry in entries:
            ticket = entry.item.ticket
            ticket.error = NotServingError(self._slot, self._state.value)
            self._models[entry.model].settle(ticket, now)
        self._quiet.notify_all()

    def _next_batch(self, name: str) -> tuple[_Place, Batch[Piece]] | None:
        """Wait for a batch of one model; None when the card was stopped."""
        wake = self._wake[name]
        with self._lock:
            while self._state is not CardState.STOPPED:
                now = time.monotonic()
                taken = self._take(name, now)
                if taken is not None:
                    return taken
                self._wake_next(now)  # it may have been another's turn that came just now
                waits = bool(self._held_up) or not self._idle[name]
                due = math.inf if waits else self._queue.next_due(name)
                wake.wait(due - now if now < due < math.inf else None)
        return None

    def _take(self, name: str, now: float) -> tuple[_Place, Batch[Piece]] | None:
        """A batch of one model, if one is due, and where it runs; callers hold the lock."""
        if self._held_up or not self._idle[name]:
            return None
        self._drop(self._queue.overdue(now))
        batch = self._queue.take(name, now)
        if batch is None:
            return None
        taken = self._begun(batch)
        self._wake_if_any(name)
        self._wake_next(now)
        return taken

    def _begun(self, batch: Batch[Piece]) -> tuple[_Place, Batch[Piece]]:
        """A batch and where it runs; callers hold the lock."""
        self._working[id(batch)] = batch
        return self._idle[batch.model].pop(), batch

    def _wake_next(self, now: float) -> None:
        """Wake a thread of every model whose turn it is."""
        for name in self._queue.next(now):
            self._wake[name].notify()

    def _wake_if_any(self, name: str) -> None:
        """Wake a thread of a model for which something waits, though it may have to wait on."""
        if self._queue.queued(name):
            self._wake[name].notify()

    def _finish(
        self, place: _Place, batch: Batch[Piece], go_on: bool = False
    ) -> tuple[_Place, Batch[Piece]] | None:
        """Count a batch and tell its callers; to ``go_on`` is to take the model's next one."""
        with self._lock:
            now = time.monotonic()
            self._models[batch.model].finish(batch.entries, batch.taken, now)
            self._queue.finished(batch, now)
            self._idle[batch.model].append(place)
            del self._working[id(batch)]
            following = self._take(batch.model, now) if go_on else None
            if following is None:
                if not self._queue.empty:
                    self._wake_if_any(batch.model)
                    self._wake_next(now)
                if not self._queue.running:
                    self._quiet.notify_all()
            broken = self._broken
        if broken is not None:  # only now: whoever hears of it may end this process
            self._on_broken(broken)
        return following

    def _served(self, model: str) -> ServedModel:
        served = self._models.get(model)
        if served is None:
            here = ", ".join(self._models) or "none"
            raise InvalidRequestError(model, f"not on card {self._slot}, whose models are: {here}")
        return served

    def _refuse(self, ticket: Ticket) -> None:
        served = self._models.get(ticket.request.model)
        if served is not None:
            ticket.left = 1
            served.settle(ticket, time.monotonic())
        else:
            ticket.call.finish_one()

    def _reply(self, ticket: Ticket) -> Reply:
        if ticket.error is not None:
            return Reply(ticket.request.id, None, ticket.error)
        return self._models[ticket.request.model].reply(ticket)
