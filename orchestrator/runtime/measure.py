"""Measure models, each in a process of its own, and keep what was found."""

from collections.abc import Callable, Sequence

from actors import probe
from actors.messages import ModelOrder
from orchestrator.config import Deployment
from orchestrator.errors import DeploymentError
from orchestrator.profiles import ProfileCache, missing


def measure_missing(
    deployment: Deployment,
    cache: ProfileCache,
    progress: Callable[[str], None] | None = None,
) -> tuple[str, ...]:
    """Probe every model without a profile; the names of those. ``progress`` gets a line each.

    Raises:
        DeploymentError: a model's file is missing, or its kind of card cannot be measured.
        LoadError: a model does not load or run.
    """
    wanted = missing(deployment, cache)
    measure(deployment, wanted, cache, progress)
    return tuple(order.name for order in wanted)


def measure(
    deployment: Deployment,
    wanted: Sequence[ModelOrder],
    cache: ProfileCache,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Probe these models of the deployment, whatever is known of them, and put it in the cache.

    Raises:
        DeploymentError: a model's file is missing, or its kind of card cannot be measured.
        LoadError: a model does not load or run.
    """
    kind, card_type = deployment.cards.kind, deployment.cards.type
    if wanted and kind != "emulated":
        names = ", ".join(order.name for order in wanted)
        text = (
            f"not measured yet on kind {kind}: {names}; measuring on a card is not supported yet: "
            "give sizes (and service_time with a demand) in the deployment, or plan with --no-probe"
        )
        raise DeploymentError(deployment.name, (text,))
    for position, order in enumerate(wanted, start=1):
        if progress:
            progress(f"measuring {order.name} ({position} of {len(wanted)})")
        found = probe.measure(order, kind=kind, rule=deployment.rule)
        cache.put(order, kind, card_type, found)
