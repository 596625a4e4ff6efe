"""One model on its card: requests in, batches through a Model object, each owner's rows out."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from actors.admission import Admission, remember
from actors.batch import cut, join
from actors.counters import Counters
from actors.errors import CardBrokenError, OrchestratorError, PredictError
from actors.messages import ModelOrder, Reply, Request
from actors.model_object import ModelObject
from actors.occupied import Occupied
from actors.queue import Batch, Entry
from actors.recycled import Recycled
from actors.shapes import (
    Array,
    Arrays,
    Bucket,
    Gear,
    Signature,
    choose_gear,
    gear_rows,
    merge,
)

#: Values of an output that are kept to be compared with.
_SAMPLED = 1 << 16


class Call:
    """One call of ``predict_many`` in flight: it is done when all its requests are."""

    def __init__(self, waiting: int) -> None:
        """Expect ``waiting`` requests to finish."""
        self._waiting = waiting
        self._under_way = threading.Lock()  # an Event takes several times as long to make
        if waiting:
            self._under_way.acquire()

    def finish_one(self) -> None:
        """Count one request as done. Callers hold the card's lock."""
        self._waiting -= 1
        if not self._waiting:
            self._under_way.release()

    def wait(self) -> None:
        """Block until every request is done."""
        with self._under_way:
            pass


@dataclass(eq=False, slots=True)
class Ticket:
    """One request on its way: its pieces, and what became of them."""

    request: Request
    call: Call
    arrived: float
    pieces: list[Arrays]
    outputs: dict[int, Arrays] = field(default_factory=dict)
    error: OrchestratorError | None = None
    left: int = 0


class Piece(NamedTuple):
    """A part of a request that fits into one batch; mostly the whole request."""

    ticket: Ticket
    part: int

    @property
    def inputs(self) -> Arrays:
        """Its rows."""
        return self.ticket.pieces[self.part]


PieceEntry = Entry[Piece]


