"""The loop behind ``autoscale``: looks at cards and drivers, decides, and has the plan changed."""

import logging
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from typing import Protocol

from actors.messages import CardStats
from orchestrator.autoscale import (
    Autoscaler,
    CardReport,
    Decision,
    Fleet,
    Load,
    Meter,
    Ran,
    Rules,
    Waiting,
    choose_cards,
    floor_of,
    plan_scaled,
)
from orchestrator.errors import OrchestratorError
from orchestrator.placement import DeploymentPlan
from orchestrator.runtime.cards.slots import TO_COME, Slot, SlotState
from orchestrator.runtime.cluster.discover import alive_nodes, free_cards, known_as
from orchestrator.runtime.cluster.requested import Claim
from orchestrator.runtime.cluster.scouts import Scouts
from orchestrator.runtime.deployments.scaling import ScaleEvent, Scaling
from orchestrator.runtime.journal import Journal

_log = logging.getLogger(__name__)

_EVERY = 1.0
#: A card that does not answer so soon is counted the next time.
_ANSWER_SECONDS = 0.8
#: What a process takes to start, beside loading; and a card to load before one has done it.
_PROCESS_SECONDS, _LOAD_SECONDS = 2.0, 8.0
#: What a node takes to start, before one has done it.
_NODE_SECONDS = 60.0
_EVENTS = 50


class Scaled(Protocol):
    """A deployment whose cards follow the work. ``plan`` is the last one, also without any card."""

    @property
    def plan(self) -> DeploymentPlan:
        """The plan that runs."""

    @property
    def asleep(self) -> bool:
        """Whether it has no card now."""

    @property
    def nodes(self) -> Mapping[str, str]:
        """Ray's id of each node of the plan."""

    @property
    def drained(self) -> Collection[str]:
        """Slots that must not be used."""

    def slots(self) -> Sequence[Slot]:
        """Its slots."""

    def waiting(self) -> Mapping[str, Waiting]:
        """What all drivers wait for, by model."""

    @property
    def plugged(self) -> Collection[str]:
        """The node of each quarantined card that a process keeps from being used."""

    def rescale(self, plan: DeploymentPlan | None, nodes: Mapping[str, str]) -> "Future[None]":
        """Change to a plan, or give all cards back; done when it is."""

    def let_go(self, slot: str) -> None:
        """Start no process for a slot any more; a change does not wait for it, requests do."""


