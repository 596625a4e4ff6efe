"""A queue that is read for a limited time at once."""

import threading
from queue import Empty, SimpleQueue

import pytest

from orchestrator.runtime.inbox import next_of

#: Far longer than all of it takes.
ENOUGH = 120.0


def test_a_time_that_is_over_at_once_ends_the_wait() -> None:
    """Whatever of the queue's own work it is over in."""
    inbox: SimpleQueue[int] = SimpleQueue()
    ended = []

    def read() -> None:
        for number in range(20_000):
            inbox.put(number)  # which frees the queue's lock, as nobody waits
            assert next_of(inbox, None) == number
            with pytest.raises(Empty):
                next_of(inbox, number % 40 * 2.5e-7)
        ended.append(True)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(ENOUGH)
    assert ended, "it waits for ever"


def test_what_comes_in_time_is_taken() -> None:
    inbox: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=inbox.put, args=["late"]).start()
    assert next_of(inbox, ENOUGH) == "late"
    with pytest.raises(Empty):
        next_of(inbox, 0.0)
