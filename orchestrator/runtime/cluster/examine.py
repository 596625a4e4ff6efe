"""Look at every node of a cluster from a task on it, or at this machine where no Ray runs."""

import os
from collections.abc import Mapping
from typing import Any

import ray
from ray._private.utils import read_ray_address
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.device import VISIBLE
from actors.machine.finding import Finding
from actors.machine.node import NodeReport, examine
from orchestrator.errors import ClusterError
from orchestrator.runtime.cluster.connect import connect, require_answer

#: A node that has not answered by then is reported as such; its workers may have to start first.
_SECONDS = 120.0


def examine_nodes(
    address: str | None, resource: str, *, ge: bool = False
) -> list[tuple[NodeReport, float | None]]:
    """Every live node's report, with how much of ``resource`` Ray offers there, by host name.

    ``address`` as of ``connect``, but that ``local`` is this machine without any Ray, and that None
    is ``RAY_ADDRESS``, else the cluster that ``ray start`` began here if it answers, else
    ``local``. The second is None where no Ray is asked.

    Raises:
        ClusterError: the cluster that was named cannot be joined.
    """
    address = address or os.environ.get("RAY_ADDRESS") or _running()
    if address == "local":
        return [(examine(ge=ge), None)]
    connection = connect(address)
    try:
        return sorted(_examined(resource, ge), key=lambda found: found[0].host)
    finally:
        connection.close()


def _running() -> str:
    """The cluster that ``ray start`` noted on this machine; the note of a dead one stays."""
    address: str | None = read_ray_address()
    try:
        require_answer(address or "")
    except ClusterError:
        return "local"
    return address or "local"


def _examined(resource: str, ge: bool) -> list[tuple[NodeReport, float | None]]:
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    task = ray.remote(num_cpus=0, max_retries=0)(_look)
    tasks = [
        task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(ge)
        for node in nodes
    ]
    ray.wait(tasks, num_returns=len(tasks), timeout=_SECONDS)
    return [
        (_report(node, answer), node["Resources"].get(resource, 0.0))
        for node, answer in zip(nodes, tasks, strict=True)
    ]


def _look(ge: bool) -> NodeReport:
    """On the node. Some releases of Ray empty the visible list of a task that asks for no card."""
    env = {name: text for name, text in os.environ.items() if (name, text) != (VISIBLE, "")}
    return examine(env, ge=ge)


def _report(node: Mapping[str, Any], answer: "ray.ObjectRef[NodeReport]") -> NodeReport:
    """The node's own report, or why there is none."""
    try:
        return ray.get(answer, timeout=0)
    except ray.exceptions.GetTimeoutError:
        problem, fix = f"no answer in {_SECONDS:g} s", "look for its raylet: ray status"
    except ray.exceptions.RayError as error:
        problem = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        fix = "install ascend-orchestrator there, for the same Python as here"
    finding = Finding("node", problem, "an answer", fix, False)
    return NodeReport(node["NodeManagerHostname"], (finding,))
