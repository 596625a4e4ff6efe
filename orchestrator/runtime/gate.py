"""How many requests of one model a driver holds at most: past that callers wait, or are told."""

import asyncio
import contextlib
import threading
from collections import deque
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime

from orchestrator.errors import DeadlineError, OverloadedError

#: Of all who come in without a wait.
_COME_IN: "Future[None]" = Future()
_COME_IN.set_running_or_notify_cancel()
_COME_IN.set_result(None)


class Gate:
    """Lets ``limit`` requests of one model in, and the others in their order when some leave.

    All methods may be called from any thread.
    """

    def __init__(self, model: str, limit: int) -> None:
        self._model = model
        self._limit = limit
        self._inside = 0
        self._queue: deque[Future[None]] = deque()
        self._lock = threading.Lock()

    def enter_or_refuse(self) -> None:
        """Come in now.

        Raises:
            OverloadedError: there is no room.
        """
        with self._lock:
            if self._inside >= self._limit:
                raise OverloadedError(self._model, self._limit, len(self._queue))
            self._inside += 1

    def enter_or_wait(self, timeout: float | None) -> None:
        """Come in when there is room.

        Raises:
            DeadlineError: there was none for ``timeout`` seconds.
        """
        place = self._enter()
        try:
            place.result(timeout)
        except NotInTime:
            raise self._late(place, timeout) from None
        except BaseException:  # Ctrl-C while it waits
            self._give_up(place)
            raise

    async def enter_async(self, timeout: float | None) -> None:
        """``enter_or_wait`` for any event loop."""
        place = self._enter()
        if place.done():
            return
        try:
            await asyncio.wait_for(asyncio.wrap_future(place), timeout)
        except asyncio.TimeoutError:
            raise self._late(place, timeout) from None
        except BaseException:  # the task was cancelled
            self._give_up(place)
            raise

    def leave(self) -> None:
        """One request is over: the next that still waits comes in."""
        with self._lock:
            while self._queue:
                place = self._queue.popleft()
                if place.set_running_or_notify_cancel():
                    place.set_result(None)
                    return
            self._inside -= 1

    def _enter(self) -> "Future[None]":
        """A future that is done when the caller is in."""
        with self._lock:
            if self._inside < self._limit:
                self._inside += 1
                return _COME_IN
            place: Future[None] = Future()
            self._queue.append(place)
            return place

    def _late(self, place: "Future[None]", timeout: float | None) -> DeadlineError:
        self._give_up(place)
        told = f"it waited for one of the {self._limit} requests before it to end"
        return DeadlineError(self._model, timeout or 0.0, (told,))

    def _give_up(self, place: "Future[None]") -> None:
        """Leave the queue, or the room when it had just been granted."""
        if not place.cancel():
            self.leave()
            return
        with self._lock, contextlib.suppress(ValueError):  # leave() may have met it already
            self._queue.remove(place)
