"""What the planner wants to reach in each kind of cell, and whether it did."""

import math
import statistics
from collections.abc import Sequence
from typing import Protocol

from benchmarks.placement.instances import Cell

#: A gap of at most this counts as proven optimal.
NO_GAP = 1e-4
#: Largest gap of alpha for 10,000 models, by mix.
_HUGE = {"zipf": 0.01, "cv": 0.03, "diffusion": 0.06}
#: Largest median gap of alpha on tight cards, where memory and time are both used up.
_HARD = {"diffusion": 0.21, "llm": 0.08}


class Measured(Protocol):
    """What a judgement looks at."""

    value: float
    bound: float
    gap: float


def median(gaps: Sequence[float]) -> float:
    """The median gap."""
    return statistics.median(gaps)


def ninth_tenth(gaps: Sequence[float]) -> float:
    """The gap that nine tenths of the runs do not exceed."""
    return sorted(gaps)[math.ceil(0.9 * len(gaps)) - 1]


def proven(gaps: Sequence[float]) -> float:
    """The share of the runs without a gap."""
    return sum(gap <= NO_GAP for gap in gaps) / len(gaps)


def judge(name: str, runs: Sequence[Measured]) -> tuple[str, bool]:
    """The target of a cell in words, and whether these runs reach it."""
    cell, gaps = Cell.parse(name), [run.gap for run in runs]
    few = cell.goal in ("memory", "load")
    if cell.models <= 50:
        return _small(cell, few, gaps)
    if cell.models > 1000:
        most = 0.06 if few else _HUGE.get(cell.mix, 0.06)
        return f"{most:.0%}", max(gaps) <= most
    if few:
        near = all(run.value - run.bound <= 1 for run in runs)
        most = 0.05 if (cell.mix, cell.goal) == ("diffusion", "load") else 0.02
        return f"1 card or median {most:.0%}", near or median(gaps) <= most
    if cell.goal == "tight" and cell.mix in _HARD:
        return f"median {_HARD[cell.mix]:.0%}", median(gaps) <= _HARD[cell.mix]
    good = median(gaps) <= 0.01 and ninth_tenth(gaps) <= 0.05
    return "median 1%, p90 5%", good


def _small(cell: Cell, few: bool, gaps: Sequence[float]) -> tuple[str, bool]:
    share = 0.6 if cell.goal == "tight" else 0.95
    if few:
        return "95% proven", proven(gaps) >= share
    return f"{share:.0%} proven, worst 5%", proven(gaps) >= share and max(gaps) <= 0.05
