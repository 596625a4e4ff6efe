"""The slots of a named deployment: as planned, as they serve, and as a change of it finds them."""

import time
from collections.abc import Collection, Iterable
from concurrent.futures import wait

from actors.messages import CardOrder
from orchestrator.runtime.cards.fleet import Fleet
from orchestrator.runtime.cards.history import History
from orchestrator.runtime.cards.record import Record
from orchestrator.runtime.cards.slots import Slot, SlotState

#: A card that does not say in time what it holds is replaced.
_HELD_SECONDS = 30.0


def namespace_of(name: str) -> str:
    """The Ray namespace of a deployment's actors."""
    return f"ascend-orchestrator-{name}"


def orders_held(slots: Iterable[Slot], drained: Collection[str]) -> dict[str, CardOrder]:
    """What the cards hold, or would if they were not drained or just being replaced."""
    nothing = {SlotState.STOPPED, SlotState.DRAINED}
    return {
        slot.name: slot.order
        for slot in slots
        if slot.name in drained or not (slot.lost or slot.state in nothing)
    }


def fleet_of(record: Record) -> Fleet:
    """Starts its processes, detached."""
    cards = record.plan.deployment.cards
    # The clock makes lives differ from those of every controller before.
    first_life = int(time.time() * 1000)
    home = namespace_of(record.name)
    return Fleet(cards.resource, cards.kind, home, first_life)


def serving_now(fleet: Fleet, record: Record) -> dict[str, Slot]:
    """The slots that are served already; processes that serve none, or should not, are ended."""
    empty = record.drained | record.losses.lost.keys()
    processes = fleet.found()
    asked = [process.held() for process in processes]
    wait(asked, _HELD_SECONDS)
    found: dict[str, Slot] = {}
    for process, answer in zip(processes, asked, strict=True):
        held = answer.result() if answer.done() and answer.exception() is None else None
        if held is None or held.order.slot in found or held.order.slot in empty:
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
            history=record.histories.get(process.label, History()),
        )
    return found


def planned_slots(record: Record) -> dict[str, Slot]:
    """All slots of its plan, without processes."""
    return {name: empty_slot(record, name, record.plan.orders(name)) for name in record.plan.slots}


def lost_slots(record: Record) -> dict[str, Slot]:
    """The slots that it does without."""
    whole = record.losses.whole
    known = {card.name for card in whole.problem.cards} if whole else set()
    cards = record.plan.deployment.cards
    return {
        name: empty_slot(
            record,
            name,
            whole.orders(name)
            if whole and name in known
            else CardOrder(name, cards.kind, 0, (), deployment=record.name),
        )
        for name in record.losses.lost
    }


def empty_slot(record: Record, name: str, order: CardOrder) -> Slot:
    """A slot without a process: one to start, unless it was drained or is lost."""
    loss = record.losses.lost.get(name)
    node_id = loss.node_id if loss else record.node_id(name)
    slot = Slot(name, node_id, order, history=record.histories.get(name, History()))
    if loss is not None:
        slot.state = SlotState.QUARANTINED if loss.quarantined else SlotState.GIVEN_UP
        slot.why = loss.why
    elif name in record.drained:
        slot.state, slot.why = SlotState.DRAINED, "it was drained"
    return slot
