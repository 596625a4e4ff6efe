"""Joining requests of one card's models into batches, and whose batch is next. Pure.

Time is an argument, nothing blocks. Models that share a workspace run one at a time, in turns: each
gets its share of the time that batches take, online requests before those of priority batch, which
get what is left and a tenth at least. A batch is led by one driver's oldest request; the drivers of
a model take turns too, row by row. It is due when it is full, when its oldest request has waited
``max_wait``, or when the card is idle: joining never costs an idle card time.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from actors.entries import PRIORITIES, Batch, Entry, Priority
from actors.lanes import Lane
from actors.shapes import Bucket
from actors.turns import Turns

__all__ = ["AHEAD", "PRIORITIES", "Batch", "CardQueue", "Entry", "Priority", "Terms"]

T = TypeVar("T")

#: Batches of sharing models that are under way at once: one executes while the next one's inputs
#: are joined and copied to the card. More would only make those wait that come later.
AHEAD = 2


@dataclass(frozen=True)
class Terms:
    """How a model is served: ``max_wait`` in seconds, its ``share`` of the card relative to others.

    ``in_turns``: it runs one at a time with the others that do.
    """

    max_wait: float = 0.0
    share: float = 1.0
    in_turns: bool = True


class _Line(Generic[T]):
    """The entries of one bucket, by priority and sender, each in the order of their arrival."""

    def __init__(self) -> None:
        self.queues: dict[tuple[Priority, int], deque[Entry[T]]] = {}
        self.rows = 0

    def put(self, entry: Entry[T]) -> None:
        self.queues.setdefault((entry.priority, entry.sender), deque()).append(entry)
        self.rows += entry.rows

    def pop(self, key: tuple[Priority, int], room: int, alone: bool) -> Iterator[Entry[T]]:
        """The oldest entry of one queue; if it is alone, all that there is room for."""
        queue = self.queues[key]
        while queue and queue[0].rows <= room:
            entry = queue.popleft()
            self.rows -= entry.rows
            room -= entry.rows
            yield entry
            if not alone:
                break
        if not queue:
            del self.queues[key]

    def remove(self, unwanted: Callable[[Entry[T]], bool]) -> Iterator[Entry[T]]:
        for key, queue in list(self.queues.items()):
            removed = [entry for entry in queue if unwanted(entry)]
            if len(removed) == len(queue):
                del self.queues[key]
            elif removed:
                self.queues[key] = deque(entry for entry in queue if not unwanted(entry))
            self.rows -= sum(entry.rows for entry in removed)
            yield from removed

    @property
    def head(self) -> Entry[T]:
        """The oldest entry."""
        return min((queue[0] for queue in self.queues.values()), key=lambda entry: entry.arrived)

    @property
    def fills(self) -> bool:
        """Whether no further entry could join the first batch."""
        return self.rows >= self.head.limit


class CardQueue(Generic[T]):
    """What waits and what runs on one card. Not thread-safe: its owner holds a lock."""

    def __init__(self, terms: Mapping[str, Terms]) -> None:
        """Take the terms of every model of the card."""
        self._max_waits = {name: one.max_wait for name, one in terms.items()}
        #: Of each lane the models for which anything waits: a card may have hundreds of others.
        self._waiting: dict[Lane, dict[str, dict[Bucket, _Line[T]]]] = {}
        self._queued = dict.fromkeys(terms, 0)
        self._senders = {(m, p): Turns[int]() for m in terms for p in PRIORITIES}
        shared = {name: one.share for name, one in terms.items() if one.in_turns}
        lanes = [Lane({name: 1.0}, math.inf) for name in terms if name not in shared]
        self._lanes = {m: lane for lane in [Lane(shared, AHEAD), *lanes] for m in lane.models}
        self._running = 0
        self._all_queued = 0
        self._earliest = math.inf

    @property
    def running(self) -> int:
        """Batches taken and not finished."""
        return self._running

    @property
    def empty(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._running and not self._all_queued

    def queued(self, model: str) -> int:
        """Entries of a model that wait."""
        return self._queued[model]

    def put(self, entry: Entry[T]) -> None:
        """Add an entry behind those of its bucket, priority and sender."""
        waiting = self._waiting.setdefault(self._lanes[entry.model], {})
        lines = waiting.setdefault(entry.model, {})
        line = lines.get(entry.bucket)
        if line is None:
            line = lines[entry.bucket] = _Line()
        line.put(entry)
        self._earliest = min(self._earliest, entry.expires)
        self._queued[entry.model] += 1
        self._all_queued += 1

    def next(self, now: float) -> list[str]:
        """The models that ``take`` has a batch for at ``now``."""
        turns = (self._turn(lane, now) for lane in self._waiting)
        return [turn[1] for turn in turns if turn is not None]

    def take(self, model: str, now: float) -> Batch[T] | None:
        """The next batch of a model; nothing when none is due at ``now``, or others come first.

        The batch counts as running until ``finished`` is called.
        """
        lane = self._lanes[model]
        turn = self._turn(lane, now)
        if turn is None or turn[1] != model:
            return None
        lead = turn[0]
        bucket = self._bucket(model, lead, now)
        line = self._lines(model)[bucket]
        entries = list(self._joined(model, line, lead))
        if not line.rows:
            self._keep(model, (key for key in self._lines(model) if key != bucket))
        self._queued[model] -= len(entries)
        self._all_queued -= len(entries)
        return self._begun(entries, lead, now)

    def take_alone(self, entry: Entry[T], now: float) -> Batch[T]:
        """A batch of an entry that was not put here; it is for the caller to see that it may be."""
        return self._begun([entry], entry.priority, now)

    def overdue(self, now: float) -> list[Entry[T]]:
        """Remove and return what nobody waits for any more."""
        if now < self._earliest:
            return []
        removed = self.remove(lambda entry: entry.expires <= now)
        self._earliest = min((entry.expires for entry in self._all()), default=math.inf)
        return removed

    def remove(self, unwanted: Callable[[Entry[T]], bool]) -> list[Entry[T]]:
        """Remove and return some of what waits."""
        removed: list[Entry[T]] = []
        for model in [model for models in self._waiting.values() for model in models]:
            lines = self._lines(model)
            gone = [entry for line in lines.values() for entry in line.remove(unwanted)]
            self._keep(model, (key for key, line in lines.items() if line.rows))
            self._queued[model] -= len(gone)
            self._all_queued -= len(gone)
            removed += gone
        return removed

    def _begun(self, entries: Sequence[Entry[T]], lead: Priority, now: float) -> Batch[T]:
        model, bucket = entries[0].model, entries[0].bucket
        self._running += 1
        rows: dict[Priority, int] = {}
        for entry in entries:
            rows[entry.priority] = rows.get(entry.priority, 0) + entry.rows
        kind = model, bucket, sum(rows.values())
        charged, number = self._lanes[model].take(kind, model, lead, rows, now)
        return Batch(model, entries, now, lead, rows, kind, charged, number)

    def finished(self, batch: Batch[T], now: float) -> None:
        """A batch that ``take`` returned is done."""
        self._lanes[batch.model].finish(batch, now)
        self._running -= 1

    def next_due(self, model: str) -> float:
        """When a batch of a model is due if nothing else happens; infinity when nothing waits."""
        due = min((self._due(model, x) for x in self._lines(model).values()), default=math.inf)
        return max(due, self._lanes[model].opens)

    def clear(self) -> list[Entry[T]]:
        """Remove and return everything that waits, oldest first."""
        entries = self._all()
        self._waiting = {}
        self._queued = dict.fromkeys(self._queued, 0)
        self._all_queued = 0
        return sorted(entries, key=lambda entry: entry.arrived)

    def _all(self) -> list[Entry[T]]:
        models = (lines for models in self._waiting.values() for lines in models.values())
        queues = (q for lines in models for line in lines.values() for q in line.queues.values())
        return [entry for queue in queues for entry in queue]

    def _lines(self, model: str) -> Mapping[Bucket, _Line[T]]:
        return self._waiting.get(self._lanes[model], {}).get(model, {})

    def _keep(self, model: str, buckets: Iterable[Bucket]) -> None:
        """Of a model these buckets alone; of what has none left, nothing."""
        lane, lines = self._lanes[model], self._lines(model)
        kept = {bucket: lines[bucket] for bucket in buckets}
        if kept:
            self._waiting[lane][model] = kept
            return
        del self._waiting[lane][model]
        if not self._waiting[lane]:
            del self._waiting[lane]

    def _turn(self, lane: Lane, now: float) -> tuple[Priority, str] | None:
        if lane.full or now < lane.opens:
            return None
        wanting: dict[Priority, dict[str, None]] = {}
        for model, lines in self._waiting.get(lane, {}).items():
            waits = self._running and self._max_waits[model]
            for line in lines.values():
                if waits and self._due(model, line) > now:
                    continue
                for priority, _ in line.queues:
                    wanting.setdefault(priority, {})[model] = None
        return lane.next(wanting) if wanting else None

    def _open(self, model: str, now: float) -> Iterator[_Line[T]]:
        """The buckets of a model that are due."""
        return (x for x in self._lines(model).values() if self._due(model, x) <= now)

    def _bucket(self, model: str, lead: Priority, now: float) -> Bucket:
        """The bucket with the oldest entry of the sender whose turn it is."""
        lines = list(self._open(model, now))
        senders = [sender for line in lines for p, sender in line.queues if p == lead]
        key = lead, self._senders[model, lead].first(senders)
        heads = (line.queues[key][0] for line in lines if key in line.queues)
        return min(heads, key=lambda entry: entry.arrived).bucket

    def _joined(self, model: str, line: _Line[T], lead: Priority) -> Iterator[Entry[T]]:
        """Entries for one batch: of the leading priority, then of the other one."""
        room = line.head.limit
        for priority in sorted(PRIORITIES, key=lambda one: one != lead):
            turns = self._senders[model, priority]
            while fitting := [
                sender
                for (other, sender), queue in line.queues.items()
                if other == priority and queue[0].rows <= room
            ]:
                sender = turns.first(fitting)
                rows = 0
                for entry in line.pop((priority, sender), room, alone=len(fitting) == 1):
                    rows += entry.rows
                    yield entry
                turns.take(sender, rows)
                room -= rows

    def _due(self, model: str, line: _Line[T]) -> float:
        """When a bucket's first batch is due: minus infinity for at once."""
        wait = self._max_waits[model]
        if not wait or not self._running or line.fills:
            return -math.inf
        return line.head.arrived + wait
