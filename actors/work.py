"""What a card has to do: requests that wait, the threads that run them, and who has it alone.

A model has as many threads as Model objects, which take batches from the card's queue. Requests
that can run at once do so in their caller's own thread: that spares them two handovers. The lock is
never held while the library works.
"""

import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from actors.batch import scratch
from actors.errors import (
    CardBrokenError,
    InvalidRequestError,
    NotWantedError,
    PredictError,
)
from actors.holds import Holds
from actors.life import Life
from actors.messages import CardOrder, CardState, ModelStats, Reply, Request, Working
from actors.model_object import ModelObject
from actors.queue import Batch, CardQueue
from actors.served import Call, Piece, PieceEntry, ServedModel, Ticket, batch_fails
from actors.shapes import Array, Gear
from actors.terms import terms_of

#: So many requests that nobody waits for are known, should they come after that was told.
_FORGOTTEN = 256


@dataclass(frozen=True)
class _Place:
    """A Model object, and what the batches that it runs are joined in."""

    target: ModelObject
    buffers: Mapping[str, Array]


class CardWork:
    """The queue of a card's models and the threads that run what is in it."""

    def __init__(self, life: Life, on_broken: Callable[[CardBrokenError], None]) -> None:
        """Nothing to do until ``begin``. ``on_broken``: a model fails on what it has answered."""
        self.holds = Holds(life, lambda: self._queue.running, self._wake_all)
        self._life = life
        self._lock = life.lock
        self._on_broken = on_broken
        self._models: Mapping[str, ServedModel] = {}
        self._wake: dict[str, threading.Condition] = {}
        self._idle: dict[str, list[_Place]] = {}
        self._queue: CardQueue[Piece] = CardQueue({})
        self._working: dict[int, Batch[Piece]] = {}
        self._forgotten: dict[int, None] = {}
        self._broken: CardBrokenError | None = None
        self._threads: list[threading.Thread] = []

    def begin(
        self,
        order: CardOrder,
        models: Mapping[str, ServedModel],
        objects: Mapping[str, Sequence[ModelObject]],
    ) -> None:
        """Start the threads: one for each Model object. Callers hold the lock."""
        self._models = models
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

    def answer(self, requests: Sequence[Request], reservation: int = 0) -> list[Reply]:
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
                ticket.error = NotWantedError(self._life.slot, request.model)
                continue
            try:
                entries.extend(self._served(request.model).admit(ticket))
            except InvalidRequestError as error:
                ticket.error = error
        with self._lock:
            self._life.require_ready()
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

    @property
    def empty(self) -> bool:
        """Whether nothing waits and nothing runs. Callers hold the lock."""
        return self._queue.empty

    def stats(self) -> tuple[dict[str, ModelStats], int, tuple[Working, ...]]:
        """Of each model; how many batches run; and which, for how long. Callers hold the lock."""
        now = time.monotonic()
        models = {
            name: served.counters.stats(self._queue.queued(name))
            for name, served in self._models.items()
        }
        working = tuple(
            Working(batch.model, now - batch.taken, self._models[batch.model].expected)
            for batch in self._working.values()
        )
        return models, self._queue.running, working

    def end(self) -> None:
        """Answer what waits with NotServingError, and let what runs end. Callers hold the lock."""
        self._send_back(self._queue.clear())
        for wake in self._wake.values():
            wake.notify_all()
        self._life.changed.wait_for(lambda: self._queue.empty)

    def join(self) -> None:
        """Wait for the threads, after the end."""
        for thread in self._threads:
            thread.join()

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
            batch_fails(batch, PredictError(self._life.slot, served.name, repr(error)))

    def _require_good(self, served: ServedModel, target: ModelObject, gear: Gear) -> None:
        """After an error: nothing is begun on the card until the canary has been answered.

        Raises:
            CardBrokenError: it was not.
        """
        with self._lock:
            self.holds.hold()
        try:
            served.require_good(target, gear)
        finally:
            with self._lock:
                self.holds.release()

    def _close(self, batch: Batch[Piece], error: CardBrokenError) -> None:
        """Take nothing any more, and send back what waits."""
        with self._lock:
            batch_fails(batch, error)
            if self._broken is None and self._life.state is not CardState.STOPPED:
                self._broken = error
                self._life.move(CardState.FAILED)
                self._send_back(self._queue.clear())

    def _put(self, entries: Sequence[PieceEntry], now: float) -> tuple[_Place, Batch[Piece]] | None:
        """Add to what waits; what may run at once is the caller's. Callers hold the lock."""
        if len(entries) == 1 and self._queue.empty and not self.holds.count:
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
        while not self.holds.claim(reservation):
            reservation = self.holds.reserve()  # its time was over
        try:
            for entry in entries:
                with self._lock:
                    if self._life.over:
                        self._send_back([entry])
                        continue
                    taken = self._begun(self._queue.take_alone(entry, time.monotonic()))
                self._run(*taken)
                self._finish(*taken)
        finally:
            self.holds.end()

    def _drop(self, entries: Sequence[PieceEntry]) -> None:
        """Do not run what nobody waits for any more; callers hold the lock."""
        now = time.monotonic()
        for entry in entries:
            entry.item.ticket.error = NotWantedError(self._life.slot, entry.model)
            self._models[entry.model].settle(entry.item.ticket, now)
        if entries:
            self._life.changed.notify_all()

    def _send_back(self, entries: Sequence[PieceEntry]) -> None:
        """Answer these with NotServingError; callers hold the lock."""
        now = time.monotonic()
        for entry in entries:
            ticket = entry.item.ticket
            ticket.error = self._life.refusal()
            self._models[entry.model].settle(ticket, now)
        self._life.changed.notify_all()

    def _next_batch(self, name: str) -> tuple[_Place, Batch[Piece]] | None:
        """Wait for a batch of one model; None when the card was stopped."""
        wake = self._wake[name]
        with self._lock:
            while self._life.state is not CardState.STOPPED:
                now = time.monotonic()
                taken = self._take(name, now)
                if taken is not None:
                    return taken
                self._wake_next(now)  # it may have been another's turn that came just now
                waits = bool(self.holds.count) or not self._idle[name]
                due = math.inf if waits else self._queue.next_due(name)
                wake.wait(due - now if now < due < math.inf else None)
        return None

    def _take(self, name: str, now: float) -> tuple[_Place, Batch[Piece]] | None:
        """A batch of one model, if one is due, and where it runs; callers hold the lock."""
        if self.holds.count or not self._idle[name]:
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

    def _wake_all(self) -> None:
        """Wake a thread of every model for which something waits; callers hold the lock."""
        for model in self._models:
            self._wake_if_any(model)

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
                    self._life.changed.notify_all()
            broken = self._broken
        if broken is not None:  # only now: whoever hears of it may end this process
            self._on_broken(broken)
        return following

    def _served(self, model: str) -> ServedModel:
        served = self._models.get(model)
        if served is None:
            here = ", ".join(self._models) or "none"
            problem = f"not on card {self._life.slot}, whose models are: {here}"
            raise InvalidRequestError(model, problem)
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
