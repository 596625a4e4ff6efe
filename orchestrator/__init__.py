"""The driver side: plan models onto cards, run them, and send them work.

Each name is imported when it is first asked for: a card's process imports this package too, and
must not load the driver's native libraries before the card's own.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actors.shapes import Signature
    from orchestrator.bridges import ToCards
    from orchestrator.config import (
        Batching,
        Cards,
        Deployment,
        DynamicShapes,
        ModelSpec,
        Padding,
        Placement,
        Replicas,
        Shapes,
        Sharing,
        load_deployment,
    )
    from orchestrator.errors import (
        CardError,
        CardLostError,
        CardsUnavailableError,
        ClusterError,
        DeadlineError,
        DeploymentError,
        DoesNotFitError,
        InvalidRequestError,
        JobError,
        LoadError,
        NoSuchDeploymentError,
        NotServingError,
        OrchestratorError,
        OverloadedError,
        PackageDiffersError,
        PlanRefusedError,
        PredictError,
        RequestFailedError,
    )
    from orchestrator.facade import Orchestrator
    from orchestrator.handle import ModelHandle
    from orchestrator.inventory import Inventory
    from orchestrator.jobs import JobSummary, Outcome, Progress, Reject
    from orchestrator.placement import DeploymentPlan, plan_deployment
    from orchestrator.runtime.deployments.status import Status
    from orchestrator.runtime.jobs.batch import BatchJob

__all__ = [
    "BatchJob",
    "Batching",
    "CardError",
    "CardLostError",
    "Cards",
    "CardsUnavailableError",
    "ClusterError",
    "DeadlineError",
    "Deployment",
    "DeploymentError",
    "DeploymentPlan",
    "DoesNotFitError",
    "DynamicShapes",
    "InvalidRequestError",
    "Inventory",
    "JobError",
    "JobSummary",
    "LoadError",
    "ModelHandle",
    "ModelSpec",
    "NoSuchDeploymentError",
    "NotServingError",
    "Orchestrator",
    "OrchestratorError",
    "Outcome",
    "OverloadedError",
    "PackageDiffersError",
    "Padding",
    "Placement",
    "PlanRefusedError",
    "PredictError",
    "Progress",
    "Reject",
    "Replicas",
    "RequestFailedError",
    "Shapes",
    "Sharing",
    "Signature",
    "Status",
    "ToCards",
    "load_deployment",
    "log_events",
    "plan_deployment",
]

_HOMES = {
    "BatchJob": "orchestrator.runtime.jobs.batch",
    "Batching": "orchestrator.config",
    "CardError": "orchestrator.errors",
    "CardLostError": "orchestrator.errors",
    "Cards": "orchestrator.config",
    "CardsUnavailableError": "orchestrator.errors",
    "ClusterError": "orchestrator.errors",
    "DeadlineError": "orchestrator.errors",
    "Deployment": "orchestrator.config",
    "DeploymentError": "orchestrator.errors",
    "DeploymentPlan": "orchestrator.placement",
    "DoesNotFitError": "orchestrator.errors",
    "DynamicShapes": "orchestrator.config",
    "InvalidRequestError": "orchestrator.errors",
    "Inventory": "orchestrator.inventory",
    "JobError": "orchestrator.errors",
    "JobSummary": "orchestrator.jobs",
    "LoadError": "orchestrator.errors",
    "ModelHandle": "orchestrator.handle",
    "ModelSpec": "orchestrator.config",
    "NoSuchDeploymentError": "orchestrator.errors",
    "NotServingError": "orchestrator.errors",
    "Orchestrator": "orchestrator.facade",
    "OrchestratorError": "orchestrator.errors",
    "Outcome": "orchestrator.jobs",
    "OverloadedError": "orchestrator.errors",
    "PackageDiffersError": "orchestrator.errors",
    "Padding": "orchestrator.config",
    "Placement": "orchestrator.config",
    "PlanRefusedError": "orchestrator.errors",
    "PredictError": "orchestrator.errors",
    "Progress": "orchestrator.jobs",
    "Reject": "orchestrator.jobs",
    "Replicas": "orchestrator.config",
    "RequestFailedError": "orchestrator.errors",
    "Shapes": "orchestrator.config",
    "Sharing": "orchestrator.config",
    "Signature": "actors.shapes",
    "Status": "orchestrator.runtime.deployments.status",
    "ToCards": "orchestrator.bridges",
    "load_deployment": "orchestrator.config",
    "log_events": "orchestrator.runtime.journal",
    "plan_deployment": "orchestrator.placement",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """A public name, from the module that defines it."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    """The public names, also those that were not imported yet."""
    return [*globals(), *__all__]
