"""The Ray actor of a named deployment's controller: it owns plan and health, and carries no data.

It starts from what was kept of the deployment and from what the cards report, be it for the first
time or after a crash: cards that serve are taken as they are, the others are started.
"""

import asyncio
import os
import secrets
import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from actors.shapes import Signature
from orchestrator.autoscale import Waiting
from orchestrator.errors import DeploymentError, NoSuchDeploymentError
from orchestrator.placement import DeploymentPlan, same_work
from orchestrator.runtime.changing import DRAIN_SECONDS, beside, carry_out, give_back_all
from orchestrator.runtime.controller import Controller
from orchestrator.runtime.inherited import (
    empty_slot,
    fleet_of,
    lost_slots,
    orders_held,
    planned_slots,
    serving_now,
)
from orchestrator.runtime.journal import Journal, log_events
from orchestrator.runtime.losses import Losses
from orchestrator.runtime.metrics import publish
from orchestrator.runtime.record import Record, kept
from orchestrator.runtime.samples import controller_samples
from orchestrator.runtime.scaler import Scaler
from orchestrator.runtime.scaling import Scaling
from orchestrator.runtime.slots import Slot, signatures_of
from orchestrator.runtime.survivors import Survivors

#: A driver that has heard nothing for so long asks again.
_FOLLOW_SECONDS = 20.0
#: A card that a driver could not reach, and that answers us within this time, is not replaced.
_ALIVE_SECONDS = 5.0
#: A driver that has not said for so long what it waits for is gone.
_LOAD_SECONDS = 10.0


@dataclass(frozen=True)
class View:
    """A deployment as its controller sees it. ``version`` differs whenever drivers must know.

    ``waits_for``: lost cards that others are to take over from. ``notes``: what came of that.
    """

    version: tuple[str, int]
    plan: DeploymentPlan
    generation: int
    served: bool
    drained: frozenset[str]
    slots: tuple[Slot, ...]
    pid: int
    signatures: Mapping[str, Signature]
    asleep: bool = False
    scaling: Scaling | None = None
    notes: tuple[str, ...] = ()
    waits_for: frozenset[str] = frozenset()


