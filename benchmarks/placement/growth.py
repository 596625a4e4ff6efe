"""How time and memory grow with models and cards: a table and a picture."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.placement.runs import Run

#: Told apart by those who see fewer colours, too.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_WIDTH, _HEIGHT, _LEFT, _EDGE, _HEAD = 460, 330, 66, 46, 64
_GREY = "#666"


def growth_rows(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """By number of models: plans, cards, median and worst seconds, worst MiB."""
    rows = []
    for models in sorted({run.models for run in runs}):
        found = [run for run in runs if run.models == models]
        cards = sorted(run.cards for run in found)
        rows.append(
            (
                f"{models:,}",
                str(len(found)),
                f"{cards[0]} to {cards[-1]}",
                f"{statistics.median(run.seconds for run in found):.2f}",
                f"{max(run.seconds for run in found):.2f}",
                f"{max(run.peak_mib for run in found):.0f}",
            )
        )
    return rows


@dataclass(frozen=True)
class _Axis:
    """A logarithmic axis: what it shows, and its powers of ten from ``low`` to ``high``."""

    name: str
    value: Callable[[Run], float]
    low: int
    high: int

    @classmethod
    def of(cls, name: str, value: Callable[[Run], float], runs: Sequence[Run]) -> "_Axis":
        """The axis that holds all runs."""
        values = [max(value(run), 1e-3) for run in runs]
        low = math.floor(math.log10(min(values)))
        return cls(name, value, low, max(low + 1, math.ceil(math.log10(max(values)))))

    def share(self, value: float) -> float:
        """How far along the axis a value lies, from 0 to 1."""
        return (math.log10(max(value, 1e-3)) - self.low) / (self.high - self.low)


def growth_plot(runs: Sequence[Run]) -> str:
    """Seconds and MiB against models and cards as SVG, all axes logarithmic, a colour per mix.

    A point is a plan, a line goes through the medians of the plans with as many models.
    """
    across = [
        _Axis.of("models", lambda run: run.models, runs),
        _Axis.of("cards", lambda run: run.cards, runs),
    ]
    up = [
        _Axis.of("seconds of one core", lambda run: run.seconds, runs),
        _Axis.of("MiB of the process", lambda run: run.peak_mib, runs),
    ]
    mixes = sorted({run.kind.mix for run in runs})
    width, height = 2 * _WIDTH, 2 * _HEIGHT + _HEAD
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(_LEFT, 24, "How a plan's time and memory grow", "start", size=16),
        _text(_LEFT, 44, "a point is a plan, lines join medians", "start", _GREY),
    ]
    for index, mix in enumerate(mixes):
        x, colour = width - 90 * (len(mixes) - index), _COLOURS[index % len(_COLOURS)]
        parts.append(f'<circle cx="{x}" cy="24" r="5" fill="{colour}"/>')
        parts.append(_text(x + 10, 28, mix, "start"))
    for row, vertical in enumerate(up):
        for column, flat in enumerate(across):
            top = row * _HEIGHT + _HEAD
            parts.append(f'<g transform="translate({column * _WIDTH},{top})">')
            parts += _frame(flat, vertical)
            for index, mix in enumerate(mixes):
                some = [run for run in runs if run.kind.mix == mix]
                parts += _curve(flat, vertical, some, _COLOURS[index % len(_COLOURS)])
            parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _place(flat: _Axis, vertical: _Axis, x: float, y: float) -> tuple[float, float]:
    """Where in a panel a point lies."""
    inner, tall = _WIDTH - _LEFT - 30, _HEIGHT - _EDGE - 30
    return _LEFT + inner * flat.share(x), 20 + tall * (1 - vertical.share(y))


def _frame(flat: _Axis, vertical: _Axis) -> list[str]:
    """The axes of a panel, a grid of powers of ten, and what they show."""
    (left, bottom), (right, top) = (
        _place(flat, vertical, 10.0**x, 10.0**y)
        for x, y in ((flat.low, vertical.low), (flat.high, vertical.high))
    )
    parts = [
        _text((left + right) / 2, bottom + 36, flat.name, fill=_GREY),
        _text(left, top - 8, vertical.name, "start", _GREY),
    ]
    for power in range(flat.low, flat.high + 1):
        x, _ = _place(flat, vertical, 10.0**power, 1.0)
        parts.append(_text(x, bottom + 17, _number(power)))
        parts.append(f'<path d="M{x:.1f} {top:.1f}V{bottom:.1f}" stroke="#e5e5e5"/>')
    for power in range(vertical.low, vertical.high + 1):
        _, y = _place(flat, vertical, 1.0, 10.0**power)
        parts.append(_text(left - 7, y + 4, _number(power), "end"))
        parts.append(f'<path d="M{left:.1f} {y:.1f}H{right:.1f}" stroke="#e5e5e5"/>')
    axes = f"M{left:.1f} {top:.1f}V{bottom:.1f}H{right:.1f}"
    return [*parts, f'<path d="{axes}" fill="none" stroke="{_GREY}"/>']


def _curve(flat: _Axis, vertical: _Axis, runs: Sequence[Run], colour: str) -> list[str]:
    """The plans of one mix as points, and a line through the medians of each number of models."""
    points = [_place(flat, vertical, flat.value(run), vertical.value(run)) for run in runs]
    middles = []
    for models in sorted({run.models for run in runs}):
        some = [run for run in runs if run.models == models]
        x, y = (statistics.median(axis.value(run) for run in some) for axis in (flat, vertical))
        middles.append(_place(flat, vertical, x, y))
    line = "L".join(f"{x:.1f} {y:.1f}" for x, y in middles)
    return [
        *(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}" opacity="0.35"/>'
            for x, y in points
        ),
        f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in middles),
    ]


def _number(power: int) -> str:
    return f"{10.0**power:,g}"


def _text(
    x: float, y: float, text: str, anchor: str = "middle", fill: str = "black", size: int = 12
) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{fill}" '
        f'font-size="{size}">{text}</text>'
    )
