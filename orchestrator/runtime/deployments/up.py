"""Start a named deployment in a cluster, or change the one that runs to a new plan."""

import contextlib
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from orchestrator.config import Deployment
from orchestrator.errors import DeploymentError, NoSuchDeploymentError
from orchestrator.placement import (
    Change,
    DeploymentPlan,
    Pace,
    PlanDiff,
    plan_without,
    transition,
)
from orchestrator.placement.problem import PreviousCard
from orchestrator.profiles import ModelProfile
from orchestrator.runtime.cards.inherited import orders_held
from orchestrator.runtime.cards.record import Record, begun
from orchestrator.runtime.cluster.discover import Node, bind_nodes, find_nodes
from orchestrator.runtime.cluster.package import require_same_on
from orchestrator.runtime.cluster.planning import first_plan, known_profiles, plan_on
from orchestrator.runtime.deployments.named import (
    ControllerClient,
    await_end,
    end_processes,
    join,
    require_same_controller,
    take_down,
)
from orchestrator.runtime.deployments.running import note_residuals
from orchestrator.runtime.deployments.view import View
from orchestrator.runtime.options import Options

#: Whatever else changes a deployment is waited for as long, and looked at so often.
_OTHERS_SECONDS, _LOOK_SECONDS = 600.0, 0.5


@dataclass(frozen=True)
class Outcome:
    """What ``up`` did. ``diff`` is what it changed, or would have; None for a first start."""

    plan: DeploymentPlan
    diff: PlanDiff | None = None
    done: bool = True


@dataclass(frozen=True)
class _Wanted:
    """A deployment with its profiles, or a plan that was made before."""

    deployment: Deployment
    profiles: Mapping[str, ModelProfile]
    made: DeploymentPlan | None
    options: Options

    def planned(self, nodes: tuple[Node, ...], before: DeploymentPlan) -> DeploymentPlan:
        """The plan for these nodes, changed from the one before as cheaply as may be."""
        if self.made is not None:
            return self.made
        cards = before.plan.cards
        change = Change(tuple(PreviousCard(c.card, c.models, c.share_workspace) for c in cards))
        section: dict[str, int] = {}
        if self.deployment.cards.capacity is None:  # cards in use do not tell what an idle one has
            section["capacity"] = before.problem.cards[0].capacity_bytes
        if self.deployment.autoscale is not None:  # its count is the most
            most = self.deployment.cards.count or 1
            section["count"] = max(min(sum(node.cards for node in nodes), most), 1)
        wanted = self.deployment.model_copy(
            update={"cards": self.deployment.cards.model_copy(update=section)}
        )
        plan = plan_on(nodes, wanted, self.profiles, self.options, change=change)
        return replace(plan, deployment=self.deployment)


def up(
    wanted: Deployment | DeploymentPlan,
    options: Options,
    agreed: Callable[[PlanDiff], bool] = lambda diff: True,
) -> Outcome:
    """Start it, detached, and return when every card serves; or change what runs under its name.

    ``agreed`` is asked before anything that runs is replaced.

    Raises:
        ClusterError: there is no cluster to join.
        CardsUnavailableError: it has fewer cards than the deployment names.
        DeploymentError, PlanRefusedError: it cannot be measured or planned, somebody takes it down,
            or others change it for very long.
        LoadError, DoesNotFitError, CardLostError: a card cannot load its models. A first start is
            then taken back; a change stops there.
    """
    if isinstance(wanted, DeploymentPlan):
        request = _Wanted(wanted.deployment, wanted.profiles, wanted, options)
    else:
        deployment, profiles = known_profiles(wanted, options.progress)
        request = _Wanted(deployment, profiles, None, options)
    options.progress("connecting to Ray")
    connection = join(options.address)
    options.progress(f"in the cluster at {connection.address}")
    name = request.deployment.name
    try:
        return _start(request) if Record.load(name) is None else _change(request, agreed)
    except NoSuchDeploymentError as error:
        text = "somebody has taken it down meanwhile: orchestrator up starts it anew"
        raise DeploymentError(name, (text,)) from error
    finally:
        connection.close()


def _start(request: _Wanted) -> Outcome:
    name, resource = request.deployment.name, request.deployment.cards.resource
    await_end(name, request.options.progress)
    end_processes(name)  # of one of this name whose end was interrupted
    if request.made is None:
        plan = first_plan(request.deployment, request.profiles, request.options).plan
    else:
        plan = request.made
    nodes = find_nodes(resource, len(plan.slots))
    bound = _bound(plan, nodes)
    _require_same(plan, bound)
    this = secrets.token_hex(8)
    if not Record(plan, bound, begun=this).save(new=True):
        raise DeploymentError(name, ("somebody else has just started one of this name",))
    client = ControllerClient(name)
    try:
        request.options.progress(f"loading models on {len(plan.slots)} cards")
        require_same_controller(client.ask("view"))
        client.ask("settled")
        note_residuals(plan, client.ask("view").slots)
    except BaseException as error:  # Ctrl-C too: what has been started must not stay
        if begun(name) == this:
            with contextlib.suppress(NoSuchDeploymentError):
                take_down(name)
        elif isinstance(error, Exception):
            raise NoSuchDeploymentError(name) from error
        raise
    return Outcome(plan)


