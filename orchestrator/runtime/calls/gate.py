"""How many requests of one model a driver holds at most: past that callers wait, or are told."""

import asyncio
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
    """Lets ``limit`` requests with ``most_bytes`` of inputs in, the others in their order later.

    A request of more bytes than that comes in when it is the only one. All methods may be called
    from any thread.
    """

    def __init__(self, model: str, limit: int, most_bytes: int) -> None:
        self._model = model
        self._limit = limit
        self._most_bytes = most_bytes
        self._inside = 0
        self._held = 0
        self._queue: deque[tuple[Future[None], int]] = deque()
        self._lock = threading.Lock()

    def enter_or_refuse(self, nbytes: int) -> None:
        """Come in now.

        Raises:
            OverloadedError: there is no room, or others wait for it.
        """
        with self._lock:
            if self._queue or not self._has_room(nbytes):
                waiting, limits = len(self._queue), (self._limit, self._most_bytes)
                raise OverloadedError(self._model, self._inside, self._held, waiting, *limits)
            self._let_in(nbytes)

    def enter_or_wait(self, nbytes: int, timeout: float | None) -> None:
        """Come in when there is room.

        Raises:
            DeadlineError: there was none for ``timeout`` seconds.
        """
        place = self._enter(nbytes)
        if place is _COME_IN:
            return
        try:
            place.result(timeout)
        except NotInTime:
            raise self._late(place, nbytes, timeout) from None
        except BaseException:  # Ctrl-C while it waits
            self._give_up(place, nbytes)
            raise

    async def enter_async(self, nbytes: int, timeout: float | None) -> None:
        """``enter_or_wait`` for any event loop."""
        place = self._enter(nbytes)
        if place.done():
            return
        try:
            await asyncio.wait_for(asyncio.wrap_future(place), timeout)
        except asyncio.TimeoutError:
            raise self._late(place, nbytes, timeout) from None
        except BaseException:  # the task was cancelled
            self._give_up(place, nbytes)
            raise

    def leave(self, nbytes: int) -> None:
        """One request is over: those that there is room for now come in."""
        with self._lock:
            self._inside -= 1
            self._held -= nbytes
            self._let_in_who_waits()

    def _enter(self, nbytes: int) -> "Future[None]":
        """A future that is done when the caller is in."""
        with self._lock:
            if not self._queue and self._has_room(nbytes):
                self._let_in(nbytes)
                return _COME_IN
            place: Future[None] = Future()
            self._queue.append((place, nbytes))
            return place

    def _has_room(self, nbytes: int) -> bool:
        fits = self._held + nbytes <= self._most_bytes or not self._inside
        return fits and self._inside < self._limit

    def _let_in(self, nbytes: int) -> None:
        self._inside += 1
        self._held += nbytes

    def _let_in_who_waits(self) -> None:
        while self._queue:
            place, nbytes = self._queue[0]
            if not (place.cancelled() or self._has_room(nbytes)):
                break
            self._queue.popleft()
            if place.set_running_or_notify_cancel():
                self._let_in(nbytes)
                place.set_result(None)

    def _late(self, place: "Future[None]", nbytes: int, timeout: float | None) -> DeadlineError:
        self._give_up(place, nbytes)
        told = (
            f"it waited for some of at most {self._limit} requests and {self._most_bytes:,} bytes "
            "before it to end"
        )
        return DeadlineError(self._model, (told,), seconds=timeout or 0.0)

    def _give_up(self, place: "Future[None]", nbytes: int) -> None:
        """Leave the queue, or the room when it had just been granted."""
        if not place.cancel():
            self.leave(nbytes)
            return
        with self._lock:
            self._queue = deque(one for one in self._queue if one[0] is not place)
            self._let_in_who_waits()
