"""What the planner wants to reach, cell by cell and in all, and whether it did."""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.placement.instances import Cell
from benchmarks.placement.runs import Run, by_cell

#: A gap of at most this counts as proven optimal.
NO_GAP = 1e-4
SMALL, LARGE = 50, 1000
#: Largest gap of alpha for 10,000 models, by mix; and of the number of cards.
_HUGE, _HUGE_FEW = {"zipf": 0.01, "cv": 0.03, "diffusion": 0.06}, 0.06
#: Gaps of alpha that were left open on tight cards, where memory and time are both used up: half of
#: them is to be closed.
_OPEN = {"diffusion": 0.42, "llm": 0.16}
#: Seconds of one core for a plan, with up to 1000 models and for the alpha of 10,000; MiB.
_SECONDS, _HUGE_SECONDS, _MIB = 30.0, 10.0, 1000.0
#: A search looks at its clock between steps: so much more is no miss.
_LATE = 1.1


@dataclass(frozen=True)
class Verdict:
    """A target in words, what was measured, and whether that reaches it; None: not measured."""

    target: str
    measured: str
    met: bool | None


def median(gaps: Sequence[float]) -> float:
    """The median gap."""
    return statistics.median(gaps)


def ninth_tenth(gaps: Sequence[float]) -> float:
    """The gap that nine tenths of the runs do not exceed."""
    return sorted(gaps)[math.ceil(0.9 * len(gaps)) - 1]


def proven(gaps: Sequence[float]) -> float:
    """The share of the runs without a gap."""
    return sum(gap <= NO_GAP for gap in gaps) / len(gaps)


def judge(cell: Cell, runs: Sequence[Run]) -> list[Verdict]:
    """What a cell is to reach: a gap or a share that is proven, seconds, MiB, and no baseline."""
    gaps = [run.gap for run in runs]
    return [_quality(cell, runs, gaps), *_cost(cell, runs), _best(runs)]


def in_all(runs: Sequence[Run]) -> Iterator[Verdict]:
    """The targets over many cells."""
    few = [run for run in runs if run.few and run.models <= SMALL]
    yield _share("up to 50 models, fewest cards: 95 % proven", few, 0.95, math.inf)
    for goal, share in (("loose", 0.95), ("tight", 0.6)):
        some = [run for run in runs if run.kind.goal == goal and run.models <= SMALL]
        words = f"up to 50 models, alpha {goal}: {share:.0%} proven, the rest within 5 %"
        yield _share(words, some, share, 0.05)
    yield _cells(
        "up to 1000 models, fewest cards: 1 card or 2 % in the median (diffusion with load 5 %)",
        [run for run in runs if run.few and SMALL < run.models <= LARGE],
    )
    easy = [
        run for run in runs if not run.few and SMALL < run.models <= LARGE and not _hard(run.kind)
    ]
    yield _spread("up to 1000 models, alpha: median 1 %, 90th percentile 5 %", easy)
    for mix, left in _OPEN.items():
        cells = [r for r in runs if _hard(r.kind) and r.kind.mix == mix and r.models > SMALL]
        yield _cells(f"{mix} tight: half of the open {left:.0%} closed", cells)
    for mix, most in _HUGE.items():
        huge = [r for r in runs if r.kind.mix == mix and not r.few and r.models > LARGE]
        yield _worst(f"10,000 models, alpha of {mix}: {most:.0%} in 10 s", huge, most)
    huge = [run for run in runs if run.few and run.models > LARGE]
    yield _worst("10,000 models, fewest cards: 6 %", huge, _HUGE_FEW)
    yield _most(
        "at most 30 s of one core up to 1000 models",
        _SECONDS,
        "s",
        [run.seconds for run in runs if run.models <= LARGE],
    )
    yield _most(
        "at most 10 s for the alpha of 10,000 models",
        _HUGE_SECONDS,
        "s",
        [run.seconds for run in runs if run.models > LARGE and not run.few],
    )
    yield _most("memory under 1 GB", _MIB, "MiB", [run.peak_mib for run in runs])
    yield _best(runs)


def _hard(cell: Cell) -> bool:
    return cell.goal == "tight" and cell.mix in _OPEN


