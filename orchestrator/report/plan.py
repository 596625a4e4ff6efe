"""A plan as tables: cards as bars of what fills them, models with their cards and load."""

from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.placement.board import Tally
from orchestrator.placement.diff import plan_diff
from orchestrator.placement.explain import (
    headline,
    quality,
    sharing_note,
    unshared_memory,
)
from orchestrator.placement.groups import natural
from orchestrator.placement.plan import Plan
from orchestrator.placement.problem import Problem
from orchestrator.placement.verify import tally_in
from orchestrator.units import format_bytes

_BAR_WIDTH = 32
#: Part, its glyph and its colour; glyphs differ so that the bar reads without colour too.
_PARTS = (
    ("weights", "█", "blue"),
    ("workspace", "▓", "magenta"),
    ("io", "▒", "cyan"),
    ("other", "◦", "yellow"),
    ("free", "·", "bright_black"),
)


def plan_tables(problem: Problem, plan: Plan, *, verdict: bool = True) -> RenderableType:
    """Headline, cards, models and bound, for a terminal or a file.

    ``verdict``: with the line on the bound, which ends an explanation too.
    """
    origins = dict(plan.origins)
    return Group(
        Text(headline(problem, plan)),
        _cards(problem, plan),
        _legend(),
        _models(problem, plan, origins),
        *_notes(problem, origins),
        *([Text(quality(plan))] if verdict else []),
    )


def change_tables(problem: Problem, plan: Plan) -> RenderableType:
    """What the change from the previous plan takes, and what fewer or more moves would bring."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("moves", "restarts", "loads", "cards", "alpha"):
        table.add_column(name, justify="right", no_wrap=True)
    for point in plan.curve:
        table.add_row(
            str(point.moves),
            str(point.restarts),
            format_bytes(point.bytes_loaded),
            str(point.cards_used),
            "" if point.alpha is None else f"{point.alpha:.4g}",
        )
    lines = plan_diff(problem, plan).lines()
    return Group(*(Text(line) for line in lines), table)


def _cards(problem: Problem, plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("card", no_wrap=True)
    table.add_column("memory", no_wrap=True)
    for name in ("used", "of", "free", "unshared", "busy"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("models", overflow="fold")
    for card in sorted(problem.cards, key=lambda card: natural(card.name)):
        tally = tally_in(problem, plan, card.name)
        used, usable = tally.memory.total if tally.models else 0, card.usable_bytes
        table.add_row(
            card.name,
            _bar(tally),
            format_bytes(used),
            format_bytes(usable),
            format_bytes(usable - used),
            format_bytes(unshared_memory(card, tally.models).total) if tally.models else "",
            _busy(plan, tally),
            ", ".join(model.name for model in tally.models) or "unused",
        )
    return table


def _bar(tally: Tally) -> Text:
    """Characters in proportion to bytes; each part that is there gets at least one."""
    sizes = _sizes(tally)
    total = max(sum(sizes.values()), 1)
    widths = {
        part: max(1, round(_BAR_WIDTH * sizes[part] / total)) if sizes[part] else 0
        for part, _, _ in _PARTS
    }
    widest = max(widths, key=lambda part: widths[part])
    widths[widest] += _BAR_WIDTH - sum(widths.values())
    bar = Text()
    for part, glyph, colour in _PARTS:
        bar.append(glyph * widths[part], style=colour)
    return bar


def _sizes(tally: Tally) -> Mapping[str, int]:
    if not tally.models:
        return {"weights": 0, "workspace": 0, "io": 0, "other": 0, "free": tally.card.usable_bytes}
    used = tally.memory
    saved = min(used.saved, used.weights)  # in a GE session, mostly of weights held once
    return {
        "weights": used.weights - saved,
        "workspace": used.workspace + used.private - (used.saved - saved),
        "io": used.io,
        "other": used.overhead + used.objects,
        "free": tally.card.usable_bytes - used.total,
    }


def _busy(plan: Plan, tally: Tally) -> str:
    """Share of the card's time that its loads take; empty without demand."""
    if plan.alpha is None or not tally.models:
        return ""
    return f"{busy_share(plan.at_demand, tally):.0%}"


def busy_share(rps: Mapping[tuple[str, str], float], tally: Tally) -> float:
    """Share of the card's time that so many items a second, by (model, card), take."""
    return sum(
        rps.get((model.name, tally.card.name), 0.0) * tally.cost_ms(model) / 1000
        for model in tally.models
    )


def _legend() -> Text:
    legend = Text("  ")
    for part, glyph, colour in _PARTS:
        legend.append(f"{glyph} {part}  ", style=colour)
    return legend.append("(unshared: what the card's models would take with no sharing)")


def _models(problem: Problem, plan: Plan, origins: Mapping[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", no_wrap=True)
    for name in ("weights", "workspace", "io", "threads", "items/s"):
        table.add_column(name, justify="right", no_wrap=True)
    if origins:
        table.add_column("sizes", no_wrap=True)
    table.add_column("cards", overflow="fold")
    for model in sorted(problem.models, key=lambda model: natural(model.name)):
        used, slots = model.footprint, sorted(plan.replicas(model.name), key=natural)
        own = "" if used.shares else " x threads"
        rate = sum(plan.at_demand.get((model.name, slot), 0.0) for slot in slots)
        table.add_row(
            model.name,
            format_bytes(used.weight_total),
            format_bytes(used.workspace) + own,
            format_bytes(used.io_total),
            str(model.threads),
            f"{rate:.4g}" if rate else "",
            *([origins[model.name]] if origins else []),
            ", ".join(_slot(plan, model.name, slot) for slot in slots),
        )
    return table


def _slot(plan: Plan, model: str, slot: str) -> str:
    rps = plan.at_demand.get((model, slot), 0.0)
    return f"{slot} ({rps:.4g}/s)" if rps else slot


def _notes(problem: Problem, origins: Mapping[str, str]) -> Iterator[Text]:
    unshared = sharing_note(problem)
    if unshared:
        yield Text(unshared, "yellow")
    estimated = sorted(name for name, origin in origins.items() if origin.startswith("estimated"))
    if estimated:
        names = ", ".join(estimated)
        yield Text(
            f"sizes of {names} are estimated, not measured: plan without --no-probe", "yellow"
        )
