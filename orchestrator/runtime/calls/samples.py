"""What drivers and controllers tell Prometheus; what cards tell stands beside the metrics."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import TimeoutError as NotInTime

from orchestrator.dispatch import DeskView
from orchestrator.placement import DeploymentPlan
from orchestrator.runtime.calls.asked import ModelCounts
from orchestrator.runtime.calls.router import Router
from orchestrator.runtime.cards.slots import Slot
from orchestrator.runtime.metrics import Sample, card_labels, publish

#: A router that does not answer within so many seconds is asked again the next time.
_ANSWER_SECONDS = 1.0


def publish_driver(
    plan: Callable[[], DeploymentPlan], router: Router, over: threading.Event
) -> Callable[[], None]:
    """Export what a driver sees of the models of the running plan, until ``over``; see publish."""

    def samples() -> Iterable[Sample]:
        try:
            view = router.view().result(_ANSWER_SECONDS)
        except NotInTime:
            return ()
        return driver_samples(plan(), router.counts, view)

    return publish(samples, over)


def driver_samples(
    plan: DeploymentPlan, counts: Mapping[str, ModelCounts], view: DeskView
) -> Iterator[Sample]:
    """What one driver tells of the models that it calls."""
    versions = {model.name: model.version or "" for model in plan.deployment.models}
    for name, version in versions.items():
        labels = {"deployment": plan.deployment.name, "model": name, "version": version}
        seen = counts.get(name, ModelCounts())
        yield Sample("orchestrator_answered", labels, seen.answered)
        yield Sample("orchestrator_failed", labels, seen.failed)
        yield Sample("orchestrator_waiting", labels, view.waiting.get(name, 0))
    for (name, slot), count in view.retries.items():
        card = card_labels(plan.deployment.name, slot)
        labels = {**card, "model": name, "version": versions.get(name, "")}
        yield Sample("orchestrator_retries", labels, count)


def controller_samples(slots: Iterable[Slot]) -> Iterator[Sample]:
    """What keeps the cards alive tells of them."""
    for slot in slots:
        card = card_labels(slot.order.deployment, slot.name)
        yield Sample("orchestrator_restarts", card, slot.restarts)
        yield Sample("orchestrator_serving", card, float(slot.serving is not None))
