"""Named deployments from outside: find their controller, start it when it is gone, end it all."""

import contextlib
import itertools
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from orchestrator.errors import (
    ClusterError,
    DeploymentError,
    NoSuchDeploymentError,
    OrchestratorError,
)
from orchestrator.runtime.cards import record
from orchestrator.runtime.cards.inherited import namespace_of
from orchestrator.runtime.cluster.connect import Connection, connect
from orchestrator.runtime.cluster.discover import head_share
from orchestrator.runtime.cluster.package import require_equal
from orchestrator.runtime.deployments.controller_host import ControllerHost
from orchestrator.runtime.deployments.observe import observe
from orchestrator.runtime.deployments.status import Status
from orchestrator.runtime.deployments.view import View

_CONTROLLER = "controller"
_RETRY_SECONDS = 0.2
#: Ray restarts a controller that was killed within seconds, on a machine that is not busy.
_PATIENCE_SECONDS = 120.0
_GONE_SECONDS = 60.0
#: Each driver has a call on the controller that waits for news; Ray's own limit is 1000.
_MOST_CALLS = 20_000


def join(address: str | None) -> Connection:
    """Connect to a cluster that is up: a named deployment outlives who starts it.

    Raises:
        ClusterError: there is none, or it cannot be joined.
    """
    if ray.is_initialized():
        return connect(address)
    address = address or os.environ.get("RAY_ADDRESS") or "auto"
    if address == "local":
        problem = "a named deployment needs a cluster that stays"
        raise ClusterError(address, problem, "ray start --head starts one on this machine")
    return connect(address)


class ControllerClient:
    """Calls the controller of a named deployment. Thread-safe; survives its crashes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._actor: Any = None

    def call(self, method: str, *arguments: object) -> "Future[Any]":
        """One call, not tried again. The future fails with our errors, or RayActorError."""
        answer: Future[Any] = Future()

        def hand_over(result: "Future[Any]") -> None:
            error = result.exception()
            if error is None:
                answer.set_result(result.result())
                return
            if isinstance(error, RayActorError):
                self._actor = None
            cause = error.cause if isinstance(error, RayTaskError) else None
            answer.set_exception(cause if isinstance(cause, OrchestratorError) else error)

        try:
            actor = self._actor = self._actor or reach(self.name)
            getattr(actor, method).remote(*arguments).future().add_done_callback(hand_over)
        except Exception as error:  # whoever waits for it is told, whatever it is
            self._actor = None
            answer.set_exception(error)
        return answer

    def ask(self, method: str, *arguments: object, seconds: float | None = None) -> Any:  # noqa: ANN401
        """Call until there is an answer: for what may be done twice.

        A controller that is being restarted is waited for, and so is its answer: for ``seconds``
        each, or for two minutes and for ever.

        Raises:
            NoSuchDeploymentError: there is no such deployment.
            ClusterError: its controller does not answer.
            OrchestratorError: what the controller raised.
        """
        unreachable = time.monotonic() + (seconds or _PATIENCE_SECONDS)
        for attempt in itertools.count(1):
            try:
                return self.call(method, *arguments).result(seconds)
            except NotInTime as error:
                raise self._silent(f"no answer within {seconds:g} s") from error
            except RayActorError as error:
                if error.actor_init_failed and attempt > 1:  # nor will the next one start
                    raise self._silent(str(error).rstrip().splitlines()[-1]) from error
                if time.monotonic() > unreachable:
                    raise self._silent(str(error).splitlines()[0]) from error
                time.sleep(_RETRY_SECONDS)
        raise AssertionError("it counts without end")

    def _silent(self, problem: str) -> ClusterError:
        hint = "orchestrator down ends it, orchestrator up starts it anew"
        return ClusterError("the cluster", f"controller of {self.name}: {problem}", hint)


def require_same_controller(view: View) -> View:
    """What a controller shows that runs what this process runs.

    Raises:
        PackageDiffersError: it runs another version.
    """
    require_equal(f"the controller of {view.plan.deployment.name}", "", view.package)
    return view


def reach(name: str) -> Any:  # noqa: ANN401 - Ray's handle
    """The controller's actor; a new one if it died for good and the deployment is to run.

    Raises:
        NoSuchDeploymentError: there is no such deployment.
    """
    with contextlib.suppress(ValueError):
        return ray.get_actor(_CONTROLLER, namespace=namespace_of(name))
    if name not in record.kept():
        raise NoSuchDeploymentError(name, record.kept())
    remote = ray.remote(ControllerHost).options(
        name=_CONTROLLER,
        namespace=namespace_of(name),
        get_if_exists=True,
        lifetime="detached",
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=0,
        max_concurrency=_MOST_CALLS,
        resources=head_share(),
    )
    return remote.remote(name)


def take_down(name: str, drain_seconds: float = 0.0) -> None:
    """End a named deployment: its cards finish what they have, for at most so long.

    Raises:
        NoSuchDeploymentError: there is no such deployment.
    """
    if name not in record.kept() and not _actors(name):
        raise NoSuchDeploymentError(name, record.kept())
    begun = record.begun(name)
    which = (begun,) if begun else ()  # a controller of another version knows of no other start
    # The controller forgets it first, so that it ends with whatever answer; one that has just died
    # is waited for, since nobody else lets the cards finish.
    with contextlib.suppress(RayError, OrchestratorError):
        limit = drain_seconds + _GONE_SECONDS
        ControllerClient(name).ask("close", drain_seconds, *which, seconds=limit)
    if record.begun(name) not in {None, begun}:
        return  # it is started anew already, which has ended whatever was left
    record.forget(name)
    end_processes(name)


def await_end(name: str, progress: Callable[[str], None]) -> None:
    """Let a deployment that is kept no more end: its controller sees to that, if it is there.

    Raises:
        DeploymentError: its cards take long to finish what they have.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    if _CONTROLLER in _actors(name):
        progress(
            f"waiting for {name} to end, which was taken down: its cards finish what they have"
        )
    while _CONTROLLER in _actors(name) and name not in record.kept():
        if time.monotonic() > deadline:
            text = (
                f"it was taken down, and has not ended within {_PATIENCE_SECONDS:g} s: its cards "
                f"finish what they have; wait for that, or end it with orchestrator down {name} "
                "--drain 0"
            )
            raise DeploymentError(name, (text,))
        time.sleep(_RETRY_SECONDS)


