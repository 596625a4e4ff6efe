"""What is in the memory of each card, as a table: planned, measured, and without sharing."""

from collections.abc import Iterable

from rich.table import Table

from actors.memory import CardMemory
from orchestrator.placement import DeploymentPlan
from orchestrator.runtime.deployments.accounts import PARTS, memory_views
from orchestrator.runtime.deployments.status import Status


def memory_table(plan: DeploymentPlan, status: Status) -> Table:
    """Three rows for each card; parts that are zero everywhere are left out."""
    cards = [(card, memory_views(plan, status, card.slot)) for card in status.cards]
    everything = [memory for _, views in cards for _, memory in views if memory is not None]
    shown = [part for part in PARTS if any(getattr(memory, part) for memory in everything)]
    table = Table(
        "card", "MiB", caption="ws: workspace; own: not shared with other models or threads"
    )
    for title in [*(PARTS[part] for part in shown), "total", "of"]:
        table.add_column(title, justify="right")
    for card, views in cards:
        for title, memory in views:
            numbers = _numbers(memory, shown)
            table.add_row(card.slot, title, *numbers, _mib(card.capacity_bytes))
        table.add_section()
    return table


def _numbers(memory: CardMemory | None, parts: Iterable[str]) -> list[str]:
    if memory is None:
        return ["-" for _ in parts] + ["-"]
    return [*(_mib(getattr(memory, part)) for part in parts), _mib(memory.total)]


def _mib(nbytes: int) -> str:
    return f"{nbytes / (1 << 20):.1f}" if nbytes else "-"
