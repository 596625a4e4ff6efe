"""What fills the rest of a card with whole groups, and takes the least of its time."""

from collections.abc import Sequence

import numpy as np

from orchestrator.placement.search.sheet import Numbers

#: The parts of the room in which bytes are counted.
_PARTS = 4096


def snug(sizes: Numbers, costs: Numbers, room: int, most: float) -> list[int]:
    """Which of these cost least, at most ``most``, where a byte of the room left empty costs one.

    A knapsack, of sizes that are rounded: what is too much by that is passed over for the next
    best, so that some parts more may be left empty than must be.
    """
    if room <= 0:
        return []
    unit = room / _PARTS
    units = np.rint(sizes / unit).astype(np.int64).tolist()
    least = np.full(_PARTS + 1, np.inf)
    least[0] = 0.0
    taken = np.zeros((len(units), _PARTS + 1), bool)
    for index, size in enumerate(units):
        if 0 < size <= _PARTS:
            found = least[:-size] + costs[index]
            taken[index, size:] = found < least[size:]
            np.minimum(least[size:], found, out=least[size:])
    least[least > most] = np.inf
    for filled in np.argsort(least - unit * np.arange(_PARTS + 1), kind="stable").tolist():
        chosen = _chosen(taken, units, filled)
        if sum(int(sizes[index]) for index in chosen) <= room:
            break
    return chosen


def _chosen(taken: Numbers, units: Sequence[int], filled: int) -> list[int]:
    """The groups that fill so many parts at least cost: read from the last one to the first."""
    chosen = []
    for index in reversed(range(len(units))):
        if taken[index, filled]:
            chosen.append(index)
            filled -= units[index]
    return chosen