class ControllerHost:
    """What Ray runs in the controller's process. Its methods are called by any number of drivers.

    Raises:
        NoSuchDeploymentError: nothing is kept of it; it was taken down.
    """

    def __init__(self, name: str) -> None:
        record = Record.load(name)
        if record is None:
            raise NoSuchDeploymentError(name, kept())
        self._record = record
        self._lock = threading.Lock()
        self._version = (secrets.token_hex(4), 0)
        self._waiting: list[Future[None]] = []
        self._fleet = fleet_of(record)
        found = serving_now(self._fleet, record.drained)
        differs = any(
            slot not in record.plan.slots or not same_work(held.order, record.plan.orders(slot))
            for slot, held in found.items()
        )
        planned = {} if differs or record.asleep else planned_slots(record)
        slots = {**lost_slots(record), **planned, **found}
        self._survivors = Survivors(self)
        log_events()
        self._controller = Controller(slots.values(), self._fleet, journal=Journal(name))
        patient = record.served and not record.changing
        self._work = self._controller.start(self, patient=patient)
        if differs or (record.asleep and found):
            self._work = self._begin_change()
        self._work.add_done_callback(self._has_settled)
        self._signatures: dict[str, Signature] = {}
        self._loads: dict[str, tuple[float, Mapping[str, Waiting]]] = {}
        self._scaler: Scaler | None = None
        self._follow_the_work()
        self._over = threading.Event()
        publish(lambda: controller_samples(self._controller.slots.copy().values()), self._over)

    def serving(self, slot: str, life: int, card: object) -> None:
        """See Listener."""
        self._post()

    def down(self, slot: str, life: int, reason: str) -> None:
        """See Listener."""
        self._post()

    def give_up(self, slot: str, reason: str) -> None:
        """See Listener; once it has served, the others take over."""
        if self._record.served and not self._controller.slots[slot].refused:
            taken_over = self._survivors.gone(slot, reason)
            taken_over.add_done_callback(lambda _: self._post())
        self._post()

    async def view(self) -> View:
        """As it is now."""
        return self._view()

    async def follow(self, seen: tuple[str, int] | None) -> View | None:
        """The next view after that of version ``seen``; None if there was none for long."""
        news: Future[None] = Future()
        with self._lock:
            self._waiting = [one for one in self._waiting if not one.done()]
            if seen != self._version:
                news.set_result(None)
            else:
                self._waiting.append(news)
        try:
            await asyncio.wait_for(asyncio.wrap_future(news), _FOLLOW_SECONDS)
        except asyncio.TimeoutError:
            return None
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

    async def change(self, plan: DeploymentPlan, nodes: dict[str, str], generation: int) -> None:
        """Begin to replace card by card what differs; ``settled`` tells when that is over.

        Raises:
            DeploymentError: it changes already, or was changed since the caller looked.
        """
        with self._lock:
            before = self._record
            if (before.generation, before.plan.to_dict()) == (generation, plan.to_dict()):
                return  # asked again after a crash: it is under way
            if generation != before.generation + 1 or not self._work.done():
                text = "somebody else changes it: look with orchestrator status, and try again"
                raise DeploymentError(before.name, (text,))
            drained = before.drained & set(plan.slots)
            self._record = replace(
                before,
                plan=plan,
                nodes=nodes,
                generation=generation,
                drained=drained,
                changing=True,
                asleep=False,
                losses=Losses(),
            )
            for name in before.losses.lost:  # whoever changes it knows which cards there are
                self._controller.forget(name)
            self._record.save()
            self._work = self._begin_change()
        self._work.add_done_callback(self._has_settled)

    async def load(self, driver: str, waiting: Mapping[str, Waiting]) -> None:
        """What a driver waits for; it tells that again and again while it waits for something."""
        self._loads[driver] = time.monotonic(), waiting

    @property
    def plan(self) -> DeploymentPlan:
        """See Scaled."""
        return self._record.plan

    @property
    def asleep(self) -> bool:
        """See Scaled."""
        return self._record.asleep

    @property
    def nodes(self) -> Mapping[str, str]:
        """See Scaled."""
        return self._record.nodes

    @property
    def drained(self) -> Collection[str]:
        """See Scaled."""
        return self._record.drained | self._record.losses.lost.keys()

    @property
    def losses(self) -> Losses:
        """See Planned."""
        return self._record.losses

    @losses.setter
    def losses(self, losses: Losses) -> None:
        self._keep(losses=losses)

    def slots(self) -> list[Slot]:
        """See Scaled."""
        return list(self._controller.slots.values())

    def waiting(self) -> dict[str, Waiting]:
        """See Scaled."""
        oldest = time.monotonic() - _LOAD_SECONDS
        self._loads = {d: told for d, told in self._loads.copy().items() if told[0] > oldest}
        found: dict[str, Waiting] = {}
        for _, told in self._loads.values():
            for model, more in told.items():
                found[model] = found.get(model, Waiting()) + more
        return found

    def rescale(self, plan: DeploymentPlan | None, nodes: Mapping[str, str]) -> "Future[None]":
        """See Scaled; not while it changes anyway."""
        with self._lock:
            if not self._work.done():
                return self._work
            before = self._record
            if plan is None:
                self._record = replace(before, asleep=True)
            else:
                known = {name: node for name, node in before.nodes.items() if name in nodes}
                self._record = replace(
                    before,
                    plan=plan,
                    nodes={**known, **nodes},
                    generation=before.generation + 1,
                    changing=True,
                    asleep=False,
                )
            self._record.save()
            self._work = self._begin_change()
        self._work.add_done_callback(self._has_settled)
        return self._work

    async def drain(self, slots: tuple[str, ...]) -> None:
        """End these slots' processes when they have finished; none follows, crash or not."""
        self._keep(drained=self._record.drained | set(slots))
        retired = [self._controller.retire(slot, DRAIN_SECONDS) for slot in slots]
        await asyncio.gather(*map(asyncio.wrap_future, retired))

    async def undo(self, slots: tuple[str, ...]) -> None:
        """Start slots that were drained, or given up, again."""
        self._keep(drained=self._record.drained - set(slots))
        self._survivors.back(again := self._record.losses.lost.keys() & set(slots))
        for slot in set(slots) - again:
            self._controller.resume(slot)

    async def close(self, drain_seconds: float) -> None:
        """Let every card finish what it has, for at most so long, and end its process."""
        self._over.set()
        if self._scaler is not None:
            await asyncio.to_thread(self._scaler.close)
        if drain_seconds > 0:
            slots = list(self._controller.slots)
            retired = [self._controller.retire(slot, drain_seconds) for slot in slots]
            await asyncio.gather(*map(asyncio.wrap_future, retired))
        await asyncio.to_thread(self._controller.close, 0.0)

    def _view(self) -> View:
        with self._lock:
            version, record = self._version, self._record
        slots = tuple(slot.shown() for slot in list(self._controller.slots.values()))
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
        )

    def _post(self) -> None:
        """Let everybody who follows look again."""
        with self._lock:
            self._version = (self._version[0], self._version[1] + 1)
            waiting, self._waiting = self._waiting, []
        for news in waiting:
            if news.set_running_or_notify_cancel():
                news.set_result(None)

    def _has_settled(self, work: "Future[None]") -> None:
        """All cards serve what they should: from now on whatever fails is tried again."""
        if not work.cancelled() and work.exception() is None:
            with self._lock:
                if self._record.changing or not self._record.served:
                    self._record = replace(self._record, served=True, changing=False)
                    self._record.save()

    def _keep(self, **changes: Any) -> None:  # noqa: ANN401 - fields of a Record
        with self._lock:
            self._record = replace(self._record, **changes)
            self._record.save()

    def _begin_change(self) -> "Future[None]":
        return beside("orchestrator-change", self._carry_out)

    def _carry_out(self) -> None:
        """From what the cards hold to what the plan wants, step by step."""
        record, controller = self._record, self._controller
        self._follow_the_work()
        self._post()
        if record.asleep:
            give_back_all(controller)
        else:
            held = orders_held(controller.slots.values(), record.drained)
            carry_out(controller, record.plan, held, partial(empty_slot, record))
        self._post()

    def _follow_the_work(self) -> None:
        """Look after the number of cards, from the first plan on that wants that."""
        if self._scaler is None and self._record.plan.deployment.autoscale is not None:
            self._scaler = Scaler(self)
            self._scaler.start()
