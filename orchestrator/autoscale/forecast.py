"""When the work will be done, and whether a card that takes long to load still helps. Pure."""

import math

#: A card is worth its start if it then works for at least this part of the time that it takes.
_LEAST_USE = 0.5


def finish_seconds(
    work: float, cards: float, offered: float, extra: int = 0, later: float = 0.0
) -> float:
    """Seconds until ``work`` card-seconds are done, while ``offered`` cards' worth keeps coming.

    ``extra`` cards join after ``later`` seconds. Infinity: never.
    """
    if work <= 0:
        return 0.0
    free = cards - offered
    if free > 0 and work <= free * later:
        return work / free
    left, free_then = work - free * later, free + extra
    if free_then > 0:
        return later + left / free_then
    return math.inf


def worth_starting(
    work: float, cards: int, offered: float, load_seconds: float, most: int, extra: int = 0
) -> int:
    """How many further cards, up to ``most``, are still worth their start.

    Each of them must be there for long enough, by this forecast, after all that were counted before
    it. Where the work never ends, every one is. ``extra``: cards that are being started already.
    """
    for more in range(most):
        done = finish_seconds(work, cards, offered, extra + more + 1, load_seconds)
        if done != math.inf and done - load_seconds < _LEAST_USE * load_seconds:
            return more
    return most
