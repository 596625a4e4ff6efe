"""A thread that owns some state: all else are events in its inbox, and timers."""

import heapq
import itertools
import logging
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from orchestrator.runtime.inbox import next_of

_log = logging.getLogger(__name__)


class Events:
    """Handles one event after the other until ``end``. Only ``put`` may come from any thread."""

    def __init__(
        self, name: str, clock: Callable[[], float], on_error: Callable[[Exception], None]
    ) -> None:
        self._name = name
        self._clock = clock
        self._on_error = on_error
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._over = False

    def start(self) -> None:
        """Start the thread; what was put before is handled first."""
        self._thread.start()

    def put(self, event: Callable[..., None], *about: object) -> None:
        """Handle an event soon."""
        self._inbox.put(partial(event, *about))

    def after(self, seconds: float, event: Callable[..., None], *about: object) -> None:
        """Handle an event later."""
        bound: Callable[[], None] = partial(event, *about)
        heapq.heappush(self._timers, (self._clock() + seconds, next(self._order), bound))

    def when_done(self, future: "Future[Any]", event: Callable[..., None], *about: object) -> None:
        """Handle an event once a future is done, which is its last argument."""
        future.add_done_callback(lambda done: self.put(event, *about, done))

    def end(self, last: Callable[[], None]) -> None:
        """Handle a last event and wait for the thread; from another thread than this one."""
        if self._thread.is_alive():
            self.put(self._end, last)
            self._thread.join()

    def _end(self, last: Callable[[], None]) -> None:
        last()
        self._over = True

    def _run(self) -> None:
        while not self._over:
            try:
                self._turn()
            except Exception as error:
                _log.exception("%s failed to handle an event", self._name)
                self._on_error(error)

    def _turn(self) -> None:
        due = max(self._timers[0][0] - self._clock(), 0.0) if self._timers else None
        try:
            event = next_of(self._inbox, due)
        except Empty:
            event = heapq.heappop(self._timers)[2]
        event()
