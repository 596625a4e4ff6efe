"""Values counted by size: one addition for each, however many there are."""

from bisect import bisect_left
from dataclasses import dataclass


@dataclass(frozen=True)
class Counted:
    """Values since the start, by upper bound; ``counts`` has one more: those above every bound."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    def cumulative(self) -> list[tuple[float, int]]:
        """For each bound, how many values do not exceed it; the last is infinity, for them all."""
        found, below = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            found.append((bound, below))
        return found


class Histogram:
    """Counts values. Not thread-safe: its owner holds a lock."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Take upper bounds, rising."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def counted(self) -> Counted:
        """All of them, as of now."""
        return Counted(self._bounds, tuple(self._counts), self._total)


#: Seconds, from a tenth of a millisecond to ten seconds, each about twice the one before.
SECONDS = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
#: Rows of a batch.
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
