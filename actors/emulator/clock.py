"""The execution clock of one emulated card."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Clock:
    """Executions of all models of a card queue on it, one emulated execution after the other.

    An execution takes its real computing time or the emulated time, whichever is longer, and starts
    no earlier than the one before it ends. Waiting is sleeping: many cards run on few cores.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._now = now
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = 0.0
        self._inside = 0
        self._busy_since = 0.0
        self._busy = 0.0

    @property
    def busy_seconds(self) -> float:
        """Time in which at least one execution was under way, the present ones included."""
        with self._lock:
            return self._busy + (self._now() - self._busy_since if self._inside else 0.0)

    @contextmanager
    def executing(self, seconds: float) -> Iterator[None]:
        """Spend at least ``seconds`` on the card around the block."""
        end = self._begin(seconds)
        try:
            yield
        finally:
            remaining = end - self._now()
            if remaining > 0:
                self._sleep(remaining)
            self._finish()

    def _begin(self, seconds: float) -> float:
        with self._lock:
            now = self._now()
            if not self._inside:
                self._busy_since = now
            self._inside += 1
            self._free_at = max(now, self._free_at) + seconds
            return self._free_at

    def _finish(self) -> None:
        with self._lock:
            now = self._now()
            self._free_at = max(now, self._free_at)
            self._inside -= 1
            if not self._inside:
                self._busy += now - self._busy_since
