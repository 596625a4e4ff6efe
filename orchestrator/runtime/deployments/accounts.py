"""What is in the memory of each card: planned, measured, and without sharing."""

from actors.memory import CardMemory
from orchestrator.placement import DeploymentPlan
from orchestrator.runtime.deployments.status import Status

#: Parts of a card's memory and their titles.
PARTS = {
    "overhead": "overhead",
    "weights": "weights",
    "workspace": "shared ws",
    "private": "own ws",
    "io": "in, out",
    "objects": "objects",
}


def card_documents(plan: DeploymentPlan, status: Status) -> list[dict[str, object]]:
    """For the run summary, with what each card's models answered."""
    found: list[dict[str, object]] = []
    for card in status.cards:
        replicas = [replica for replica in status.replicas if replica.slot == card.slot]
        views = {
            f"{title.replace(' ', '_')}_bytes": None if memory is None else _by_part(memory)
            for title, memory in memory_views(plan, status, card.slot)
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


def memory_views(
    plan: DeploymentPlan, status: Status, slot: str
) -> list[tuple[str, CardMemory | None]]:
    """Three views of a card's memory, each with its title.

    Of one that is lost, and that others were planned without, there is nothing planned.
    """
    (card,) = (card for card in status.cards if card.slot == slot)
    planned = any(card.name == slot for card in plan.problem.cards)
    return [
        ("planned", plan.memory(slot) if planned else None),
        ("measured", card.measured),
        ("unshared", plan.unshared(slot) if planned else None),
    ]


def _by_part(memory: CardMemory) -> dict[str, int]:
    return {part: getattr(memory, part) for part in PARTS} | {"total": memory.total}
