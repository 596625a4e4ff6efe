"""How many workers suit a batch job, as cards and nodes of the cluster come and go."""

from collections.abc import Callable, Sequence

import ray

from orchestrator.placement import DeploymentPlan
from orchestrator.runtime.cards.slots import Slot, SlotState
from orchestrator.runtime.cluster.connect import started_here
from orchestrator.runtime.jobs.worker import WorkerProcess

#: Workers for each card, where the cluster has the CPUs.
_PER_CARD = 2
#: On one machine of at most so many CPUs more workers would only be in each other's way.
_FEW_CPUS = 4
#: So many counts in a row see too many workers before one is let go.
_COUNTS = 5
#: Slots in these states have a card, or will have one.
_IN_USE = (SlotState.STARTING, SlotState.LOADING, SlotState.READY, SlotState.WAITING)


def driver_suffices(plan: DeploymentPlan) -> bool:
    """Whether the driver does a job's work itself, on the cluster that it is connected to.

    So it is in a Ray of its own on one small machine, and where no CPUs are told, unless more cards
    are still to come than there are: then nodes will.
    """
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cards = plan.deployment.cards
    most = cards.count or len(plan.slots)
    if plan.deployment.autoscale is not None and resources.get(cards.resource, 0) < most:
        return False
    return not resources.get("CPU", 0) or (started_here() and _is_small())


def _is_small() -> bool:
    """Whether the cluster is one machine with few CPUs, as of now."""
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return len(nodes) == 1 and resources.get("CPU", 0) <= _FEW_CPUS


def worker_process(here: bool) -> WorkerProcess:
    """A worker where a CPU is free, or without one beside the driver."""
    if not here:
        return WorkerProcess(cpus=1.0)
    return WorkerProcess(cpus=0.0, node=ray.get_runtime_context().get_node_id())


class Staffing:
    """Of one job: ``count`` workers, or without one as many as suit the cards and the free CPUs."""

    def __init__(self, slots: Callable[[], Sequence[Slot]], count: int | None) -> None:
        self._all, self._count = slots, count
        self._too_many = 0
        self._small = False

    def missing(self, serving: int, parts: int) -> tuple[bool, int]:
        """How many are to be started, and whether beside the driver, since no CPU is free for one.

        ``parts`` are those that are left.
        """
        if self._count is not None:
            return False, min(self._count, parts) - serving
        self._small = _is_small()
        free = int(ray.available_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        if not serving and not free:
            return True, 1
        return False, min(self._suits() - serving, free, parts - serving)

    def too_many(self, serving: int) -> int:
        """How many are to leave: more than suit the cards, and that for several counts."""
        if self._count is not None or serving <= self._suits():
            self._too_many = 0
            return 0
        self._too_many += 1
        return serving - self._suits() if self._too_many % _COUNTS == 0 else 0

    def nodes(self) -> frozenset[str]:
        """Where cards are."""
        return frozenset(slot.node_id for slot in self._slots())

    def _suits(self) -> int:
        return 1 if self._small else max(_PER_CARD * len(self._slots()), 1)

    def _slots(self) -> list[Slot]:
        return [slot for slot in self._all() if slot.state in _IN_USE]
