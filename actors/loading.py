"""From an order to warm Model objects: everything that a card does before it answers.

In the order that the library needs: the planned bytes must fit, the card must be there, the library
is imported before other native ones, free memory is read and waited for, then all models are
declared and sized, built, and run once.
"""

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from actors import canary, device, diagnosis
from actors.accounts import others_bytes, planned
from actors.errors import CardError, DoesNotFitError, LoadError, PredictError
from actors.lite import EmulatedCard, LiteCard, load_library
from actors.machine import strangers, verdicts
from actors.machine.gauge import Gauge, Reading, open_gauge
from actors.memory import CardMemory, card_memory, require_fit
from actors.messages import NOTHING_SHARED, CardIdentity, CardOrder, ModelOrder
from actors.model_object import ModelObject
from actors.occupied import Occupied
from actors.recycled import Recycled
from actors.served import ServedModel
from actors.shapes import check_rule


@dataclass(frozen=True)
class Loaded:
    """A card's models, warm. ``idle``: its memory before the first of them; None: not measured.

    ``order`` is what was loaded: without a shared workspace where that was found not to be right.
    """

    order: CardOrder
    library: ModuleType
    gauge: Gauge
    idle: Reading | None
    objects: Mapping[str, Sequence[ModelObject]]
    served: Mapping[str, ServedModel]
    occupied: Occupied
    warnings: tuple[str, ...]


def load_models(
    order: CardOrder,
    identity: CardIdentity,
    devices: Path,
    on_built: Callable[[], None] | None = None,
) -> Loaded:
    """Load a card's whole model set. ``devices``: the folder of the cards' device files.

    Raises:
        DoesNotFitError: the planned bytes exceed the card, or what others leave of it.
        LoadError: a model could not be loaded. The process is of no further use.
        CardError: the library or the card is not there.
    """
    used = _require_fit(order)
    if order.kind == "ascend":
        device.require(identity.device_id, devices)
        _require_proven_mixture(order, identity.npu_id)
    ruling = canary.max_rule(order, identity.device_id, identity.npu_id)
    if not ruling.shares:
        order = replace(order, share_workspace=False)
        used = _require_fit(order, ruling.told)
    library = _library(order, identity)
    gauge = open_gauge(order.kind, library, identity.device_id, identity.npu_id)
    try:
        idle = _require_free(order, used, gauge, identity.npu_id)
        card = LiteCard(
            library,
            order.kind,
            order.slot,
            identity.device_id,
            lambda: situation(order, identity, used, gauge),
        )
        card.declare(order.models, order.share_workspace, order.mix_ge_and_acl)
        objects = {m.name: [card.build(m) for _ in range(m.threads)] for m in order.models}
        if on_built is not None:
            on_built()
        served = {m.name: _warm_up(order, m, objects[m.name]) for m in order.models}
        occupied, recycled = Occupied(), Recycled()
        for one in served.values():
            one.occupied, one.recycled = occupied, recycled
    except BaseException:
        gauge.close()
        raise
    told = [ruling.told] if ruling.told else []
    told += [NOTHING_SHARED] if order.kind == "cpu" else []
    return Loaded(order, library, gauge, idle, objects, served, occupied, (*told, *card.warnings))


def _library(order: CardOrder, identity: CardIdentity) -> ModuleType:
    """The library of this kind of card; an emulated one is set up as ordered."""
    emulated = EmulatedCard(
        capacity_bytes=order.capacity_bytes,
        overhead_bytes=order.overhead_bytes,
        release=order.release,
        rule=order.rule,
        memory_return=order.memory_return_seconds,
        name=f"{identity.node_id} {identity.npu_id or order.slot}",
    )
    uses_ge = any(model.provider == "ge" for model in order.models)
    return load_library(
        order.kind, device_id=identity.device_id, emulated=emulated, uses_ge=uses_ge
    )


def _require_proven_mixture(order: CardOrder, npu_id: str) -> None:
    """GE beside ACL runs only where verify-card has found on this node that it works."""
    mixed = [model for model in order.models if model.provider == "ge"]
    if not order.mix_ge_and_acl or not 0 < len(mixed) < len(order.models):
        return
    where = verdicts.combination(npu_id)
    found = verdicts.find(verdicts.MIXTURE, where)
    problem = diagnosis.unproven_mixture(where, found)
    if problem:
        raise LoadError(order.slot, mixed[0].name, mixed[0].path, problem)


def _require_fit(order: CardOrder, why: str = "") -> CardMemory:
    """The planned bytes, which must fit; ``why`` they are other than the plan's."""
    used = card_memory(planned(order), order.overhead_bytes)
    try:
        require_fit(order.slot, used, order.capacity_bytes, order.reserve_bytes)
    except DoesNotFitError as error:
        if not why:
            raise
        told = f"{why}. Plan again with sharing: {{workspace: false}}"
        left = order.capacity_bytes - order.reserve_bytes
        raise DoesNotFitError(order.slot, used.total, left, used.parts(), told) from error
    return used


def situation(
    order: CardOrder, identity: CardIdentity, used: CardMemory, gauge: Gauge
) -> tuple[str, ...]:
    """Where something failed, and the bytes planned and free there, for its error."""
    try:
        free = gauge.read()
    except CardError:  # the card answers no more; what it said before is better than nothing
        free = gauge.latest
    return (
        f"node {socket.gethostname()}, npu {identity.npu_id or 'unknown'}, "
        f"device_id {identity.device_id}",
        f"planned {used.total:,} bytes ({used.parts()}) of {order.capacity_bytes:,}",
        "free bytes were not measured" if free is None else str(free),
    )


def _require_free(order: CardOrder, used: CardMemory, gauge: Gauge, npu_id: str) -> Reading | None:
    """The card's memory before its models: what others hold, they have; what ended gives back.

    The memory of a process that was killed comes back late, so it is waited for before what is
    missing is taken for somebody else's; unless what strangers are seen to hold is too much anyway.
    The process's own context is there already.
    """
    own = order.overhead_bytes
    needed = used.total - own + order.reserve_bytes
    idle = gauge.read()
    if idle is None or idle.free >= needed:
        return idle
    strange = strangers.holders(npu_id) if order.kind == "ascend" else ()
    most = order.capacity_bytes - order.reserve_bytes - sum(h.nbytes for h in strange)
    waited = order.memory_wait_seconds if used.total <= most else 0.0
    idle = gauge.wait_for(needed, waited)
    if idle is not None and idle.free < needed:
        told = "".join(f", {h.name} (pid {h.pid}) {h.nbytes:,} of them" for h in strange)
        raise DoesNotFitError(
            order.slot,
            used.total,
            idle.free + own - order.reserve_bytes,
            used.parts(),
            f"others hold {others_bytes(order, idle):,} of the {order.capacity_bytes:,} bytes "
            f"that it has when idle ({idle.source}){told}, still after {waited:g} s: end them, or "
            "plan with a smaller cards.capacity",
        )
    return idle


def _warm_up(order: CardOrder, model: ModelOrder, objects: Sequence[ModelObject]) -> ServedModel:
    """Run every gear once and the largest on every Model object, before anybody waits."""
    try:
        check_rule(objects[0].signature, model.batching)
        served = ServedModel(model, objects[0].signature, order.slot)
        for index, target in enumerate(objects):
            served.warm_up(target, every_gear=index == 0)
    except ValueError as error:
        raise LoadError(order.slot, model.name, model.path, str(error)) from error
    except PredictError as error:
        problem = f"its first run failed: {error.problem}"
        raise LoadError(order.slot, model.name, model.path, problem) from error
    return served
