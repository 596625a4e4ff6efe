"""A lock that is handed over in the order in which it was asked for.

The library's lock of a device is a native mutex: whoever waits for it is awake again long before
the thread that has released it has passed through Python and asks anew. A lock of Python's wakes a
waiter only to let it wait for the interpreter, so that the same thread would take it nearly always.
"""

import threading
from collections import deque
from types import TracebackType


class Handover:
    """A mutual exclusion for ``with``; not to be taken twice by one thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held = False
        self._waiting: deque[threading.Lock] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for it now."""
        return len(self._waiting)

    def __enter__(self) -> None:
        with self._guard:
            if not self._held:
                self._held = True
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        turn.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._held = False
