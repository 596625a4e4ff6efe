"""The Ray actor of a named deployment's controller: it owns plan and health, and carries no data.

It starts from what was kept of the deployment and from what the cards report, be it for the first
time or after a crash: cards that serve are taken as they are, the others are started.
"""

import asyncio
import os
import secrets
import threading
import time
from collections.abc import Collection, Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace

from actors.messages import CardOrder
from orchestrator.dispatch import TransportRules
from orchestrator.errors import DeploymentError, NoSuchDeploymentError
from orchestrator.placement import DeploymentPlan, order_of, same_work, transition
from orchestrator.runtime.controller import Controller
from orchestrator.runtime.fleet import Fleet
from orchestrator.runtime.journal import Journal, log_events
from orchestrator.runtime.metrics import publish
from orchestrator.runtime.record import Record, kept
from orchestrator.runtime.samples import controller_samples
from orchestrator.runtime.slots import Slot, SlotState

#: A driver that has heard nothing for so long asks again.
_FOLLOW_SECONDS = 20.0
#: A card that does not say in time what it holds is replaced.
_HELD_SECONDS = 30.0
#: A card that a driver could not reach, and that answers us within this time, is not replaced.
_ALIVE_SECONDS = 5.0
#: What a card that is to be replaced may take to finish what it has.
_DRAIN_SECONDS = 30.0
#: The calls of so many drivers are on a card at once; those of further ones wait before it.
_DRIVERS = 4
_MOST_THREADS = 64


def namespace_of(name: str) -> str:
    """The Ray namespace of a deployment's actors."""
    return f"ascend-orchestrator-{name}"


@dataclass(frozen=True)
class View:
    """A deployment as its controller sees it. ``version`` differs whenever drivers must know."""

    version: tuple[str, int]
    plan: DeploymentPlan
    generation: int
    served: bool
    drained: frozenset[str]
    slots: tuple[Slot, ...]
    pid: int


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
        self._fleet = _fleet(record)
        found = _found(self._fleet, record.drained)
        differs = any(
            slot not in record.plan.slots or not same_work(held.order, record.plan.orders(slot))
            for slot, held in found.items()
        )
        slots = found if differs else {**_planned(record), **found}
        log_events()
        self._controller = Controller(slots.values(), self._fleet, journal=Journal(name))
        patient = record.served and not record.changing
        self._work = self._controller.start(self, patient=patient)
        if differs:
            self._work = self._begin_change()
        self._work.add_done_callback(self._has_settled)
        self._over = threading.Event()
        publish(lambda: controller_samples(self._controller.slots.copy().values()), self._over)

    def serving(self, slot: str, life: int, card: object) -> None:
        """See Listener."""
        self._post()

    def down(self, slot: str, life: int, reason: str) -> None:
        """See Listener."""
        self._post()

    def give_up(self, slot: str, reason: str) -> None:
        """See Listener."""
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
            )
            self._record.save()
            self._work = self._begin_change()
        self._work.add_done_callback(self._has_settled)

    async def drain(self, slots: tuple[str, ...]) -> None:
        """End these slots' processes when they have finished; none follows, crash or not."""
        self._keep_drained(self._record.drained | set(slots))
        retired = [self._controller.retire(slot, _DRAIN_SECONDS) for slot in slots]
        await asyncio.gather(*map(asyncio.wrap_future, retired))

    async def undo(self, slots: tuple[str, ...]) -> None:
        """Start slots that were drained, or given up, again."""
        self._keep_drained(self._record.drained - set(slots))
        for slot in slots:
            self._controller.resume(slot)

    async def close(self, drain_seconds: float) -> None:
        """Let every card finish what it has, for at most so long, and end its process."""
        self._over.set()
        if drain_seconds > 0:
            slots = list(self._controller.slots)
            retired = [self._controller.retire(slot, drain_seconds) for slot in slots]
            await asyncio.gather(*map(asyncio.wrap_future, retired))
        await asyncio.to_thread(self._controller.close, 0.0)

    def _view(self) -> View:
        with self._lock:
            version, record = self._version, self._record
        slots = tuple(slot.shown() for slot in list(self._controller.slots.values()))
        return View(
            version,
            record.plan,
            record.generation,
            record.served,
            record.drained,
            slots,
            os.getpid(),
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

    def _keep_drained(self, drained: Collection[str]) -> None:
        with self._lock:
            self._record = replace(self._record, drained=frozenset(drained))
            self._record.save()

    def _begin_change(self) -> "Future[None]":
        done: Future[None] = Future()

        def carry_out() -> None:
            try:
                self._carry_out()
            except BaseException as error:  # CancelledError too: the deployment was closed
                done.set_exception(error)
            else:
                done.set_result(None)

        threading.Thread(target=carry_out, name="orchestrator-change", daemon=True).start()
        return done

    def _carry_out(self) -> None:
        """From what the cards hold to what the plan wants, step by step."""
        record, controller = self._record, self._controller
        self._fleet.data_threads = _data_threads(record)
        self._post()
        held = orders_held(controller.slots.values(), record.drained)
        for step in transition(held, record.plan).steps:
            if step.action in ("drain", "start"):  # a start finds nothing to end after its drain
                controller.retire(step.card, _DRAIN_SECONDS).result()
            if step.action == "start":
                slot = _empty_slot(record, step.card, order_of(step, record.plan))
                controller.install(slot).result()
        for name, slot in list(controller.slots.items()):
            if name in record.plan.slots:
                slot.order = record.plan.orders(name)
            else:
                controller.forget(name)
        self._post()


def orders_held(slots: Iterable[Slot], drained: Collection[str]) -> dict[str, CardOrder]:
    """What the cards hold, or would if they were not drained or just being replaced."""
    nothing = {SlotState.STOPPED, SlotState.DRAINED}
    return {
        slot.name: slot.order
        for slot in slots
        if slot.name in drained or not (slot.lost or slot.state in nothing)
    }


def _fleet(record: Record) -> Fleet:
    cards = record.plan.deployment.cards
    # The clock makes lives differ from those of every controller before.
    first_life = int(time.time() * 1000)
    home = namespace_of(record.name)
    return Fleet(cards.resource, cards.kind, _data_threads(record), home, first_life)


def _data_threads(record: Record) -> int:
    models = max(len(card.models) for card in record.plan.plan.cards)
    least = TransportRules().most_calls * models
    return max(least, min(least * _DRIVERS, _MOST_THREADS))


def _found(fleet: Fleet, drained: Collection[str]) -> dict[str, Slot]:
    """The slots that are served already; processes that serve none, or should not, are ended."""
    processes = fleet.found()
    asked = [process.held() for process in processes]
    wait(asked, _HELD_SECONDS)
    found: dict[str, Slot] = {}
    for process, answer in zip(processes, asked, strict=True):
        held = answer.result() if answer.done() and answer.exception() is None else None
        if held is None or held.order.slot in found or held.order.slot in drained:
            process.kill()
            continue
        process.label = held.order.slot
        identity = held.report.identity
        found[process.label] = Slot(
            process.label,
            identity.node_id,
            held.order,
            SlotState.READY,
            process.life,
            process,
            identity,
            held.report,
        )
    return found


def _planned(record: Record) -> dict[str, Slot]:
    return {name: _empty_slot(record, name, record.plan.orders(name)) for name in record.plan.slots}


def _empty_slot(record: Record, name: str, order: CardOrder) -> Slot:
    slot = Slot(name, record.node_id(name), order)
    if name in record.drained:
        slot.state, slot.why = SlotState.DRAINED, "it was drained"
    return slot
