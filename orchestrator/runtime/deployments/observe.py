"""Asks cards, controller and router what they see, and makes a status of it."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from actors.accounts import planned
from actors.memory import Footprint, card_memory, unshared
from actors.messages import CardOrder, CardStats, MemoryReport, ModelStats
from orchestrator.dispatch import DeskView
from orchestrator.placement import DeploymentPlan
from orchestrator.runtime.calls.asked import ModelCounts
from orchestrator.runtime.calls.router import Router
from orchestrator.runtime.cards.slots import Slot
from orchestrator.runtime.deployments.status import CardStatus, ModelStatus, ReplicaStatus, Status

T = TypeVar("T")


def observe(
    plan: DeploymentPlan, slots: Iterable[Slot], router: Router | None, timeout_seconds: float
) -> Status:
    """A snapshot; a card that does not answer in time is shown without its numbers.

    Without a router nothing was sent from here: what is in flight is what the cards say, of all
    drivers, and there is nothing to say of models as such.
    """
    slots = list(slots)
    ready = {slot.name: slot.serving for slot in slots if slot.serving is not None}
    asked = None if router is None else router.view()
    stats = {name: process.stats() for name, process in ready.items()}
    memory = {name: process.memory() for name, process in ready.items()}
    everything: list[Future[Any]] = [*stats.values(), *memory.values()]
    wait(everything if asked is None else [asked, *everything], timeout_seconds)
    view = (_answer(asked) if asked else None) or DeskView({}, {}, {}, {}, ())
    told = {name: _answer(future) for name, future in stats.items()}
    weighed = {name: _answer(future) for name, future in memory.items()}
    return Status(
        deployment=plan.deployment.name,
        cards=tuple(
            _card(
                slot,
                told.get(slot.name),
                weighed.get(slot.name),
                _on_card(told.get(slot.name))
                if asked is None
                else view.in_flight.get(slot.name, 0),
            )
            for slot in slots
        ),
        replicas=tuple(
            replica for slot in slots for replica in _replicas(slot.order, told.get(slot.name))
        ),
        models=()
        if router is None
        else tuple(
            _model(model.name, router.counts.get(model.name, ModelCounts()), view)
            for model in plan.deployment.models
        ),
        set_aside=view.set_aside,
    )


def _card(
    slot: Slot,
    stats: CardStats | None,
    memory: MemoryReport | None,
    in_flight: int,
) -> CardStatus:
    identity, order = slot.identity, slot.order
    footprints = planned(order)
    return CardStatus(
        slot=slot.name,
        state=slot.state.value,
        node_id=slot.node_id,
        npu_id=identity.npu_id if identity else "",
        pid=identity.pid if identity else None,
        restarts=slot.restarts,
        capacity_bytes=order.capacity_bytes,
        planned_bytes=card_memory(footprints, order.overhead_bytes).total,
        measured_bytes=memory.measured_bytes if memory else None,
        unshared_bytes=card_memory(map(unshared, footprints), order.overhead_bytes).total,
        resident_bytes=memory.resident_bytes if memory else None,
        busy_share=stats.busy_share if stats else None,
        uptime_seconds=stats.uptime_seconds if stats else None,
        in_flight=in_flight,
        why=slot.why,
        measured=memory.measured if memory else None,
        warnings=slot.report.warnings if slot.report else (),
    )


def _on_card(stats: CardStats | None) -> int:
    """Requests of all drivers that wait on a card or run."""
    return sum(model.in_flight for model in stats.models.values()) if stats else 0


def _replicas(held: CardOrder, stats: CardStats | None) -> Iterator[ReplicaStatus]:
    for order in held.models:
        seen = stats.models.get(order.name, ModelStats()) if stats else ModelStats()
        yield ReplicaStatus(
            model=order.name,
            slot=held.slot,
            planned_bytes=_own_bytes(order.footprint),
            requests=seen.requests,
            rows=seen.rows,
            padded_rows=seen.padded_rows,
            batches=seen.batches,
            errors=seen.errors,
            queued=seen.queued,
            latency_p50_ms=seen.latency_p50_ms,
            latency_p99_ms=seen.latency_p99_ms,
            version=order.version,
            digest=order.files.digest if order.files else "",
        )


def _own_bytes(planned: Footprint | None) -> int:
    """Everything but the shared workspace, which belongs to the card."""
    if planned is None:
        return 0
    return (
        planned.weight_total + planned.private_workspace + planned.io_total + planned.object_total
    )


def _model(name: str, counts: ModelCounts, view: DeskView) -> ModelStatus:
    latencies = sorted(counts.latencies.copy())
    return ModelStatus(
        model=name,
        answered=counts.answered,
        failed=counts.failed,
        retried=sum(count for (model, _), count in view.retries.items() if model == name),
        waiting=view.waiting.get(name, 0),
        latency_p50_ms=_percentile(latencies, 0.50),
        latency_p99_ms=_percentile(latencies, 0.99),
        unserved=view.unserved.get(name, ""),
    )


def _percentile(ordered: Sequence[float], share: float) -> float | None:
    """In milliseconds; None of nothing."""
    if not ordered:
        return None
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000


def _answer(future: "Future[T]") -> T | None:
    """What a card answered, or None if it did not or could not."""
    if not future.done() or future.cancelled() or future.exception() is not None:
        return None
    return future.result()
