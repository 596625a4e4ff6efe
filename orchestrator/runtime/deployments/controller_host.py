"""The Ray actor of a named deployment's controller: it owns plan and health, and carries no data.

It starts from what was kept of the deployment and from what the cards report, be it for the first
time or after a crash: cards that serve are taken as they are, the others are started.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

import ray

from actors.messages import CardOrder
from actors.shapes import Signature
from orchestrator.autoscale import Waiting
from orchestrator.config.cards import slot_parts
from orchestrator.errors import NoSuchDeploymentError
from orchestrator.placement import DeploymentPlan, same_work
from orchestrator.runtime.calls.following import shown
from orchestrator.runtime.calls.samples import controller_samples
from orchestrator.runtime.cards.changing import DRAIN_SECONDS, beside, carry_out, give_back_all
from orchestrator.runtime.cards.controller import Controller
from orchestrator.runtime.cards.inherited import (
    empty_slot,
    fleet_of,
    lost_slots,
    namespace_of,
    orders_held,
    planned_slots,
    serving_now,
)
from orchestrator.runtime.cards.losses import Loss
from orchestrator.runtime.cards.record import Record, kept
from orchestrator.runtime.cards.slots import Slot, signatures_of
from orchestrator.runtime.cluster.discover import same_machine
from orchestrator.runtime.cluster.package import package_version
from orchestrator.runtime.deployments.keeping import Kept, News
from orchestrator.runtime.deployments.loads import Loads
from orchestrator.runtime.deployments.scaler import Scaler
from orchestrator.runtime.deployments.survivors import Survivors
from orchestrator.runtime.deployments.view import View
from orchestrator.runtime.journal import Journal, log_events
from orchestrator.runtime.metrics import publish

_log = logging.getLogger(__name__)

#: A card that a driver could not reach, and that answers us within this time, is not replaced.
_ALIVE_SECONDS = 5.0


class ControllerHost(Kept):
    """What Ray runs in the controller's process. Its methods are called by any number of drivers.

    Raises:
        NoSuchDeploymentError: nothing is kept of it; it was taken down.
    """

    def __init__(self, name: str) -> None:
        record = Record.load(name)
        if record is None:
            raise NoSuchDeploymentError(name, kept())
        super().__init__(record)
        self._news = News()
        self._fleet = fleet_of(record)
        found = serving_now(self._fleet, record)
        differs = any(
            slot not in record.plan.slots or not same_work(held.order, record.plan.orders(slot))
            for slot, held in found.items()
        )
        planned = {} if differs or record.asleep else planned_slots(record)
        slots = {**planned, **lost_slots(record), **found}
        self._survivors = Survivors(self)
        log_events()
        self._journal = Journal(name)
        if record.served:
            told = f"controller started again, as process {os.getpid()}: {len(found)} cards serve"
            self._journal.tell("controller", told, level=logging.WARNING)
        self._controller = Controller(
            slots.values(), self._fleet, journal=self._journal, lost=record.losses.lost
        )
        patient = record.served and not record.changing
        self._work = self._controller.start(self, patient=patient)
        if differs or (record.asleep and found):
            self._work = self._begin_change()
        self._work.add_done_callback(self._has_settled)
        self._signatures: dict[str, Signature] = {}
        self._loads = Loads()
        self._drains: dict[str, Future[None]] = {}
        self._scaler: Scaler | None = None
        self._follow_the_work()
        self._over = threading.Event()
        self._ended = False
        publish(lambda: controller_samples(self._controller.slots.copy().values()), self._over)

    def serving(self, slot: str, life: int, card: object) -> None:
        """See Listener."""
        self._news.post()

    def down(self, slot: str, life: int, reason: str) -> None:
        """See Listener."""
        self._news.post()

    def give_up(self, slot: str, reason: str) -> None:
        """See Listener; once it has served, the others take over."""
        if slot in self._record.losses.lost:
            taken_over = self._survivors.gone(slot)
            taken_over.add_done_callback(lambda _: self._news.post())
        self._news.post()

    def failed(self, slot: Slot) -> None:
        """See Listener."""
        self._keep_at_last(lambda before: before.with_history(slot.name, slot.history))

    def losing(self, slot: Slot, loss: Loss) -> None:
        """See Listener; a card that could not be started at first is none that was had."""
        if self._record.served and not slot.refused:
            self._survivors.pending.add(slot.name)
            lost = {slot.name: loss}
            self._keep_at_last(
                lambda before: replace(before, losses=before.losses.plus(lost, before.plan))
            )

    async def view(self) -> View:
        """As it is now."""
        return self._view()

    async def follow(self, seen: tuple[str, int] | None) -> View | None:
        """The next view after that of version ``seen``; None if there was none for long.

        Raises:
            NoSuchDeploymentError: it was taken down.
        """
        if not await self._news.after(seen):
            return None
        if self._ended:
            raise NoSuchDeploymentError(self._record.name)
        return self._view()

    async def settled(self) -> None:
        """Return when the start or the change that is under way is over.

        Raises:
            LoadError, DoesNotFitError, CardLostError, CardsUnavailableError: a card cannot serve.
        """
        await asyncio.shield(asyncio.wrap_future(self._work))

    async def lost(self, name: str, life: int, reason: str) -> bool:
        """A driver could not reach a card: is it there all the same? Else it is replaced."""
        slot = self._controller.slots.get(name)
        if slot is None or slot.life != life or slot.serving is None:
            return False
        try:
            await asyncio.wait_for(asyncio.wrap_future(slot.serving.stats()), _ALIVE_SECONDS)
        except Exception:  # whatever it is, the card does not answer
            self._controller.lost(name, life, reason)
            return False
        return True

    async def pardon(self, deaths: Mapping[str, int]) -> None:
        """A driver set a request aside that is to blame for so many deaths of these slots."""
        self._controller.pardon(deaths)

    async def change(
        self, plan: DeploymentPlan, nodes: dict[str, str], generation: int, whole: DeploymentPlan
    ) -> bool:
        """Begin to replace card by card what differs; ``settled`` tells when that is over.

        ``whole`` is the plan as it would be if no card were quarantined. False when it changes
        already, or was changed since the caller looked.

        Raises:
            NoSuchDeploymentError: it is taken down.
        """
        with self._lock:
            before = self._record
            if self._forgotten:
                raise NoSuchDeploymentError(before.name)
            if (before.generation, before.plan.to_dict()) == (generation, plan.to_dict()):
                return True  # asked again after a crash: it is under way
            if generation != before.generation + 1 or not self._work.done():
                return False
            self._put(before.changed(plan, nodes, whole))
            for name in before.losses.lost.keys() - self._record.losses.lost.keys():
                self._controller.readmit(name)
            self._work = self._begin_change()
        self._journal.tell("change", f"change to plan {generation} begun")
        self._work.add_done_callback(self._has_changed)
        self._work.add_done_callback(self._has_settled)
        return True

    async def load(self, driver: str, waiting: Mapping[str, Waiting]) -> None:
        """What a driver waits for; it tells that again and again while it waits for something."""
        self._loads.tell(driver, waiting)

    @property
    def plugged(self) -> list[str]:
        """See Scaled."""
        return self._controller.plugged

    def slots(self) -> list[Slot]:
        """See Scaled."""
        return list(self._controller.slots.values())

    def waiting(self) -> dict[str, Waiting]:
        """See Scaled."""
        for driver in self._loads.gone():
            text = f"driver {driver} waits for nothing any more: it is not heard of"
            self._journal.tell("driver", text, level=logging.WARNING)
        return self._loads.total()

    def rescale(
        self,
        plan: DeploymentPlan | None,
        nodes: Mapping[str, str],
        back: Collection[str] = (),
    ) -> "Future[None]":
        """See Scaled; not while it changes anyway."""
        with self._lock:
            if not self._work.done():
                return self._work
            before = self._record
            self._put(
                replace(before, asleep=True) if plan is None else before.rescaled(plan, nodes, back)
            )
            self._work = self._begin_change()
        self._work.add_done_callback(self._has_settled)
        return self._work

    def let_go(self, slot: str) -> None:
        """See Scaled."""
        self._controller.retire(slot, 0.0)

    async def drain(self, slots: tuple[str, ...]) -> None:
        """End these slots' processes when they have finished; none follows, crash or not."""
        self._keep(lambda before: replace(before, drained=before.drained | set(slots)))
        for slot in slots:
            self._drains[slot] = self._controller.retire(slot, DRAIN_SECONDS)
        await asyncio.gather(*(asyncio.wrap_future(self._drains[slot]) for slot in slots))

    async def undo(self, slots: tuple[str, ...]) -> None:
        """Start slots that were drained, or are lost, again; return when the lost ones serve.

        Raises:
            DeploymentError: their node is gone.
            LoadError, DoesNotFitError, CardLostError, CardsUnavailableError: one cannot serve.
        """
        self._journal.tell("undo", f"to be used again: {', '.join(slots)}")
        change = asyncio.shield(asyncio.wrap_future(self._work))  # it starts and ends cards, too
        await asyncio.gather(change, return_exceptions=True)
        under_way = [done for slot, done in self._drains.items() if slot in slots]
        await asyncio.gather(*map(asyncio.wrap_future, under_way))
        self._bind_again(slots)
        self._keep(
            lambda before: replace(before.forgiving(slots), drained=before.drained - set(slots))
        )
        again = self._record.losses.lost.keys() & set(slots)
        for slot in set(slots) - again:
            self._controller.resume(slot)
        await asyncio.gather(
            *(asyncio.wrap_future(self._controller.readmit(slot)) for slot in again)
        )
        await asyncio.wrap_future(self._survivors.back(again))

    def _bind_again(self, slots: Collection[str]) -> None:
        """A machine that comes back after a reboot is another node to Ray."""
        record, resource = self._record, self._record.plan.deployment.cards.resource
        for name in {slot.rpartition("/")[0] for slot in slots}:
            gone = record.nodes[name]
            node_id = same_machine(gone, resource, record.nodes.values())
            if node_id != gone:
                self._keep(partial(Record.rebound, name=name, node_id=node_id))
                self._controller.rebind(gone, node_id)

    async def close(self, drain_seconds: float, begun: str = "") -> None:
        """Let every card finish what it has, for at most so long, and end its process, and this.

        It is forgotten first: nobody shall start it again. ``begun``: the start that is meant; one
        that has followed it under the same name goes on.
        """
        if begun not in {"", self._record.begun}:
            return
        self._journal.tell("down", "it is taken down")
        self._forget()
        self._over.set()
        if self._scaler is not None:
            await asyncio.to_thread(self._scaler.close)
        if drain_seconds > 0:
            slots = list(self._controller.slots)
            retired = [self._controller.retire(slot, drain_seconds) for slot in slots]
            await asyncio.gather(*map(asyncio.wrap_future, retired))
        await asyncio.to_thread(self._controller.close, 0.0)
        self._ended = True
        self._news.post()
        # Whoever asked for this may not be there any more to see to it.
        ray.actor.exit_actor()  # type: ignore[no-untyped-call]

    def _view(self) -> View:
        version, record = self._news.version, self._record
        slots = tuple(sorted(shown(self._controller.slots.copy().values()), key=_by_number))
        self._signatures.update(signatures_of(slots))
        return View(
            version,
            record.plan,
            record.generation,
            record.served,
            record.drained,
            slots,
            os.getpid(),
            self._signatures,
            record.asleep,
            self._scaler.shown() if self._scaler and record.plan.deployment.autoscale else None,
            record.losses.told(record.plan),
            frozenset(self._survivors.pending.copy()),
            tuple(self._controller.plugged),
            package_version(),
            not self._work.done(),
        )

    def _has_changed(self, work: "Future[None]") -> None:
        error = None if work.cancelled() else work.exception()
        if error is None:
            self._journal.tell("change", "change ended")
        else:
            self._journal.tell("change", f"change stopped: {error}", level=logging.ERROR)

    def _has_settled(self, work: "Future[None]") -> None:
        """All cards serve what they should: from now on whatever fails is tried again."""
        if not work.cancelled() and work.exception() is None:
            with self._lock:
                if self._record.changing or not self._record.served:
                    self._put(replace(self._record, served=True, changing=False))
            self._survivors.resume().add_done_callback(lambda _: self._news.post())

    def _begin_change(self) -> "Future[None]":
        return beside("orchestrator-change", self._carry_out)

    def _carry_out(self) -> None:
        """From what the cards hold to what the plan wants, step by step."""
        record, controller = self._record, self._controller
        self._follow_the_work()
        self._news.post()
        if record.asleep:
            give_back_all(controller)
        else:
            held = orders_held(controller.slots.values(), record.drained)
            carry_out(controller, record.plan, held, self._empty_slot)
            for name, slot in lost_slots(self._record).items():
                if name not in controller.slots:  # for whoever wants them back
                    controller.install(slot)
        self._news.post()

    def _empty_slot(self, name: str, order: CardOrder) -> Slot:
        """As of now: it may have been drained since the change began."""
        return empty_slot(self._record, name, order)

    def _follow_the_work(self) -> None:
        """Look after the number of cards, from the first plan on that wants that."""
        if self._scaler is None and self._record.plan.deployment.autoscale is not None:
            self._scaler = Scaler(self, who=namespace_of(self._record.name))
            self._scaler.start()


def _by_number(slot: Slot) -> tuple[str, int]:
    """In the order in which people count, whatever was lost and came back."""
    return slot_parts(slot.name) or (slot.name, 0)
