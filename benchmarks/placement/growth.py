"""How time and memory grow with models and cards: a table and a picture."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")
_WIDTH, _HEIGHT, _LEFT, _EDGE = 400, 300, 62, 42


def growth_table(runs: Sequence[Any]) -> Table:
    """One line per number of models: how many cards, seconds and MiB go with it."""
    table = Table(title="Growth", box=None, pad_edge=False)
    for name in ("models", "plans", "cards", "median s", "worst s", "worst MiB"):
        table.add_column(name, justify="right", no_wrap=True)
    for models in sorted({run.models for run in runs}):
        found = [run for run in runs if run.models == models]
        cards = sorted(run.cards for run in found)
        table.add_row(
            f"{models:,}",
            str(len(found)),
            f"{cards[0]} to {cards[-1]}",
            f"{statistics.median(run.seconds for run in found):.2f}",
            f"{max(run.seconds for run in found):.2f}",
            f"{max(run.peak_mib for run in found):.0f}",
        )
    return table


@dataclass(frozen=True)
class _Axis:
    """A logarithmic axis: what it shows, and its powers of ten from ``low`` to ``high``."""

    name: str
    value: Callable[[Any], float]
    low: int
    high: int

    @classmethod
    def of(cls, name: str, value: Callable[[Any], float], runs: Sequence[Any]) -> "_Axis":
        """The axis that holds all runs."""
        values = [max(value(run), 1e-3) for run in runs]
        low = math.floor(math.log10(min(values)))
        return cls(name, value, low, max(low + 1, math.ceil(math.log10(max(values)))))

    def share(self, value: float) -> float:
        """How far along the axis a value lies, from 0 to 1."""
        return (math.log10(max(value, 1e-3)) - self.low) / (self.high - self.low)


def growth_plot(runs: Sequence[Any]) -> str:
    """Seconds and MiB against models and cards as SVG, all axes logarithmic, a colour per mix."""
    across = [
        _Axis.of("models", lambda run: run.models, runs),
        _Axis.of("cards", lambda run: run.cards, runs),
    ]
    up = [
        _Axis.of("seconds of one core", lambda run: run.seconds, runs),
        _Axis.of("MiB", lambda run: run.peak_mib, runs),
    ]
    width, height = 2 * _WIDTH, 2 * _HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for row, vertical in enumerate(up):
        for column, flat in enumerate(across):
            parts.append(f'<g transform="translate({column * _WIDTH},{row * _HEIGHT})">')
            parts += _panel(flat, vertical, runs)
            parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(flat: _Axis, vertical: _Axis, runs: Sequence[Any]) -> list[str]:
    """One scatter of runs with its axes and the names of the mixes."""
    inner, tall = _WIDTH - _LEFT - 30, _HEIGHT - 2 * _EDGE
    bottom = _HEIGHT - _EDGE
    parts = [
        f'<path d="M{_LEFT} {_EDGE}V{bottom}H{_LEFT + inner}" fill="none" stroke="black"/>',
        _text(_LEFT + inner / 2, _HEIGHT - 8, flat.name),
        _text(_LEFT, _EDGE - 12, vertical.name),
    ]
    for power in range(flat.low, flat.high + 1):
        x = _LEFT + inner * flat.share(10.0**power)
        parts.append(_text(x, bottom + 16, f"{10.0**power:,g}"))
    for power in range(vertical.low, vertical.high + 1):
        y = bottom - tall * vertical.share(10.0**power)
        parts.append(_text(_LEFT - 6, y + 4, f"{10.0**power:,g}", "end"))
        parts.append(f'<path d="M{_LEFT} {y:.1f}h{inner}" stroke="#ddd"/>')
    mixes = list(dict.fromkeys(run.cell.partition("/")[0] for run in runs))
    for run in runs:
        x = _LEFT + inner * flat.share(flat.value(run))
        y = bottom - tall * vertical.share(vertical.value(run))
        colour = _COLOURS[mixes.index(run.cell.partition("/")[0])]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}" opacity="0.6"/>')
    for index, mix in enumerate(mixes):
        parts.append(_text(_LEFT + inner - 70 * (len(mixes) - index) + 40, 14, mix, colour=index))
    return parts


def _text(x: float, y: float, text: str, anchor: str = "middle", colour: int | None = None) -> str:
    fill = "black" if colour is None else _COLOURS[colour]
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{fill}">{text}</text>'
