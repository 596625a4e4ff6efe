"""What is in the memory of each card, as a table: planned, measured, and without sharing."""

from collections.abc import Iterable

from rich.table import Table

from actors.memory import CardMemory
from orchestrator.placement import DeploymentPlan
from orchestrator.runtime.status import Status

#: Parts of a card's memory and their titles.
_PARTS = {
    "overhead": "overhead",
    "weights": "weights",
    "workspace": "shared ws",
    "private": "own ws",
    "io": "in, out",
    "objects": "objects",
}


def memory_table(plan: DeploymentPlan, status: Status) -> Table:
    """Three rows for each card; parts that are zero everywhere are left out."""
    cards = [(card, _views(plan, status, card.slot)) for card in status.cards]
    everything = [memory for _, views in cards for _, memory in views if memory is not None]
    shown = [part for part in _PARTS if any(getattr(memory, part) for memory in everything)]
    table = Table(
        "card", "MiB", caption="ws: workspace; own: not shared with other models or threads"
    )
    for title in [*(_PARTS[part] for part in shown), "total", "of"]:
        table.add_column(title, justify="right")
    for card, views in cards:
        for title, memory in views:
            numbers = _numbers(memory, shown)
            table.add_row(card.slot, title, *numbers, _mib(card.capacity_bytes))
        table.add_section()
    return table


def card_documents(plan: DeploymentPlan, status: Status) -> list[dict[str, object]]:
    """The same for the run summary, with what each card's models answered."""
    found: list[dict[str, object]] = []
    for card in status.cards:
        replicas = [replica for replica in status.replicas if replica.slot == card.slot]
        views = {
            f"{title.replace(' ', '_')}_bytes": None if memory is None else _by_part(memory)
            for title, memory in _views(plan, status, card.slot)
        }
        found.append(
            {
                "card": card.slot,
                "state": card.state,
                "restarts": card.restarts,
                "capacity_bytes": card.capacity_bytes,
                **views,
                "resident_bytes": card.resident_bytes,
                "busy_share": card.busy_share,
                "requests": {replica.model: replica.requests for replica in replicas},
                "batches": {replica.model: replica.batches for replica in replicas},
            }
        )
    return found


def _views(plan: DeploymentPlan, status: Status, slot: str) -> list[tuple[str, CardMemory | None]]:
    (card,) = (card for card in status.cards if card.slot == slot)
    return [
        ("planned", plan.memory(slot)),
        ("measured", card.measured),
        ("unshared", plan.unshared(slot)),
    ]


def _numbers(memory: CardMemory | None, parts: Iterable[str]) -> list[str]:
    if memory is None:
        return ["-" for _ in parts] + ["-"]
    return [*(_mib(getattr(memory, part)) for part in parts), _mib(memory.total)]


def _mib(nbytes: int) -> str:
    return f"{nbytes / (1 << 20):.1f}" if nbytes else "-"


def _by_part(memory: CardMemory) -> dict[str, int]:
    return {part: getattr(memory, part) for part in _PARTS} | {"total": memory.total}