def _quality(cell: Cell, runs: Sequence[Run], gaps: Sequence[float]) -> Verdict:
    few = runs[0].few
    if cell.models <= SMALL:
        share = 0.6 if cell.goal == "tight" else 0.95
        words = f"{share:.0%} proven" + ("" if few else ", rest 5 %")
        return _share(words, runs, share, math.inf if few else 0.05)
    if cell.models > LARGE:
        most = _HUGE_FEW if few else _HUGE.get(cell.mix, 0.06)
        return _worst(f"worst {most:.0%}", runs, most)
    if few:
        most = 0.05 if (cell.mix, cell.goal) == ("diffusion", "load") else 0.02
        more = statistics.median(run.value - run.bound for run in runs)
        good = more <= 1 or median(gaps) <= most
        return Verdict(f"1 card or median {most:.0%}", f"{more:g} cards, {median(gaps):.2%}", good)
    if _hard(cell):
        most = _OPEN[cell.mix] / 2
        return Verdict(f"median {most:.0%}", f"{median(gaps):.2%}", median(gaps) <= most)
    return _spread("median 1 %, p90 5 %", runs)


def _cost(cell: Cell, runs: Sequence[Run]) -> Iterator[Verdict]:
    seconds = [run.seconds for run in runs]
    if cell.models <= LARGE or not runs[0].few:
        most = _SECONDS if cell.models <= LARGE else _HUGE_SECONDS
        yield _most(f"{most:g} s", most, "s", seconds)
    yield _most("1 GB", _MIB, "MiB", [run.peak_mib for run in runs])


def _share(words: str, runs: Sequence[Run], share: float, rest: float) -> Verdict:
    def told(gaps: list[float]) -> tuple[str, bool]:
        good = proven(gaps) >= share and max(gaps) <= rest
        return f"{proven(gaps):.0%} proven, worst {max(gaps):.2%}", good

    return _verdict(words, [run.gap for run in runs], told)


def _spread(words: str, runs: Sequence[Run]) -> Verdict:
    def told(gaps: list[float]) -> tuple[str, bool]:
        good = median(gaps) <= 0.01 and ninth_tenth(gaps) <= 0.05
        return f"median {median(gaps):.2%}, p90 {ninth_tenth(gaps):.2%}", good

    return _verdict(words, [run.gap for run in runs], told)


def _worst(words: str, runs: Sequence[Run], most: float) -> Verdict:
    return _verdict(
        words,
        [run.gap for run in runs],
        lambda gaps: (f"worst {max(gaps):.2%}", max(gaps) <= most),
    )


def _most(words: str, limit: float, unit: str, values: list[float]) -> Verdict:
    late = _LATE if unit == "s" else 1.0
    return _verdict(
        words, values, lambda all_: (f"{max(all_):.3g} {unit}", max(all_) <= limit * late)
    )


def _cells(words: str, runs: Sequence[Run]) -> Verdict:
    """Reached where each cell reaches its own; tells the worst median and the cells that do not."""

    def told(gaps: list[float]) -> tuple[str, bool]:
        each = {
            str(cell): (found, _quality(cell, found, [run.gap for run in found]))
            for cell, found in by_cell(runs)
        }
        worst = max(median([run.gap for run in found]) for found, _ in each.values())
        missed = [cell for cell, (_, verdict) in each.items() if not verdict.met]
        text = f"worst median {worst:.2%}"
        return text + (f": {', '.join(missed)}" if missed else ""), not missed

    return _verdict(words, [run.gap for run in runs], told)


def _best(runs: Sequence[Run]) -> Verdict:
    """Every plan keeps the rules and none of the baselines is better."""
    broken = sum(bool(run.broken) for run in runs)
    beaten = sum(run.beaten for run in runs)
    text = f"{broken} of {len(runs)} invalid or without a plan, {beaten} beaten"
    return Verdict("valid, and never worse than a baseline", text, not (broken or beaten))


def _verdict(
    words: str, values: list[float], told: Callable[[list[float]], tuple[str, bool]]
) -> Verdict:
    if not values:
        return Verdict(words, "", None)
    text, good = told(values)
    return Verdict(words, text, good)
