"""When requests are given up, in the order in which that comes."""

import heapq
from collections.abc import Collection, Iterator

#: So many deadlines of requests that are over are kept before they are looked through.
_FEW = 1024


class Deadlines:
    """Of requests by id. Those of requests that are over are passed by."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []

    def __len__(self) -> int:
        """Deadlines that are kept, of requests that are over included."""
        return len(self._heap)

    @property
    def next(self) -> float | None:
        """The first one."""
        return self._heap[0][0] if self._heap else None

    def add(self, expires: float, request_id: int) -> None:
        """A request is given up then."""
        heapq.heappush(self._heap, (expires, request_id))

    def over(self, now: float) -> Iterator[int]:
        """Remove and yield those that have come."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[1]

    def keep(self, open_ones: Collection[int]) -> None:
        """Forget those of requests that are not among these, once they are most."""
        if len(self._heap) > _FEW + 2 * len(open_ones):
            self._heap = [one for one in self._heap if one[1] in open_ones]
            heapq.heapify(self._heap)
