"""The benchmark's results as tables."""

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table

from benchmarks.placement.targets import judge, median, ninth_tenth, proven


def instance_table(runs: Sequence[Any]) -> Table:
    """One line per plan."""
    table = Table(title="Plans", box=None, pad_edge=False)
    for name in ("cell", "seed"):
        table.add_column(name, no_wrap=True)
    for name in ("cards", "value", "bound", "gap"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("tight bound", no_wrap=True)
    for name in (*runs[0].baselines, "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
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


def cell_table(runs: Sequence[Any]) -> Table:
    """One line per cell: how many are proven, gaps, what takes how long, and the target."""
    table = Table(title="Cells", box=None, pad_edge=False)
    table.add_column("cell", no_wrap=True)
    heads = ("seeds", "proven", "median gap", "p90 gap", "worst gap", "median s", "worst s", "MiB")
    for name in heads:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("target", no_wrap=True)
    table.add_column("")
    for cell, found in by_cell(runs):
        gaps = [run.gap for run in found]
        wanted, reached = judge(cell, found)
        seconds = [run.seconds for run in found]
        table.add_row(
            cell,
            str(len(found)),
            f"{proven(gaps):.0%}",
            f"{median(gaps):.2%}",
            f"{ninth_tenth(gaps):.2%}",
            f"{max(gaps):.2%}",
            f"{statistics.median(seconds):.2f}",
            f"{max(seconds):.2f}",
            f"{max(run.peak_mib for run in found):.0f}",
            wanted,
            "reached" if reached else "MISSED",
        )
    return table


def by_cell(runs: Sequence[Any]) -> Iterator[tuple[str, list[Any]]]:
    """The runs of each cell, in the order of their first appearance."""
    for cell in dict.fromkeys(run.cell for run in runs):
        yield cell, [run for run in runs if run.cell == cell]
