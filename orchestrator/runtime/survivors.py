"""Cards that are gone for good: the others take over what they can."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass
from typing import Protocol

from orchestrator.placement import DeploymentPlan, plan_without
from orchestrator.runtime.changing import beside
from orchestrator.runtime.fleet import CardProcess
from orchestrator.runtime.journal import Journal
from orchestrator.runtime.losses import Losses
from orchestrator.runtime.slots import Listener, Slot

#: A change that is under way is waited for so often before a loss is left to the next one.
_TRIES = 10


class Planned(Protocol):
    """A deployment whose plan can be changed while it runs."""

    losses: Losses

    @property
    def plan(self) -> DeploymentPlan:
        """The plan that runs."""

    @property
    def nodes(self) -> Mapping[str, str]:
        """Ray's id of each node of the plan."""

    def slots(self) -> Sequence[Slot]:
        """Its slots."""

    def rescale(self, plan: DeploymentPlan | None, nodes: Mapping[str, str]) -> "Future[None]":
        """Change to a plan; done when it is, or when another change is that was under way."""


class Survivors:
    """Has a deployment planned again when cards are lost, or are there again.

    ``pending``: lost cards that the others may still take over from.
    """

    def __init__(self, deployed: Planned) -> None:
        self._deployed = deployed
        self._one_at_a_time = threading.Lock()
        self.pending: set[str] = set()

    def gone(self, name: str, why: str) -> "Future[None]":
        """A card is gone for good; done when the others have taken over what they can."""
        self.pending.add(name)
        return beside("orchestrator-survivors", lambda: self._change({name: why}, ()))

    def back(self, names: Iterable[str]) -> "Future[None]":
        """Cards may be used again that were gone; done when they serve."""
        return beside("orchestrator-survivors", lambda: self._change({}, tuple(names)))

    def _change(self, more: Mapping[str, str], fewer: Sequence[str]) -> None:
        try:
            with self._one_at_a_time:
                before = self._deployed.losses
                lost = {**before.lost, **self._gone_with(more)}
                lost = {name: why for name, why in lost.items() if name not in fewer}
                if lost.keys() != before.lost.keys():
                    self._replan(before.whole or self._deployed.plan, lost)
        finally:
            self.pending -= more.keys()

    def _replan(self, whole: DeploymentPlan, lost: Mapping[str, str]) -> None:
        deployed, before = self._deployed, self._deployed.plan
        journal = Journal(whole.deployment.name)
        deployed.losses = Losses(whole if lost else None, lost)
        if whole.deployment.autoscale is not None:
            return  # whoever follows the work plans for the cards that are left
        try:
            self._to(lambda: plan_without(whole, deployed.plan, lost))
        except CancelledError:  # the deployment was closed
            return
        except Exception as error:
            told = f"the other cards could not take over, and go on as before: {error}"
            journal.tell("replan", told, level=logging.ERROR)
            self._to(lambda: plan_without(whole, before, lost, more=False))
        for line in deployed.losses.told(deployed.plan):
            journal.tell("replan", line, level=logging.WARNING)

    def _gone_with(self, more: Mapping[str, str]) -> dict[str, str]:
        """Of these cards those that are still gone, and others of their nodes that seem to be."""
        slots = self._deployed.slots()
        nodes = {slot.node_id for slot in slots if slot.name in more and slot.lost}
        failing = (slot for slot in slots if slot.failures > 1 and slot.serving is None)
        with_them = {slot.name: slot.why for slot in failing if slot.node_id in nodes}
        gone = {slot.name: more[slot.name] for slot in slots if slot.lost and slot.name in more}
        return {**with_them, **gone}

    def _to(self, planned: Callable[[], DeploymentPlan | None]) -> None:
        deployed = self._deployed
        for _ in range(_TRIES):
            plan = planned()
            if plan is None:
                return
            change = deployed.rescale(plan, deployed.nodes)
            wait([change])
            if deployed.plan is plan:
                change.result()
                return


@dataclass(frozen=True)
class Told:
    """A Listener that passes on what it is told, and of lost cards when others have taken over."""

    listener: Listener
    gone: Callable[[str, str], "Future[None]"]

    def serving(self, slot: str, life: int, card: CardProcess) -> None:
        """See Listener."""
        self.listener.serving(slot, life, card)

    def down(self, slot: str, life: int, reason: str) -> None:
        """See Listener."""
        self.listener.down(slot, life, reason)

    def give_up(self, slot: str, reason: str) -> None:
        """See Listener."""
        taken_over = self.gone(slot, reason)
        taken_over.add_done_callback(lambda _: self.listener.give_up(slot, reason))
