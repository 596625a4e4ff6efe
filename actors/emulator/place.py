"""Where a build's memory comes from: the card's ledger, and the arena that its session runs in."""

import math
from pathlib import Path

from actors.emulator.arena import LARGEST, Arena, Engine
from actors.emulator.build import Order
from actors.emulator.device import LedgerEntry
from actors.emulator.registry import LIBRARY

#: Runs that overlap in one arena fragment it: T of them need up to this much more than T peaks.
SLACK = 1.3


def take(order: Order, number: int) -> Engine:
    """Charge one Model object to its card and give it an engine.

    What several objects share is taken first, and stays when the rest fails.

    Raises:
        DeviceFullError: the card has too little memory left.
        ValueError: the workspace is larger than an arena can be.
    """
    device, sharing = order.device, order.sharing
    with LIBRARY.building:
        if sharing.weights and sharing.key not in device.engines:
            _require_weights(order)
            device.charge(_shared_weights(order))
        if sharing.workspace:
            _require_room(order)
        _charge(order, number)
        try:
            engine = _engine(order, number)
        except Exception:
            device.discard(order.path, number)
            raise
        LIBRARY.alive.add(number)
        return engine


def grow(order: Order, number: int, engine: Engine) -> None:
    """Charge what a dynamic model needs at a new shape, and widen its arena.

    Raises:
        DeviceFullError: the card has too little memory left; nothing has changed.
    """
    with LIBRARY.building:
        _charge(order, number)
        _widen(order, engine)


def give_back(order: Order, number: int) -> None:
    """A Model is gone: its own memory comes back, shared memory with the last of all models."""
    with LIBRARY.lock:
        order.device.discard(order.path, number)
        if LIBRARY.alive == {number}:
            order.device.release_shared(order.path, order.sharing.key, order.sharing.owner)
            if order.sharing.session is not None:
                session = order.sharing.session
                order.device.discard(session.ledger_path, -session.number)
        LIBRARY.alive.discard(number)


def _charge(order: Order, number: int) -> None:
    """Charge one object. The memory of its GE session comes first, and stays if the rest fails."""
    device, session = order.device, order.sharing.session
    if session is not None and session.reuses_memory:
        device.charge(session.entry(device.rule, order.calibration.workspace_bytes))
        session.join(order.calibration.workspace_bytes)
    device.charge(_entry(order, number))


def _shared_weights(order: Order) -> LedgerEntry:
    """What the path's objects share: its weights, less those that its GE session has by name."""
    nbytes = order.calibration.weight_bytes
    if order.sharing.session is not None:
        nbytes -= order.sharing.session.held_bytes(order.onnx)
    return LedgerEntry(order.path, order.sharing.owner, weights=order.device.rule.alloc(nbytes))


def _entry(order: Order, number: int) -> LedgerEntry:
    rule, found, sharing = order.device.rule, order.calibration, order.sharing
    return LedgerEntry(
        path=order.path,
        object=number,
        weights=0 if sharing.weights else rule.alloc(found.weight_bytes),
        private=0
        if sharing.workspace or sharing.in_session_memory
        else rule.alloc(found.workspace_bytes),
        io=sum(rule.alloc(size) for size in found.tensor_bytes),
    )


def _require_weights(order: Order) -> None:
    """The first size recorded for a path stays, and ACL loads no more weights than that holds."""
    device, nbytes = order.device, order.calibration.weight_bytes
    sized = nbytes if order.sharing.session is not None else device.weight_bytes[order.path]
    if nbytes > sized:
        raise ValueError(
            f"Get weight mem failed! {order.path} has {nbytes:,} bytes, its first sizing saw "
            f"{sized:,}"
        )


def _require_room(order: Order) -> None:
    """Sizing saw what the model was compiled with; a build with other shapes may need more."""
    device = order.device
    if order.calibration.workspace_bytes > device.workspace_bytes:
        raise ValueError(
            f"Get work mem failed! {order.path} needs {order.calibration.workspace_bytes:,} bytes, "
            f"the workspace was sized to {device.workspace_bytes:,}"
        )
    device.shared_arena()


def _engine(order: Order, number: int) -> Engine:
    device, sharing = order.device, order.sharing
    if sharing.weights and sharing.key in device.engines:
        engine = device.engines[sharing.key]
        device.users[sharing.key] += 1
        _widen(order, engine)
        return engine
    if sharing.weights:
        device.users[sharing.key] = 1
    arena = _arena(order)
    onnx = order.onnx
    if sharing.session is not None and sharing.weights:
        onnx = sharing.session.serve(onnx)
    before = _resident()
    engine = arena.open(onnx)
    cost = max(0, _resident() - before - order.calibration.weight_bytes)
    device.note_engine(order.path, sharing.owner if sharing.weights else number, cost)
    if sharing.weights:
        device.engines[sharing.key] = engine
    return engine


def _arena(order: Order) -> Arena:
    sharing = order.sharing
    if sharing.workspace:
        return order.device.shared_arena()
    if sharing.session is not None and sharing.session.reuses_memory:
        return sharing.session.arena()
    return Arena(_private_bytes(order))


def _widen(order: Order, engine: Engine) -> None:
    """Widen a private arena. What it has beyond the ledger's peaks is the engine's own cost."""
    device, sharing = order.device, order.sharing
    size = _private_bytes(order)
    if not sharing.workspace and size > engine.arena.nbytes:
        objects = device.users.get(sharing.key, 1)
        engine.arena.resize(size)
        if sharing.weights:
            slack = size - objects * order.calibration.workspace_bytes
            device.note_slack(order.path, sharing.owner, max(0, slack))


def _private_bytes(order: Order) -> int:
    """Size of a private arena: the peak, or room for as many runs as may overlap.

    At most as many runs overlap as there are Model objects, since each is used by one at a time.
    """
    peak = max(order.calibration.workspace_bytes, 1)
    objects = order.device.users.get(order.sharing.key, 1)
    alone = order.sharing.locked or order.sharing.in_session_memory
    if alone or objects == 1 or peak > LARGEST:
        return peak
    return min(LARGEST, math.ceil(SLACK * objects * peak))


def _resident() -> int:
    """Resident bytes of this process that no file backs, so without the engine's own code."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    return (int(resident) - int(shared)) * 4096
