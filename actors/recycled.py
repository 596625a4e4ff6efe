"""Memory for the copies of outputs, used again and again.

The system hands out large memory page by page and zeroed, and takes it back when it is freed, so
that a copy into new memory takes several times as long as one into memory that is there already:
ten times for 1 MB on an emulated card, whose heap keeps nothing (``benchmarks.dataplane``).
"""

import threading
import weakref

import numpy as np

from actors.shapes import Array

#: Below that the C library keeps what is freed by itself (M_MMAP_THRESHOLD of glibc).
_LEAST = 128 << 10
#: Bytes that a card's process keeps for copies to come.
_MOST = 16 << 20


class Recycled:
    """Makes copies of arrays. Their memory comes back here when nobody has them any more."""

    def __init__(self, least: int = _LEAST, most: int = _MOST) -> None:
        """Recycle arrays of ``least`` bytes and more; keep ``most`` bytes, or the last one alone.

        What has not been used for longest goes first.
        """
        self._least = least
        self._most = most
        # What is freed comes back in whatever thread and at whatever moment, this lock's included.
        self._lock = threading.RLock()
        self._free: dict[int, bytearray] = {}

    @property
    def nbytes(self) -> int:
        """Bytes that are kept now."""
        with self._lock:
            return sum(map(len, tuple(self._free.values())))

    def copy(self, array: Array) -> Array:
        """A C-contiguous copy of an array of plain numbers, of the same dtype and shape."""
        if array.nbytes < self._least:
            return np.array(array, order="C")
        memory = self._taken(array.nbytes)
        # Views of the copy refer to the copy itself, since what it lies in is no array of numpy's.
        copy: Array = np.ndarray(array.shape, array.dtype, memory)
        np.copyto(copy, array)
        weakref.finalize(copy, self._back, memory).atexit = False
        return copy

    def _taken(self, nbytes: int) -> bytearray:
        with self._lock:
            for key, memory in reversed(tuple(self._free.items())):
                if len(memory) == nbytes and self._free.pop(key, None) is not None:
                    return memory
        return bytearray(nbytes)

    def _back(self, memory: bytearray) -> None:
        with self._lock:
            self._free[id(memory)] = memory
            for key in tuple(self._free)[:-1]:
                if self.nbytes <= self._most:
                    break
                self._free.pop(key, None)
