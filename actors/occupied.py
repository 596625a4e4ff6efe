"""How long a card had work: the time in which at least one batch was in the library's hands."""

import threading
import time
from collections.abc import Callable
from types import TracebackType


class Occupied:
    """A context around each batch, entered by any number of threads at once."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._inside = 0
        self._since = 0.0
        self._before = 0.0

    def __enter__(self) -> None:
        """A batch begins."""
        with self._lock:
            if not self._inside:
                self._since = self._now()
            self._inside += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """A batch has ended, in whatever way."""
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._before += self._now() - self._since

    @property
    def seconds(self) -> float:
        """So long until now, the batches that are under way included."""
        with self._lock:
            return self._before + (self._now() - self._since if self._inside else 0.0)
