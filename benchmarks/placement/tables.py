"""The benchmark's results as tables, and how time grows as a picture."""

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table

#: A gap of at most this counts as proven optimal.
NO_GAP = 1e-4
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")


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
    """One line per cell: how many are proven, gaps, and what takes how long."""
    table = Table(title="Cells", box=None, pad_edge=False)
    table.add_column("cell", no_wrap=True)
    heads = ("seeds", "proven", "median gap", "p90 gap", "worst gap", "median s", "worst s", "MiB")
    for name in heads:
        table.add_column(name, justify="right", no_wrap=True)
    for cell, found in by_cell(runs):
        gaps = sorted(run.gap for run in found)
        seconds = [run.seconds for run in found]
        table.add_row(
            cell,
            str(len(found)),
            f"{sum(gap <= NO_GAP for gap in gaps) / len(gaps):.0%}",
            f"{statistics.median(gaps):.2%}",
            f"{gaps[math.ceil(0.9 * len(gaps)) - 1]:.2%}",
            f"{gaps[-1]:.2%}",
            f"{statistics.median(seconds):.2f}",
            f"{max(seconds):.2f}",
            f"{max(run.peak_mib for run in found):.0f}",
        )
    return table


def by_cell(runs: Sequence[Any]) -> Iterator[tuple[str, list[Any]]]:
    """The runs of each cell, in the order of their first appearance."""
    for cell in dict.fromkeys(run.cell for run in runs):
        yield cell, [run for run in runs if run.cell == cell]


def growth_plot(runs: Sequence[Any]) -> str:
    """Seconds against models, both on logarithmic axes, a colour per mix."""
    width, height, edge = 640, 400, 50
    most = max(run.seconds for run in runs)
    least = min(run.seconds for run in runs)
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(most) + 1e-9)

    def place(models: float, seconds: float) -> tuple[float, float]:
        x = edge + (math.log10(models) - 1) / 3 * (width - 2 * edge)
        y = height - edge - (math.log10(seconds) - low) / (high - low) * (height - 2 * edge)
        return x, y

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<text x="{width / 2}" y="{height - 10}">models</text><text x="5" y="20">seconds</text>',
    ]
    for power in range(1, 5):
        x, y = place(10**power, 10**low)
        parts.append(f'<text x="{x - 10:.0f}" y="{y + 18:.0f}">{10**power}</text>')
    for power in range(low, high + 1):
        x, y = place(10, 10.0**power)
        parts.append(f'<text x="{x - 42:.0f}" y="{y:.0f}">{10.0**power:g}</text>')
    mixes = list(dict.fromkeys(run.cell.partition("/")[0] for run in runs))
    for run in runs:
        x, y = place(run.models, run.seconds)
        colour = _COLOURS[mixes.index(run.cell.partition("/")[0])]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}" opacity="0.6"/>')
    for row, mix in enumerate(mixes):
        parts.append(
            f'<text x="{edge + 10}" y="{30 + 16 * row}" fill="{_COLOURS[row]}">{mix}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])
