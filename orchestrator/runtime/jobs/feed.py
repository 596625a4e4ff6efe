"""What a job's pipeline is fed with: batches of parts in their order, as many at once as may be."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from orchestrator.jobs import Part
from orchestrator.runtime.io.source import Batch, Load, Source

#: The next part to do; None when there is none any more.
NextPart = Callable[[], Awaitable[Part | None]]

#: Batches that are read ahead of those that are asked for, and bytes after which there are no more.
_AHEAD, _AHEAD_BYTES = 8, 4 << 20
#: Bytes of all batches in flight; one is, whatever its size.
_IN_FLIGHT_BYTES = 512 << 20
#: Bytes of a batch that is decoded where it is read.
_SMALL = 1 << 18


class Room:
    """Batches in flight: as many as may be, and fewer when the latest were large; one always."""

    def __init__(self, most: int) -> None:
        self._most, self._inside = most, 0
        self._latest: deque[int] = deque(maxlen=most)
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        """Until one more may be in flight; until one was measured there is one. For one waiter."""
        while self._inside and self._inside >= self._width():
            self._changed.clear()
            await self._changed.wait()

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """While one is in flight."""
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._changed.set()

    def measured(self, nbytes: int) -> None:
        """A batch is of so many bytes."""
        self._latest.append(nbytes)
        self._changed.set()

    def _width(self) -> int:
        if not self._latest:
            return 1
        return min(self._most, _IN_FLIGHT_BYTES // max(*self._latest, 1))


@dataclass(frozen=True)
class Reading:
    """How a part is read: batches of so many ``rows`` from number ``start`` on.

    ``single``: none is decoded before it is asked for.
    """

    rows: int
    start: int = 0
    single: bool = False


@dataclass(frozen=True)
class Taken:
    """A batch of a part by its number, decoded if that cost little.

    Without a batch the part is read to its end, and the number that of its batches.
    """

    part: Part
    number: int
    load: Load | None = None
    batch: Batch | None = None


class Feed:
    """Gives out the batches of all parts, in order, to whoever asks; one at a time may."""

    def __init__(
        self, source: Source, next_part: NextPart, reading: Callable[[Part], Reading]
    ) -> None:
        self._source, self._next_part, self._reading_of = source, next_part, reading
        self._part: Part | None = None
        self._reading = Reading(1)
        self._batches: Iterator[Load] = iter(())
        self._ahead: deque[tuple[Load, Batch | None]] = deque()
        self._given = 0

    async def take(self) -> Taken | None:
        """The next one, or the end of a part; None when there is nothing any more."""
        if self._part is None:
            self._part = await self._next_part()
            if self._part is None:
                return None
            self._reading = self._reading_of(self._part)
            batches = self._source.read(self._part, self._reading.rows)
            self._given = self._reading.start
            self._batches = islice(batches, self._given, None)
        if not self._ahead:
            self._ahead.extend(await asyncio.to_thread(self._few))
        part, number = self._part, self._given
        self._given += 1
        if self._ahead:
            return Taken(part, number, *self._ahead.popleft())
        self._part = None
        return Taken(part, number)

    def _few(self) -> list[tuple[Load, Batch | None]]:
        """The next batches: going to another thread costs as much as making a small one."""
        few: list[tuple[Load, Batch | None]] = []
        held = 0
        for load in islice(self._batches, _AHEAD):
            small = 0 < load.held <= _SMALL and not self._reading.single
            few.append((load, load() if small else None))
            held += load.held
            if held > _AHEAD_BYTES:
                break
        return few
