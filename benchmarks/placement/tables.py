"""The benchmark's results as tables, for a terminal and as a page of the documentation."""

import statistics
from collections.abc import Sequence

from rich.table import Table

from benchmarks.placement.growth import growth_rows
from benchmarks.placement.runs import Run, by_cell
from benchmarks.placement.targets import Verdict, in_all, judge, median, ninth_tenth, proven

_CELL_HEADS = (
    "cell", "models", "cards", "seeds", "value", "bound", "proven", "median gap", "p90 gap",
    "worst gap", "median s", "worst s", "MiB",
)  # fmt: skip
_GROWTH_HEADS = ("models", "plans", "cards", "median s", "worst s", "worst MiB")
_PAGE = """# How near the bound plans come

{intro}

## Targets

{targets}

## Cells

A cell is a mix of models, a goal (the fewest cards for `memory` alone or with `load`; the largest
alpha on cards that memory just fills, `tight`, or on 1.2 times as many, `loose`), the number of
models, and cards of one kind (`same`) or two (`mixed`). Value and bound are medians of the plans
that there are; a problem that was refused has the gap `inf%`. The last three columns say how many
times better the plan is than first fit without sharing and than the greedy placements that
AlpaServe and MuxServe describe (fewer cards, or a larger alpha; the median of where they find a
plan, `none` where they find none).

{cells}

## How time and memory grow

{growth}

![Seconds and MiB against models and cards]({plot})
"""
_INTRO = """{plans} problems made from seeds, at most {seconds:.0f} s of one core for a plan, {bad}.
A gap is the relative distance to the bound that no plan can beat: what is not proven, not what is
lost. `proven` counts gaps of at most 0.01 %. Every plan was judged by a checker that shares no code
with the planner. Written by `python -m benchmarks.placement --from FILE --page {page}`, see
[Plan before you start](planning.md#how-near-the-bound-plans-come)."""


def instance_table(runs: Sequence[Run]) -> Table:
    """One line per plan."""
    heads = ("cell", "seed", "cards", "value", "bound", "gap", "tight bound")
    table = _table(
        "Plans", (*heads, *runs[0].baselines, "seconds", ""), left=("cell", "tight bound", "")
    )
    for run in runs:
        table.add_row(
            run.cell,
            str(run.seed),
            str(run.cards),
            f"{run.value:.4g}",
            f"{run.bound:.4g}",
            f"{run.gap:.2%}",
            run.bound_name,
            *("none" if v is None else f"{v:.4g}" for v in run.baselines.values()),
            f"{run.seconds:.2f}",
            "; ".join(run.broken) or ("BEATEN" if run.beaten else ""),
        )
    return table


def cell_table(runs: Sequence[Run]) -> Table:
    """One line per cell: how many are proven, gaps, what takes how long, and the target."""
    heads = ("cell", *_CELL_HEADS[3:], "target", "")
    table = _table("Cells", heads, left=("cell", "target", ""))
    for row, found in zip(_cell_rows(runs), by_cell(runs), strict=True):
        verdicts = judge(*found)
        table.add_row(row[0], *row[3:], verdicts[0].target, _missed(verdicts))
    return table


def target_table(runs: Sequence[Run]) -> Table:
    """One line per target."""
    table = _table("Targets", ("target", "measured", ""), left=("target", "measured", ""))
    for verdict in in_all(runs):
        table.add_row(verdict.target, verdict.measured, _word(verdict))
    return table


def growth_table(runs: Sequence[Run]) -> Table:
    """One line per number of models: how many cards, seconds and MiB go with it."""
    table = _table("Growth", _GROWTH_HEADS)
    for row in growth_rows(runs):
        table.add_row(*row)
    return table


def page(runs: Sequence[Run], name: str, plot: str) -> str:
    """The page of the documentation with the file ``name`` that shows it all."""
    names = tuple(runs[0].baselines)
    cells = [
        (f"`{row[0]}`", *row[2:], _missed(judge(*found)), *_ahead(found[1], names))
        for row, found in zip(_cell_rows(runs), by_cell(runs), strict=True)
    ]
    targets = [(one.target, one.measured, _word(one)) for one in in_all(runs)]
    broken = sum(bool(run.broken) for run in runs)
    return _PAGE.format(
        intro=_INTRO.format(
            plans=len(runs),
            seconds=max(run.seconds for run in runs),
            bad=f"{broken} without one that keeps every rule"
            if broken
            else "none of which breaks a rule",
            page=f"docs/{name}",
        ),
        targets=_markdown(("target", "measured", ""), targets, left=3),
        cells=_markdown(("cell", *_CELL_HEADS[2:], "target", *names), cells, left=1),
        growth=_markdown(_GROWTH_HEADS, growth_rows(runs), left=0),
        plot=plot,
    )


def _cell_rows(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    rows = []
    for cell, found in by_cell(runs):
        gaps, seconds = [run.gap for run in found], [run.seconds for run in found]
        cards = sorted({run.cards for run in found})
        some = [run for run in found if run.has_plan] or found
        rows.append(
            (
                str(cell),
                f"{cell.models:,}",
                str(cards[0]) if len(cards) == 1 else f"{cards[0]} to {cards[-1]}",
                str(len(found)),
                f"{statistics.median(run.value for run in some):.4g}",
                f"{statistics.median(run.bound for run in some):.4g}",
                f"{proven(gaps):.0%}",
                f"{median(gaps):.2%}",
                f"{ninth_tenth(gaps):.2%}",
                f"{max(gaps):.2%}",
                f"{statistics.median(seconds):.2f}",
                f"{max(seconds):.2f}",
                f"{max(run.peak_mib for run in found):.0f}",
            )
        )
    return rows


def _ahead(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """How many times better than each baseline, in the median."""
    shown = []
    for name in names:
        found = [ahead for run in runs if (ahead := run.ahead(name)) is not None]
        shown.append(f"{statistics.median(found):.2f} x" if found else "none")
    return shown


def _missed(verdicts: Sequence[Verdict]) -> str:
    """``met``, or what is missed and by what."""
    missed = [f"{one.target} ({one.measured})" for one in verdicts if not one.met]
    return f"MISSED: {'; '.join(missed)}" if missed else "met"


def _word(verdict: Verdict) -> str:
    return "not measured" if verdict.met is None else "met" if verdict.met else "MISSED"


def _table(title: str, heads: Sequence[str], left: Sequence[str] = ()) -> Table:
    table = Table(title=title, box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="left" if head in left else "right", no_wrap=head != "")
    return table


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """The first ``left`` columns begin at the left, the others end at the right."""
    lines = [heads, ["---" if index < left else "--:" for index in range(len(heads))], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