def _change(request: _Wanted, agreed: Callable[[PlanDiff], bool]) -> Outcome:
    client = ControllerClient(request.deployment.name)
    deadline = time.monotonic() + _OTHERS_SECONDS
    while True:
        before, view = _at_rest(client, request.options.progress, deadline)
        plan, whole, bound = _changed(request, before, view)
        loads = [slot.report.seconds for slot in view.slots if slot.report is not None]
        diff = transition(orders_held(view.slots, view.drained), plan, Pace.seen(loads))
        if diff.steps and not agreed(diff):
            return Outcome(plan, diff, done=False)
        changed = len({step.card for step in diff.steps})
        request.options.progress(
            f"changing {changed} cards, one after the other"
            if changed
            else "no card changes: they do what the plan wants"
        )
        if client.ask("change", plan, bound, view.generation + 1, whole):
            client.ask("settled")
            return Outcome(plan, diff)
        request.options.progress(f"{client.name} has just been changed: planning again")


def _at_rest(
    client: ControllerClient, progress: Callable[[str], None], deadline: float
) -> tuple[Record, View]:
    """What there is of a deployment once nothing of it is under way: a start, an ``up``, a rescale.

    Raises:
        NoSuchDeploymentError: it is taken down.
        DeploymentError: that takes too long.
    """
    told = False
    while True:
        view = require_same_controller(client.ask("view"))
        record = Record.load(client.name)
        if record is None:
            raise NoSuchDeploymentError(client.name)
        if not view.changing and record.generation == view.generation:
            return record, view
        if time.monotonic() > deadline:
            text = (
                f"its cards were still being changed after {_OTHERS_SECONDS:g} s, by another up or "
                f"to follow the work: orchestrator status {client.name} shows how far that is; try "
                "again when it is over"
            )
            raise DeploymentError(client.name, (text,))
        if not told:
            progress(f"waiting for the change of {client.name} that is under way")
        told = True
        time.sleep(_LOOK_SECONDS)


def _changed(
    request: _Wanted, before: Record, view: View
) -> tuple[DeploymentPlan, DeploymentPlan, dict[str, str]]:
    """The plan to change to, what it is without quarantined cards, and Ray's node for each node.

    Raises:
        DeploymentError: it is for other cards.
    """
    cards, wanted = before.plan.deployment.cards, request.deployment.cards
    if (cards.kind, cards.resource) != (wanted.kind, wanted.resource):
        text = f"it runs on cards of kind {cards.kind}, resource {cards.resource}: for others take "
        raise DeploymentError(before.name, (text + "it down first",))
    ours = Counter(slot.node_id for slot in view.slots if slot.process is not None)
    ours.update(view.plugged)
    nodes = _with_ours(find_nodes(cards.resource, 0), ours, before.nodes)
    whole = request.planned(nodes, before.plan)
    bound = _bound(whole, nodes)
    plan = _without_quarantined(whole, before)
    _require_same(plan, bound)
    return plan, whole, bound


def _require_same(plan: DeploymentPlan, bound: Mapping[str, str]) -> None:
    names = sorted({slot.rpartition("/")[0] for slot in plan.slots})
    require_same_on({f"node {name}": bound[name] for name in names})


def _without_quarantined(whole: DeploymentPlan, before: Record) -> DeploymentPlan:
    """The plan for the cards that may be used: only ``drain --undo`` ends a quarantine.

    Raises:
        DeploymentError: no other card could hold any model.
    """
    lost = before.losses.under(whole).lost
    if not lost.keys() & set(whole.slots):
        return whole
    plan = plan_without(whole, before.plan, lost)
    if plan is None:
        text = f"{', '.join(lost)} are quarantined, and no other card can hold its models: "
        raise DeploymentError(before.name, (text + "orchestrator drain CARD --undo ends that",))
    return plan


def _bound(plan: DeploymentPlan, nodes: tuple[Node, ...]) -> dict[str, str]:
    """Ray's node for each node of the plan, spare ones included where the plan knows them."""
    used = Counter(slot.rpartition("/")[0] for slot in plan.slots)
    bound = bind_nodes(used, nodes, plan.deployment.cards.resource)
    for node in nodes:
        if node.id not in bound.values():
            bound.setdefault(node.name, node.id)
    return bound


def _with_ours(
    free: Iterable[Node], ours: Mapping[str, int], names: Mapping[str, str]
) -> tuple[Node, ...]:
    """The nodes with what is free there and what is ours, under the names that we know them by."""
    known = {node_id: name for name, node_id in names.items()}
    cards = {node.id: node.cards for node in free}
    found = [replace(node, name=known.get(node.id, node.name)) for node in free]
    found += [Node(known[node_id], node_id, 0) for node_id in ours if node_id not in cards]
    return tuple(
        replace(node, cards=cards.get(node.id, 0) + ours.get(node.id, 0))
        for node in sorted(found, key=lambda node: (node.name, node.id))
    )
