"""Why nothing is begun on a card: a call has it alone, or a model of it is being tried."""

import itertools
import threading
from collections.abc import Callable

from actors.life import Life

#: Seconds that a reserved card waits for the call that it was reserved for.
_LEASE = 10.0


class Holds:
    """Nothing is begun while ``count`` is above 0. What runs then is let end."""

    def __init__(
        self, life: Life, running: Callable[[], int], released: Callable[[], None]
    ) -> None:
        """``running``: how many batches run. ``released``: one reason less; it is told locked."""
        self.count = 0
        self._life = life
        self._lock = life.lock
        self._running = running
        self._released = released
        self._reservations = itertools.count(1)
        self._reserved = 0
        self._claimed = False
        self._lease: threading.Timer | None = None

    def hold(self) -> None:
        """One reason more to begin nothing. Callers hold the lock."""
        self.count += 1

    def release(self) -> None:
        """One reason less to begin nothing. Callers hold the lock."""
        self.count -= 1
        self._life.changed.notify_all()
        self._released()

    def reserve(self) -> int:
        """Begin nothing more, end what runs, and keep the card free for one call.

        Returns what to ``claim`` within ten seconds. If the process dies after this has returned
        and before that call has, it is of that call.

        Raises:
            NotServingError: the card takes no requests now.
        """
        with self._lock:
            self.hold()
            self._life.changed.wait_for(self._free_or_over)
            if not self._life.ready:
                self.release()
            self._life.require_ready()
            self._reserved = reservation = next(self._reservations)
            self._claimed = False
            self._lease = threading.Timer(_LEASE, self._expire, [reservation])
            self._lease.daemon = True
            self._lease.start()
            return reservation

    def claim(self, reservation: int) -> bool:
        """From now on it lasts until whoever claimed it ends it; False when it is over."""
        with self._lock:
            if self._claimed or self._reserved != reservation:
                return False
            self._claimed = True
            self._end_lease()
            return True

    def end(self) -> None:
        """End the reservation that was claimed."""
        with self._lock:
            self._reserved = 0
            self.release()

    def let_go(self) -> None:
        """Nobody may claim the reservation any more. Callers hold the lock."""
        if self._reserved and not self._claimed:
            self._reserved = 0
            self._end_lease()
            self.release()

    def _end_lease(self) -> None:
        if self._lease is not None:
            self._lease.cancel()
            self._lease = None

    def _expire(self, reservation: int) -> None:
        """Nobody claimed it in time: its driver may be gone."""
        if self.claim(reservation):
            self.end()

    def _free_or_over(self) -> bool:
        """Whether nothing runs and nobody else has reserved the card, or it takes nothing more."""
        free = not self._running() and not self._reserved
        return free or not self._life.ready
