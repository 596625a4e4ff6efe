"""From a deployment to a plan for the cards that a cluster has, measuring what nobody knows."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from orchestrator.config import Deployment
from orchestrator.errors import CardsUnavailableError, PlanRefusedError
from orchestrator.placement import Change, DeploymentPlan, plan_deployment
from orchestrator.profiles import ModelProfile, ProfileCache, collect
from orchestrator.runtime.cluster.discover import Node, find_nodes, free_cards, inventory_of, named
from orchestrator.runtime.cluster.measure import measure_missing, proven, reserved
from orchestrator.runtime.cluster.scouts import Scouts
from orchestrator.runtime.options import Options

_TICK = 0.2


def known_profiles(
    wanted: Deployment, progress: Callable[[str], None]
) -> tuple[Deployment, Mapping[str, ModelProfile]]:
    """Sizes and times of every model, and the deployment as cards here were found to run it.

    Raises:
        DeploymentError, LoadError: a model cannot be measured.
    """
    wanted = proven(wanted, progress)
    cache = ProfileCache()
    measure_missing(wanted, cache, progress)
    return wanted, collect(wanted, cache)


def plan_on(
    nodes: tuple[Node, ...],
    wanted: Deployment,
    profiles: Mapping[str, ModelProfile],
    options: Options,
    *,
    started: bool = False,
    change: Change | None = None,
) -> DeploymentPlan:
    """The plan for the cards of these nodes. ``started``: they are of a Ray of ours.

    Raises:
        CardsUnavailableError: fewer cards than the deployment names.
        DeploymentError, PlanRefusedError: it cannot be planned.
    """
    inventory = inventory_of(wanted.cards, nodes, started=started)
    inventory = reserved(inventory, wanted.cards, options.progress)
    return plan_deployment(wanted, profiles, inventory, batch=options.batch, change=change)


@dataclass(frozen=True)
class FirstPlan:
    """What to start with, and how long a node for it took to come, if it was asked for."""

    plan: DeploymentPlan
    nodes: tuple[Node, ...]
    node_seconds: float | None = None


def first_plan(
    wanted: Deployment,
    profiles: Mapping[str, ModelProfile],
    options: Options,
    *,
    started: bool = False,
) -> FirstPlan:
    """The plan for the free cards; where the number of cards may change, more are asked of Ray.

    Raises:
        CardsUnavailableError: fewer cards than the deployment names, or none came.
        DeploymentError, PlanRefusedError: it cannot be planned.
    """
    resource, count = wanted.cards.resource, wanted.cards.count or 1
    if wanted.autoscale is None:
        nodes = find_nodes(resource, count)
        return FirstPlan(plan_on(nodes, wanted, profiles, options, started=started), nodes)
    scouts, deadline = Scouts(resource), time.monotonic() + options.nodes_patience
    nodes = find_nodes(resource, 1)
    try:
        while True:
            found = min(sum(node.cards for node in nodes), count)
            cards = wanted.cards.model_copy(update={"count": found or 1})
            few = wanted.model_copy(update={"cards": cards})
            try:
                plan = plan_on(nodes, few, profiles, options, started=started)
                break
            except (CardsUnavailableError, PlanRefusedError):
                if found == count or time.monotonic() > deadline:
                    raise
            options.progress(f"asking Ray for card {found + 1} of {resource}")
            scouts.want(len(scouts.found()) + 1)
            nodes = _more_than(found, resource, scouts, deadline)
    finally:
        scouts.close()
    return FirstPlan(replace(plan, deployment=wanted), nodes, scouts.node_seconds)


def _more_than(found: int, resource: str, scouts: Scouts, deadline: float) -> tuple[Node, ...]:
    """The nodes once there are more cards, or as they are at the deadline."""
    while True:
        nodes = named(list(free_cards(resource, kept=scouts.found())))
        if sum(node.cards for node in nodes) > found or time.monotonic() > deadline:
            return nodes
        time.sleep(_TICK)
