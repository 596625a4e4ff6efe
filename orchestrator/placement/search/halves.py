"""Ways to put items on two cards, as numbers whose bits say who is on the first card.

Put together from those of two halves of the items: of few items all, and of many those that weigh
what they must, found without looking at the others.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from orchestrator.placement.search.sheet import Numbers

#: Of more divisions that may fit, about as many are taken, evenly from among them.
_MOST = 1 << 12


@lru_cache(maxsize=32)
def _bits(count: int) -> Numbers:
    """By item and division, 1 where the item is on the first card."""
    found: Numbers = (np.arange(1 << count) >> np.arange(count)[:, None]) & 1
    return found


@lru_cache(maxsize=32)
def _first(count: int) -> Numbers:
    """By division, the first item on the first card; ``count`` where none is."""
    found = np.full(1 << count, count)
    for item in reversed(range(count)):
        found[1 << item :: 2 << item] = item
    return found


def _sums(values: Sequence[int]) -> Numbers:
    """Of every division: what the items on the first card have together.

    Put together from halves: a product of the whole would be left to threads of its own.
    """
    half = len(values) // 2
    low = np.array(values[:half], np.int64) @ _bits(half)
    high = np.array(values[half:], np.int64) @ _bits(len(values) - half)
    found: Numbers = (high[:, None] + low).ravel()
    return found


def _largest(falling: Sequence[int]) -> Numbers:
    """Of every division: the largest of what the items on the first card have."""
    found: Numbers = np.array([*falling, 0], np.int64).take(_first(len(falling)))
    return found


class Every:
    """All divisions of a few items; their position is their number."""

    def numbers(self, at: Numbers) -> Numbers:
        """The divisions at these positions."""
        return at

    def sums(self, values: Sequence[int]) -> Numbers:
        """What the items on the first card have together."""
        return _sums(values)

    def largest(self, falling: Sequence[int]) -> tuple[Numbers, Numbers]:
        """The largest of what those on the first card have, and on the other; none has 0."""
        found = _largest(falling)
        return found, found[::-1]


class Weighed:
    """Those divisions of many items that may fit; if there are too many, some of them.

    An item takes its size of its card's ``rooms``, and a card besides the largest of its items'
    levels, which fall, or ``least``. Where nothing of the first half is on a card, a division may
    be here that does not fit.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        falling: Sequence[int],
        least: Sequence[int],
        rooms: Sequence[int],
    ) -> None:
        self.half = len(sizes) // 2
        low, high = _sums(sizes[: self.half]), _sums(sizes[self.half :])
        order = high.argsort(kind="stable")
        high, top = high.take(order), _largest(falling[: self.half])
        most = rooms[0] - np.maximum(top, least[0]) - low
        fewest = sum(sizes) + np.maximum(top[::-1], least[1]) - rooms[1] - low
        begin = high.searchsorted(fewest)
        count = np.maximum(high.searchsorted(most, side="right") - begin, 0)
        ends = count.cumsum()
        picked = np.arange(0, ends[-1], max(1, -(-int(ends[-1]) // _MOST)))
        #: By division, its part of either half.
        self.low = ends.searchsorted(picked, side="right")
        self.high = order.take((begin + count - ends).take(self.low) + picked)

    def numbers(self, at: Numbers) -> Numbers:
        """The divisions at these positions."""
        found: Numbers = self.high.take(at) << self.half | self.low.take(at)
        return found

    def sums(self, values: Sequence[int]) -> Numbers:
        """What the items on the first card have together."""
        low, high = _sums(values[: self.half]), _sums(values[self.half :])
        found: Numbers = low.take(self.low) + high.take(self.high)
        return found

    def largest(self, falling: Sequence[int]) -> tuple[Numbers, Numbers]:
        """The largest of what those on the first card have, and on the other; none has 0."""
        low, high = _largest(falling[: self.half]), _largest(falling[self.half :])
        one = np.maximum(low.take(self.low), high.take(self.high))
        return one, np.maximum(low[::-1].take(self.low), high[::-1].take(self.high))
