"""From a deployment to a plan for the cards that a cluster has, measuring what nobody knows."""

from collections.abc import Callable, Mapping

from orchestrator.config import Deployment
from orchestrator.placement import Change, DeploymentPlan, plan_deployment
from orchestrator.profiles import ModelProfile, ProfileCache, collect
from orchestrator.runtime.discover import Node, inventory_of
from orchestrator.runtime.measure import measure_missing, proven, reserved
from orchestrator.runtime.options import Options


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
