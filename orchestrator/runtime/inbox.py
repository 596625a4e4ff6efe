"""A queue that one thread reads, for a limited time at once."""

from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def next_of(inbox: "SimpleQueue[T]", seconds: float | None) -> T:
    """What comes next, or ``queue.Empty`` after so many seconds; only one thread may call it.

    ``SimpleQueue.get`` alone may wait for ever, in CPython 3.10 to 3.12 at least: where its lock is
    free, since nobody waited when something was put last, it takes the lock, and if ``seconds`` are
    over by then what is left of them is negative, which it takes for no limit. To look without
    waiting takes the lock, too.
    """
    try:
        return inbox.get_nowait()
    except Empty:
        return inbox.get(timeout=seconds)
