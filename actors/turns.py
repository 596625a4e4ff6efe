"""Whose turn it is on something that serves one at a time: start-time fair queueing. Pure.

Each key has a weight. While several want turns all the time, the time that each of them gets is
proportional to its weight, to within one turn of each. A key that wants nothing saves nothing up:
it comes back as if it had just had its share.
"""

from collections.abc import Collection, Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

#: Keys that are remembered before those without any debt are forgotten: drivers come and go.
_REMEMBERED = 256


class Turns(Generic[K]):
    """Virtual time, and for each key the virtual time at which its next turn may start."""

    def __init__(self, weights: Mapping[K, float] | None = None) -> None:
        """Take the weights, above 0; a key without one has 1."""
        self._weights = dict(weights or {})
        self._now = 0.0
        self._next: dict[K, float] = {}

    def first(self, wanting: Collection[K]) -> K:
        """The one of these whose turn it is; of equals the first. There must be one.

        All that want a turn must be named, also those that could not take it at once.
        """
        for key in wanting:
            if self._next.get(key, 0.0) <= self._now:  # nobody's turn may start earlier
                return key
        return min(wanting, key=self._next.__getitem__)

    def take(self, key: K, cost: float) -> None:
        """A key takes its turn, which will cost so much as far as one knows."""
        start = self._start(key)
        self._now = max(self._now, start)
        self._next[key] = start + cost / self._weight(key)
        if len(self._next) > _REMEMBERED:
            self._next = {one: at for one, at in self._next.items() if at > self._now}

    def charge(self, key: K, cost: float) -> None:
        """A key has cost so much more than was said, or less; no turn is taken."""
        self._next[key] = self._next.get(key, self._now) + cost / self._weight(key)

    def _start(self, key: K) -> float:
        return max(self._next.get(key, 0.0), self._now)

    def _weight(self, key: K) -> float:
        return self._weights.get(key, 1.0)
