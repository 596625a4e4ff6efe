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
        self._busy_until = 0.0
        self._busy = 0.0

    @property
    def busy_seconds(self) -> float:
        """Time in which at least one execution was under way, over all finished executions."""
        with self._lock:
            return self._busy

    @contextmanager
    def executing(self, seconds: float) -> Iterator[None]:
        """Spend at least ``seconds`` on the card around the block."""
        with self._lock:
            start = max(self._now(), self._free_at)
            end = start + seconds
            self._free_at = end
        try:
            yield
        finally:
            remaining = end - self._now()
            if remaining > 0:
                self._sleep(remaining)
            self._finish(start, max(end, self._now()))

    def _finish(self, start: float, end: float) -> None:
        with self._lock:
            self._free_at = max(self._free_at, end)
            self._busy += max(0.0, end - max(start, self._busy_until))
            self._busy_until = max(self._busy_until, end)
