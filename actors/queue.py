"""Joining requests of one card's models into batches. Pure: time is an argument, nothing blocks.

Within a bucket (requests that may be joined) the order is first come, first served. Among the
buckets of a model the one whose oldest request waited longest goes first. A batch is due when it is
full, when its oldest request has waited ``max_wait``, or when the card is idle: joining never costs
an idle card time.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from actors.shapes import Bucket

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Entry(Generic[T]):
    """One request, or one piece of a large one, waiting for its batch. Never changed.

    ``limit`` is the most rows of a batch of this bucket; ``rows`` never exceeds it. (Not frozen:
    making a frozen one takes several times as long, and there is one for every request.)
    """

    model: str
    bucket: Bucket
    rows: int
    limit: int
    arrived: float
    item: T


class CardQueue(Generic[T]):
    """What waits and what runs on one card. Not thread-safe: its owner holds a lock."""

    def __init__(self, max_waits: Mapping[str, float]) -> None:
        """Take the ``max_wait`` of every model of the card, in seconds."""
        self._max_waits = dict(max_waits)
        self._waiting: dict[str, dict[Bucket, deque[Entry[T]]]] = {m: {} for m in max_waits}
        self._queued = dict.fromkeys(max_waits, 0)
        self._running = 0

    @property
    def running(self) -> int:
        """Batches taken and not finished."""
        return self._running

    @property
    def empty(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._running and not any(self._queued.values())

    def queued(self, model: str) -> int:
        """Entries of a model that wait."""
        return self._queued[model]

    def put(self, entry: Entry[T]) -> None:
        """Add an entry at the end of its bucket."""
        self._waiting[entry.model].setdefault(entry.bucket, deque()).append(entry)
        self._queued[entry.model] += 1

    def take(self, model: str, now: float) -> list[Entry[T]]:
        """The next batch of a model, or nothing when none is due at ``now``.

        The batch counts as running until ``finished`` is called.
        """
        due = [b for b in self._waiting[model].values() if self._due(model, b) <= now]
        if not due:
            return []
        chosen = min(due, key=lambda bucket: bucket[0].arrived)
        batch = [chosen.popleft()]
        rows = batch[0].rows
        while chosen and rows + chosen[0].rows <= batch[0].limit:
            rows += chosen[0].rows
            batch.append(chosen.popleft())
        if not chosen:
            del self._waiting[model][batch[0].bucket]
        self._queued[model] -= len(batch)
        self._running += 1
        return batch

    def finished(self) -> None:
        """A batch that ``take`` returned is done."""
        self._running -= 1

    def next_due(self, model: str) -> float:
        """When ``take`` will have a batch if nothing else happens; infinity when nothing waits."""
        return min((self._due(model, b) for b in self._waiting[model].values()), default=math.inf)

    def clear(self) -> list[Entry[T]]:
        """Remove and return everything that waits, oldest first."""
        entries = [e for m in self._waiting.values() for b in m.values() for e in b]
        self._waiting = {model: {} for model in self._waiting}
        self._queued = dict.fromkeys(self._queued, 0)
        return sorted(entries, key=lambda entry: entry.arrived)

    def _due(self, model: str, bucket: deque[Entry[T]]) -> float:
        """When the bucket's first batch is due: minus infinity for at once."""
        wait = self._max_waits[model]
        if not wait or not self._running or _fills(bucket):
            return -math.inf
        return bucket[0].arrived + wait


def _fills(bucket: deque[Entry[T]]) -> bool:
    """Whether no further entry could join the bucket's first batch."""
    rows = 0
    for entry in bucket:
        rows += entry.rows
        if rows >= bucket[0].limit:
            return True
    return False
