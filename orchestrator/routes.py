"""The replicas of a plan as whoever dispatches to them sees them. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence

from actors.messages import ModelOrder
from orchestrator.dispatch import Route, TransportRules
from orchestrator.placement import DeploymentPlan
from orchestrator.profiles import gears_of, largest_batch

#: A replica without planned load still gets this part of what the most loaded one gets.
_LEAST_SHARE = 0.05


def planned_models(plan: DeploymentPlan) -> Mapping[str, Iterable[str]]:
    """The models that each slot of the plan is to hold."""
    return {card.card: card.models for card in plan.plan.cards}


def routes(
    plan: DeploymentPlan, placed: Mapping[str, Iterable[str]], transport: TransportRules
) -> list[Route]:
    """A replica for each model of the plan on each slot where it is placed.

    With their planned shares, and what keeps each one busy.
    """
    on: dict[str, list[str]] = {}
    for slot, models in placed.items():
        for name in models:
            on.setdefault(name, []).append(slot)
    return [
        route
        for order in plan.deployment.orders()
        for route in _replicas(plan, order, on.get(order.name, ()), transport)
    ]


def _replicas(
    plan: DeploymentPlan, order: ModelOrder, slots: Sequence[str], transport: TransportRules
) -> Iterable[Route]:
    name = order.name
    rps = {slot: plan.plan.rps.get((name, slot), 0.0) for slot in slots}
    most = max(rps.values(), default=0.0)
    batch = batch_rows(plan, order)
    rows = math.ceil(2 * order.threads * batch / transport.calls)
    seconds = (plan.profiles[name].service_ms or 1.0) / 1000
    for slot in slots:
        share = max(rps[slot] / most, _LEAST_SHARE) if most else 1.0
        yield Route(name, slot, share, seconds, rows)


def batch_rows(plan: DeploymentPlan, order: ModelOrder) -> int:
    """Rows of a model's full batch."""
    measurement = plan.profiles[order.name].measurement
    return largest_batch(order, gears_of(plan.deployment.model(order.name), order, measurement))