def end_processes(name: str) -> None:
    """End all processes that there still are of a deployment that is kept no more.

    Raises:
        ClusterError: they do not end.
    """
    deadline = time.monotonic() + _GONE_SECONDS
    while left := _actors(name):
        for one in left:
            with contextlib.suppress(ValueError, RayError):  # it has ended meanwhile
                ray.kill(ray.get_actor(one, namespace=namespace_of(name)), no_restart=True)
        if time.monotonic() > deadline:
            problem = f"deployment {name} does not end: {', '.join(left)}"
            raise ClusterError("the cluster", problem, "look at the cluster with ray status")
        time.sleep(_RETRY_SECONDS)


def status_of(name: str, timeout_seconds: float) -> Status:
    """A named deployment as its controller and its cards see it, without being one of its drivers.

    Raises:
        NoSuchDeploymentError: there is no such deployment.
        ClusterError: its controller does not answer.
    """
    view: View = ControllerClient(name).ask("view", seconds=timeout_seconds)
    seen = observe(view.plan, view.slots, None, timeout_seconds)
    return seen.controlled_by(view.pid, view.scaling, view.notes)


@dataclass(frozen=True)
class Drained:
    """What ``drain`` did. ``slots`` have changed, ``others`` were so before.

    ``unserved``: models all of whose cards are drained now.
    """

    slots: tuple[str, ...]
    others: tuple[str, ...]
    unserved: tuple[str, ...]


def drain(name: str, where: str, *, undo: bool = False) -> Drained:
    """Let the processes of a card, or of all cards of a node, finish what they have, and end them.

    Those cards then stay empty, whatever happens, until ``undo`` starts them again; so it does for
    cards that were given up.

    Raises:
        NoSuchDeploymentError: there is no such deployment.
        ClusterError: its controller does not answer.
        DeploymentError: it has no such card or node.
    """
    client = ControllerClient(name)
    view: View = client.ask("view")
    named = [
        slot
        for slot in view.slots
        if where in (slot.name, slot.name.rpartition("/")[0], slot.node_id)
    ]
    if not named:
        known = ", ".join(slot.name for slot in view.slots)
        raise DeploymentError(name, (f"no card or node {where!r}: its cards are {known}",))
    client.ask("undo" if undo else "drain", tuple(slot.name for slot in named))
    empty = {slot.name for slot in named if slot.name in view.drained or (undo and slot.lost)}
    after: View = client.ask("view")
    return Drained(
        tuple(slot.name for slot in named if (slot.name in empty) is undo),
        tuple(slot.name for slot in named if (slot.name in empty) is not undo),
        tuple(
            model.name
            for model in after.plan.deployment.models
            if (on := after.plan.plan.replicas(model.name)) and after.drained.issuperset(on)
        ),
    )


def the_only_one() -> str:
    """The name of the one deployment that runs in this cluster.

    Raises:
        NoSuchDeploymentError: there is none.
        DeploymentError: there are several.
    """
    names = record.kept()
    if not names:
        raise NoSuchDeploymentError("")
    if len(names) > 1:
        raise DeploymentError("the cluster", (f"say which of {', '.join(names)} is meant",))
    return names[0]


def _actors(name: str) -> list[str]:
    listed = ray.util.list_named_actors(all_namespaces=True)
    return [one["name"] for one in listed if one["namespace"] == namespace_of(name)]
