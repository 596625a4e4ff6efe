"""Requests that look for the record which kills cards are sent so that no other one suffers."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_deaths: ContextVar[int] = ContextVar("deaths", default=0)


@contextlib.contextmanager
def suspected(deaths: int) -> Iterator[None]:
    """Have requests made meanwhile, also by tasks that begin here, run alone on a card at once.

    ``deaths`` of cards that it had to itself are enough to give one up. 0: requests as any other.
    """
    token = _deaths.set(deaths)
    try:
        yield
    finally:
        _deaths.reset(token)


def suspicion() -> int:
    """What ``suspected`` says of a request that is made now."""
    return _deaths.get()