class Scaler:
    """A thread that looks once a second, from ``start`` to ``close``.

    ``who``: what the deployment is called in the cluster, if nothing else there is called so.
    """

    def __init__(
        self, deployed: Scaled, node_seconds: float | None = None, who: str | None = None
    ) -> None:
        self._deployed = deployed
        self._who = who or secrets.token_hex(8)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orchestrator-scaler", daemon=True)
        self._events: deque[ScaleEvent] = deque(maxlen=_EVENTS)
        self._change: Future[None] | None = None
        self._tried: tuple[str, ...] = ()
        self._loads: Mapping[str, Load] = {}
        self._load_seconds = _LOAD_SECONDS
        self._node_seconds = node_seconds
        self._begin()

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more; a change that is under way is not waited for."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._want_none()

    def shown(self) -> Scaling:
        """What it wants, and what it did."""
        rules = self._rules
        held = self._autoscaler.held or self._short
        return Scaling(rules.least, rules.most, self._target, held, tuple(self._events))

    def _begin(self) -> None:
        plan = self._deployed.plan
        section, cards = plan.deployment.autoscale, plan.deployment.cards
        assert section is not None
        assert cards.count is not None
        self._deployment = plan.deployment
        self._rules = Rules(
            section.min_cards, cards.count, section.busy, section.idle, section.starts_per_minute
        )
        most = {model.name: model.max_replicas for model in plan.problem.models}
        self._autoscaler = Autoscaler(self._rules, most)
        speed = plan.problem.cards[0].speed
        self._meter = Meter({m.name: m.service_ms / 1000 / speed for m in plan.problem.models})
        self._floor = floor_of(plan, cards.count)
        self._target = 0 if self._deployed.asleep else len(plan.slots)
        self._scouts = Scouts(cards.resource)
        self._claim = Claim(self._who, cards.resource) if section.request_resources else None
        self._demand: Mapping[str, float] = {}
        self._short = ""

    def _run(self) -> None:
        told = ""
        while not self._over.wait(_EVERY):
            try:
                self._look(time.monotonic())
            except Exception as error:  # a mistake of ours, or Ray's: the next look may be better
                if repr(error) != told:
                    _log.exception("the number of cards could not be looked at")
                told = repr(error)

    def _look(self, now: float) -> None:
        if self._deployed.plan.deployment != self._deployment:
            self._want_none()
            if self._deployed.plan.deployment.autoscale is None:
                return
            self._begin()
        slots = self._deployed.slots()
        self._let_go(slots)
        self._loads = self._meter.look(now, self._reports(slots), self._deployed.waiting())
        if self._change is not None and not self._settled(self._change):
            starting = (slot for slot in slots if slot.state is SlotState.STARTING)
            self._scouts.make_way(Counter(slot.node_id for slot in starting))
        else:
            serving = sum(slot.serving is not None for slot in slots)
            fleet = Fleet(self._target, serving, self._floor, self._start_seconds(slots))
            decision = self._autoscaler.decide(now, fleet, self._loads)
            if decision is not None:
                self._decided(decision)
            self._approach()
        if self._claim is not None:
            self._claim.want(self._target)

    def _let_go(self, slots: Sequence[Slot]) -> None:
        """A slot whose node is gone waits in vain: without it others are chosen.

        Ray takes a node back on which nothing is left, also while a card there is about to start.
        """
        to_come = [slot for slot in slots if slot.state in TO_COME]
        alive = alive_nodes() if to_come else frozenset()
        for slot in to_come:
            if slot.node_id not in alive:
                told = "it is let go, as its node is gone: its requests wait for another one"
                Journal(self._deployment.name).tell("replan", told, card=slot.name)
                self._deployed.let_go(slot.name)

    def _want_none(self) -> None:
        self._scouts.close()
        if self._claim is not None:
            self._claim.close()

    def _reports(self, slots: Sequence[Slot]) -> list[CardReport]:
        shown = [slot.shown() for slot in slots]
        asked = [(slot, slot.serving.stats()) for slot in shown if slot.serving is not None]
        wait([answer for _, answer in asked], _ANSWER_SECONDS)
        return [
            _report(slot, answer.result())
            for slot, answer in asked
            if answer.done() and answer.exception() is None
        ]

    def _start_seconds(self, slots: Sequence[Slot]) -> float:
        """What a further card takes until it serves, a node for it included if none is free."""
        loads = [slot.report.seconds for slot in slots if slot.report is not None]
        if loads:
            self._load_seconds = max(loads)
        seconds = self._load_seconds + _PROCESS_SECONDS
        if free_cards(self._deployment.cards.resource):
            return seconds
        known = self._scouts.node_seconds or self._node_seconds
        return seconds + (_NODE_SECONDS if known is None else known)

    def _decided(self, decision: Decision) -> None:
        self._note(decision.cards, decision.why)
        self._target, self._demand, self._tried = decision.cards, decision.demand, ()

    def _note(self, cards: int, why: str) -> None:
        event = ScaleEvent(time.time(), self._target, cards, why)
        self._events.append(event)
        Journal(self._deployment.name).tell("scaling", event.told())

    def _settled(self, change: "Future[None]") -> bool:
        """Whether the change is over; one that failed is told, and what serves goes on."""
        if not change.done():
            return False
        self._change = None
        error = None if change.cancelled() else change.exception()
        if error is not None and not isinstance(error, CancelledError):
            self._note(self._target, f"a card could not be started: {error}")
        return True

    def _approach(self) -> None:
        """Take the next step from the cards that there are to those that are wanted."""
        deployed = self._deployed
        ours = () if deployed.asleep else self._ours()
        if not self._target:
            self._scouts.close()
            if not deployed.asleep:
                self._change = deployed.rescale(None, deployed.nodes)
            return
        free, nodes = self._free(self._target > len(ours))
        missing = self._target - len(ours) - sum(free.values())
        here = self._scouts.found()
        self._scouts.want(max(missing + len(here), 0))
        resource = deployed.plan.deployment.cards.resource
        self._short = f"{missing} cards of {resource} are asked of Ray" if missing > 0 else ""
        chosen = choose_cards(ours, free, self._target, deployed.drained)
        running = () if deployed.asleep else deployed.plan.slots
        if not chosen or chosen == self._tried or set(chosen) == set(running):
            return
        self._tried = chosen
        self._scouts.release()
        self._replan(chosen, nodes)

    def _ours(self) -> tuple[str, ...]:
        """The slots that we have; those of a node that is gone are none of them."""
        alive, nodes = alive_nodes(), self._deployed.nodes
        return tuple(
            slot
            for slot in self._deployed.plan.slots
            if slot not in self._deployed.drained and nodes[slot.rpartition("/")[0]] in alive
        )

    def _free(self, look: bool) -> tuple[dict[str, int], dict[str, str]]:
        """Free cards by the node's name, those that scouts keep for us included; and the ids."""
        deployed = self._deployed
        if not look:
            return {}, dict(deployed.nodes)
        resource = deployed.plan.deployment.cards.resource
        kept = [*self._scouts.found(), *deployed.plugged]
        named = known_as(free_cards(resource, kept=kept), deployed.nodes)
        drained = [slot.rpartition("/")[0] for slot in deployed.drained]
        free = {node.name: max(node.cards - drained.count(node.name), 0) for node in named}
        return free, {**deployed.nodes, **{node.name: node.id for node in named}}

    def _replan(self, chosen: Sequence[str], nodes: Mapping[str, str]) -> None:
        row_seconds = {name: load.row_seconds for name, load in self._loads.items()}
        try:
            plan = plan_scaled(self._deployed.plan, chosen, self._demand, row_seconds)
        except OrchestratorError as error:
            self._note(self._target, f"{len(chosen)} cards cannot be planned: {error}")
            return
        self._autoscaler.restarted(time.monotonic(), plan.plan.restarts or 0)
        # Slots that must not be used keep the names of their nodes, to be known again.
        names = {slot.rpartition("/")[0] for slot in (*plan.slots, *self._deployed.drained)}
        used = {name: node_id for name, node_id in nodes.items() if name in names}
        self._change = self._deployed.rescale(plan, used)
        if len(chosen) == self._target > len(plan.slots):
            self._target = len(plan.slots)  # the models' own limits leave the rest idle


def _report(slot: Slot, stats: CardStats) -> CardReport:
    ran = {
        name: Ran(seen.rows, seen.histograms["predict"].total)
        for name, seen in stats.models.items()
    }
    return CardReport(slot.name, slot.life, stats.occupied_seconds, ran)