class ServedModel:
    """A model's order, signature and counters, and what happens to its requests."""

    def __init__(self, order: ModelOrder, signature: Signature, slot: str) -> None:
        self.name = order.name
        self.signature = signature
        self.counters = Counters()
        #: Seconds of the slowest run of the warm-up.
        self.expected = 0.0
        self.occupied = Occupied()
        self.recycled = Recycled()
        """These two are the card's: its models share them."""
        self._timing = threading.Lock()
        self._rule = order.batching
        self._slot = slot
        self._admission = Admission(signature, order.batching, order.name)
        self._gears: dict[tuple[Bucket, int], Gear] = {}
        self._known_good: dict[Gear, Arrays] = {}

    def admit(self, ticket: Ticket) -> Iterator[PieceEntry]:
        """Check a request and yield an entry for each of its pieces.

        Raises:
            InvalidRequestError: the model does not take it.
        """
        request = ticket.request
        inputs, priority, sender = request.inputs, request.priority, request.sender
        expires = request.expires
        placed = self._admission.place(inputs)
        ticket.pieces = self._admission.pieces(inputs, placed)
        ticket.left = len(ticket.pieces)
        for part, count in enumerate(placed.piece_rows):
            piece, key, limit = Piece(ticket, part), placed.bucket, placed.limit
            yield Entry(
                self.name, key, count, limit, ticket.arrived, piece, priority, sender, expires
            )

    def run(
        self,
        target: ModelObject,
        buffers: Mapping[str, Array],
        batch: Sequence[PieceEntry],
        require_good: Callable[[ModelObject, Gear], None],
    ) -> None:
        """Run a batch and give every piece its outputs or its error.

        ``require_good`` is called after an error, with the Model object and the gear that had it.
        When a batch of several fails, each runs again alone, so that only the culprit's owner gets
        the error.

        Raises:
            CardBrokenError: what ``require_good`` raised.
        """
        with self._timing:
            self.counters.running += len(batch)
        try:
            self._run(target, buffers, batch, require_good)
        finally:
            with self._timing:
                self.counters.running -= len(batch)

    def _run(
        self,
        target: ModelObject,
        buffers: Mapping[str, Array],
        batch: Sequence[PieceEntry],
        require_good: Callable[[ModelObject, Gear], None],
    ) -> None:
        try:
            shares = self._predict(target, buffers, batch)
        except PredictError as error:
            require_good(target, self._gear(batch[0].bucket, sum(entry.rows for entry in batch)))
            if len(batch) == 1:
                batch[0].item.ticket.error = error
                return
            for entry in batch:
                self._run(target, buffers, [entry], require_good)
            return
        for entry, share in zip(batch, shares, strict=True):
            entry.item.ticket.outputs[entry.item.part] = share

    def finish(self, batch: Sequence[PieceEntry], started: float, ended: float) -> None:
        """Count a batch and tell the callers whose requests are complete, under the card's lock."""
        rows = sum(entry.rows for entry in batch)
        held = gear_rows(self._gear(batch[0].bucket, rows), self._rule)
        counters = self.counters
        counters.batches += 1
        counters.rows += rows
        counters.padded_rows += held - rows
        counters.predict_seconds += ended - started
        counters.batch_rows.add(rows)
        counters.batch_wait.add(started - min(entry.arrived for entry in batch))
        for entry in batch:
            counters.wait_seconds += started - entry.arrived
            self.settle(entry.item.ticket, ended)

    def settle(self, ticket: Ticket, now: float) -> None:
        """Count one piece of a ticket as done, and the ticket with its last one."""
        ticket.left -= 1
        if ticket.left:
            return
        self.counters.requests += 1
        if ticket.error is None:
            self.counters.latencies.append(now - ticket.arrived)
        else:
            self.counters.errors += 1
        ticket.call.finish_one()

    def reply(self, ticket: Ticket) -> Reply:
        """The answer to a finished request, in its caller's thread."""
        if ticket.error is not None:
            return Reply(ticket.request.id, None, ticket.error)
        parts = [ticket.outputs[part] for part in range(len(ticket.pieces))]
        return Reply(ticket.request.id, merge(self._rule, parts))

    def warm_up(self, target: ModelObject, every_gear: bool) -> None:
        """Run the largest gear, or all, on zeros, and check that results can be cut.

        With all gears, a sample of each answer is kept for ``require_good``, unless the model
        answers the smallest gear otherwise the second time.

        Raises:
            PredictError: the library failed, or an output does not have the batch on its axis.
        """
        gears = sorted(self.signature.gears, key=_elements)
        answers = {}
        for gear in gears if every_gear else gears[-1:]:
            started = time.monotonic()
            answers[gear] = _sample(self._try(target, gear))
            self.expected = max(self.expected, time.monotonic() - started)
        if every_gear and same_answer(_sample(self._try(target, gears[0])), answers[gears[0]]):
            self._known_good = answers

    def require_good(self, target: ModelObject, gear: Gear) -> None:
        """Run the canary: zeros at the gear that failed, which the warm-up has run as well.

        A gear that it has not, of a purely dynamic model, is stood for by the smallest one.

        Raises:
            CardBrokenError: that fails, or has another answer than then.
        """
        gears = self.signature.gears
        known = gear if gear in gears else min(gears, key=_elements)
        try:
            answer = _sample(self._try(target, known))
        except PredictError as error:
            raise CardBrokenError(self._slot, self.name, error.problem) from error
        if known in self._known_good and not same_answer(answer, self._known_good[known]):
            raise CardBrokenError(self._slot, self.name, "its outputs are not the same")

    def _try(self, target: ModelObject, gear: Gear) -> Arrays:
        """The outputs for zeros, cut as if each row had an owner, if there are many."""
        zeros = [
            np.zeros(shape, spec.dtype)
            for spec, (_, shape) in zip(self.signature.inputs, gear.inputs, strict=True)
        ]
        held = gear_rows(gear, self._rule)
        owners = [1] * held if held > 1 else [held]
        return target.predict(gear, zeros, self._cut(owners, held))[0]

    def _cut(self, rows: Sequence[int], held: int) -> Callable[[Arrays], list[dict[str, Array]]]:
        return partial(cut, self._rule, rows=rows, held=held, copy=self.recycled.copy)

    def _gear(self, key: Bucket, rows: int) -> Gear:
        found = self._gears.get((key, rows))
        if found is None:
            found = choose_gear(self.signature, self._rule, key, rows)
            remember(self._gears, (key, rows), found)
        return found

    def _predict(
        self, target: ModelObject, buffers: Mapping[str, Array], batch: Sequence[PieceEntry]
    ) -> list[dict[str, Array]]:
        rows = [entry.rows for entry in batch]
        gear = self._gear(batch[0].bucket, sum(rows))
        inputs = [entry.item.inputs for entry in batch]
        held = gear_rows(gear, self._rule)
        began = time.monotonic()
        with self.occupied:
            arrays = join(self.signature, self._rule, gear, inputs, buffers)
            shares = target.predict(gear, arrays, self._cut(rows, held))
        seconds, predicted = time.monotonic() - began, target.predict_seconds
        with self._timing:
            self.counters.batch_copy.add(seconds - predicted)
            self.counters.batch_predict.add(predicted)
        return shares


def same_answer(one: Arrays, other: Arrays) -> bool:
    """Whether outputs are equal, but for what rounding in another order may change."""
    return all(
        np.allclose(one[name], other[name], rtol=1e-2, atol=1e-3, equal_nan=True) for name in other
    )


def _sample(answer: Arrays) -> Arrays:
    """Some values of each output, spread over it: a model of many gears may have large answers."""
    return {
        name: array.reshape(-1)[:: max(array.size // _SAMPLED, 1)].copy()
        for name, array in answer.items()
    }


def _elements(gear: Gear) -> int:
    return sum(math.prod(shape) for _, shape in gear.inputs)


def batch_fails(batch: Batch[Piece], error: OrchestratorError) -> None:
    """All requests of a batch fail with one error."""
    for entry in batch.entries:
        entry.item.ticket.error = error
