"""Memory of a card that an ended process gives back late, as the next process there sees it.

On a card, the memory of a killed process is still taken for up to a minute after its end. Here the
process of a card notes its bytes in a file that it keeps locked as long as it lives. Whoever finds
such a file unlocked knows that its process has ended, writes down when it saw that first, and
counts the bytes as held by others until the delay has passed.
"""

import fcntl
import itertools
import os
import time
import weakref
from collections.abc import Callable
from pathlib import Path

_numbers = itertools.count(1)


class Lingering:
    """The notes of the processes of one card, this one's among them.

    Args:
        folder: of this card alone; made if it is missing.
        delay: seconds from the moment that an end is seen until the memory is free.
        now: a clock that all processes share.
    """

    def __init__(self, folder: Path, delay: float, now: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._delay = delay
        self._now = now
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{os.getpid()}-{next(_numbers)}"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        fcntl.flock(self._file, fcntl.LOCK_EX)  # the end of the process unlocks it, however it ends
        self.close = weakref.finalize(self, os.close, self._file)
        self.note(0)

    def note(self, nbytes: int) -> None:
        """Write down what this process holds."""
        os.pwrite(self._file, f"{nbytes:<20}".encode(), 0)

    def held_by_others(self) -> int:
        """Bytes of processes that live, and of those that ended less than the delay ago."""
        return sum(self._left(path) for path in self._folder.iterdir() if path != self._path)

    def _left(self, path: Path) -> int:
        """What one process still holds; its file goes with its last bytes."""
        try:
            file = path.open("r+")
        except FileNotFoundError:  # another process saw the delay pass
            return 0
        with file:
            noted, *ended = file.read().split() or ["0"]
            nbytes = int(noted)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return nbytes
            if not ended:
                ended = [str(self._now())]
                file.write(ended[0])
            if self._now() - float(ended[0]) < self._delay:
                return nbytes
            path.unlink(missing_ok=True)
            return 0
