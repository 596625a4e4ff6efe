"""What is in a card's memory, as a table: planned, measured, and without sharing."""

from collections.abc import Iterable

from rich.table import Table

from actors.memory import CardMemory
from actors.messages import MemoryReport
from orchestrator.units import format_bytes

_PARTS = ("overhead", "weights", "workspace", "private", "io", "objects")
_TITLES = (
    "overhead",
    "weights",
    "shared workspace",
    "private workspaces",
    "inputs, outputs",
    "objects",
)


def memory_table(reports: Iterable[MemoryReport]) -> Table:
    """One row for each card and view; parts that are zero everywhere are left out."""
    listed = list(reports)
    views = [(report, *view) for report in listed for view in _views(report)]
    shown = [part for part in _PARTS if any(getattr(memory, part) for _, _, memory in views)]
    table = Table("card", "bytes")
    for part in shown:
        table.add_column(_TITLES[_PARTS.index(part)], justify="right")
    table.add_column("total", justify="right")
    table.add_column("of", justify="right")
    for report, title, memory in views:
        parts = [format_bytes(getattr(memory, part)) for part in shown]
        capacity = format_bytes(report.capacity_bytes - report.reserve_bytes)
        table.add_row(report.slot, title, *parts, format_bytes(memory.total), capacity)
    return table


def memory_json(report: MemoryReport) -> dict[str, object]:
    """The same for a document: bytes by part, and what the process and the engine take."""
    views = {title: _parts(memory) for title, memory in _views(report)}
    return {
        "card": report.slot,
        "capacity_bytes": report.capacity_bytes,
        "reserve_bytes": report.reserve_bytes,
        **views,
        "resident_bytes": report.resident_bytes,
        "engine_bytes": report.engine_bytes,
    }


def _views(report: MemoryReport) -> list[tuple[str, CardMemory]]:
    views = [("planned", report.planned)]
    if report.measured is not None:
        views.append(("measured", report.measured))
    return [*views, ("without_sharing", report.unshared)]


def _parts(memory: CardMemory) -> dict[str, int]:
    return {part: getattr(memory, part) for part in _PARTS} | {"total": memory.total}
