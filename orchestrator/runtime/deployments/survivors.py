"""Cards that are gone for good: the others take over what they can."""

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from orchestrator.errors import DeploymentError
from orchestrator.placement import DeploymentPlan, plan_without
from orchestrator.runtime.cards.changing import beside
from orchestrator.runtime.cards.fleet import CardProcess
from orchestrator.runtime.cards.losses import Loss, Losses
from orchestrator.runtime.cards.slots import Listener, Slot
from orchestrator.runtime.journal import Journal

#: A change that is under way is waited for so often before a loss is left to the next one.
_TRIES = 10


class Planned(Protocol):
    """A deployment whose plan can be changed while it runs."""

    @property
    def plan(self) -> DeploymentPlan:
        """The plan that runs."""

    @property
    def nodes(self) -> Mapping[str, str]:
        """Ray's id of each node of the plan."""

    @property
    def losses(self) -> Losses:
        """The slots that it does without."""

    def update_losses(self, change: Callable[[Losses], Losses]) -> None:
        """Replace them, with nothing in between."""

    def slots(self) -> Sequence[Slot]:
        """Its slots."""

    def rescale(
        self,
        plan: DeploymentPlan | None,
        nodes: Mapping[str, str],
        back: Collection[str] = (),
    ) -> "Future[None]":
        """Change to a plan; done when it is, or when another change is that was under way.

        ``back`` are no longer lost.
        """


class Survivors:
    """Has a deployment planned again when cards are lost, or are there again.

    ``pending``: lost cards that the others may still take over from.
    """

    def __init__(self, deployed: Planned) -> None:
        self._deployed = deployed
        self._one_at_a_time = threading.Lock()
        self.pending: set[str] = set()

    def gone(self, name: str) -> "Future[None]":
        """A card is lost for good; done when the others have taken over what they can."""
        self.pending.add(name)
        return beside("orchestrator-survivors", partial(self._gone, name))

    def resume(self) -> "Future[None]":
        """Go on if others were to take over and have not: whoever saw to that may have died."""
        late = self._deployed.losses.lost.keys() & set(self._deployed.plan.slots)
        self.pending |= late
        return beside("orchestrator-survivors", partial(self._resume, late))

    def back(self, names: Collection[str]) -> "Future[None]":
        """Cards may be used again that were gone; done when they serve.

        It fails when they cannot; they are then lost as before.
        """
        return beside("orchestrator-survivors", partial(self._back, names))

    def _gone(self, name: str) -> None:
        try:
            with self._one_at_a_time:
                with_it, deployed = self._gone_with(name), self._deployed
                deployed.update_losses(lambda losses: losses.plus(with_it, deployed.plan))
                self._do_without()
        finally:
            self.pending.discard(name)

    def _resume(self, late: Collection[str]) -> None:
        try:
            with self._one_at_a_time:
                self._do_without()
        finally:
            self.pending -= set(late)

    def _do_without(self) -> None:
        """Plan again if the plan that runs counts on lost cards."""
        deployed, before = self._deployed, self._deployed.plan
        whole, lost = deployed.losses.whole, deployed.losses.lost
        if whole is None or not lost.keys() & set(before.slots):
            return
        if whole.deployment.autoscale is not None:
            return  # whoever follows the work plans for the cards that are left
        journal = Journal(whole.deployment.name)
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

    def _gone_with(self, name: str) -> dict[str, Loss]:
        """Other cards of the node of a lost one that seem to be gone with it."""
        losses, slots = self._deployed.losses, self._deployed.slots()
        loss = losses.lost.get(name)
        return {
            slot.name: Loss(slot.why, slot.node_id)
            for slot in slots
            if loss is not None
            and slot.node_id == loss.node_id
            and slot.name not in losses.lost
            and slot.history.failures > 1
            and slot.serving is None
        }

    def _back(self, names: Collection[str]) -> None:
        with self._one_at_a_time:
            deployed, plan, before = self._deployed, self._deployed.plan, self._deployed.losses
            again = {name: loss for name, loss in before.lost.items() if name in names}
            left, whole = before.minus(again), before.whole
            if whole is None or not again:
                return
            if whole.deployment.autoscale is not None:
                deployed.update_losses(lambda losses: losses.minus(again))
                return
            try:
                self._to(lambda: plan_without(whole, deployed.plan, left.lost), again)
            except CancelledError:  # the deployment was closed
                return
            except Exception:
                deployed.update_losses(lambda losses: Losses(whole, {**before.lost, **losses.lost}))
                self._to(lambda: plan_without(whole, plan, before.lost, more=False))
                raise
            if deployed.losses.lost.keys() & again.keys():
                text = f"{', '.join(again)} cannot be planned with now: look with status"
                raise DeploymentError(whole.deployment.name, (text,))

    def _to(self, planned: Callable[[], DeploymentPlan | None], back: Collection[str] = ()) -> None:
        deployed = self._deployed
        for _ in range(_TRIES):
            plan = planned()
            if plan is None:
                return
            change = deployed.rescale(plan, deployed.nodes, back)
            wait([change])
            if deployed.plan is plan:
                change.result()
                return


@dataclass(frozen=True)
class Told:
    """A Listener that passes on what it is told, and of lost cards when others have taken over."""

    listener: Listener
    gone: Callable[[str], "Future[None]"]

    def serving(self, slot: str, life: int, card: CardProcess) -> None:
        """See Listener."""
        self.listener.serving(slot, life, card)

    def down(self, slot: str, life: int, reason: str) -> None:
        """See Listener."""
        self.listener.down(slot, life, reason)

    def give_up(self, slot: str, reason: str) -> None:
        """See Listener."""
        taken_over = self.gone(slot)
        taken_over.add_done_callback(lambda _: self.listener.give_up(slot, reason))

    def failed(self, slot: Slot) -> None:
        """See Listener."""
        self.listener.failed(slot)

    def losing(self, slot: Slot, loss: Loss) -> None:
        """See Listener."""
        self.listener.losing(slot, loss)
