"""The execution clock of one emulated card."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Clock:
    """Executions of all models of a card queue on it, one emulated execution after the other.

    An execution takes its real computing time or the emulated time, whichever is longer, and starts
    when it was handed over or when the one before it ends: like a card, it does not wait for this
    process's threads to notice either. Waiting is sleeping: many cards run on few cores.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.now = now
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = 0.0
        self._inside = 0
        self._busy_since = 0.0
        self._busy_until = 0.0
        self._busy = 0.0

    @property
    def busy_seconds(self) -> float:
        """Time in which at least one execution was under way, the present ones included."""
        with self._lock:
            return self._busy + (self.now() - self._busy_since if self._inside else 0.0)

    @contextmanager
    def executing(self, seconds: float, since: float | None = None) -> Iterator[None]:
        """Spend at least ``seconds`` on the card around the block.

        ``since``: when it was handed over, ``now()`` of a moment before this; now if not given.
        """
        end = self._begin(seconds, since)
        try:
            yield
        finally:
            computed = self.now()
            if end > computed:
                self._sleep(end - computed)
            self._finish(max(end, computed))

    def _begin(self, seconds: float, since: float | None) -> float:
        with self._lock:
            start = max(self.now() if since is None else since, self._free_at)
            if not self._inside:
                self._busy_since = self._busy_until = start
            self._inside += 1
            self._free_at = start + seconds
            return self._free_at

    def _finish(self, end: float) -> None:
        with self._lock:
            self._free_at = max(end, self._free_at)
            self._busy_until = max(end, self._busy_until)
            self._inside -= 1
            if not self._inside:
                self._busy += self._busy_until - self._busy_since
