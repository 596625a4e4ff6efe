"""A card's bytes: what its order plans, and what its library and the operating system measure."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from actors.errors import LoadError
from actors.machine.gauge import Reading
from actors.memory import Footprint, card_memory, unshared
from actors.messages import CardOrder, MemoryReport, ModelMemory, ModelOrder


def planned(order: CardOrder) -> tuple[Footprint, ...]:
    """The footprint of each model as this card will really share it.

    Nothing is shared on kind ``cpu``, and no workspace where the plan gave up sharing it.

    Raises:
        LoadError: a model without planned bytes.
    """
    return tuple(_planned(order, model) for model in order.models)


def _planned(order: CardOrder, model: ModelOrder) -> Footprint:
    if model.footprint is None:
        raise LoadError(order.slot, model.name, model.path, "its order has no planned bytes")
    charged = replace(
        model.footprint,
        threads=model.threads,
        dynamic=model.dynamic,
        share_weights=model.share_weights,
        share_workspace=model.share_workspace and order.share_workspace,
        widens_workspace=model.shares_weights_alone and not model.dynamic,
    )
    return unshared(charged) if order.kind == "cpu" else charged


def memory_report(
    order: CardOrder, library: ModuleType, device_id: int, idle: Reading | None, now: Reading | None
) -> MemoryReport:
    """Planned against measured bytes of a card whose models are built.

    ``idle`` and ``now``: its free memory before the first model, and at last. The process's own
    context was there before both, so it is taken to be what the plan says.
    """
    footprints = planned(order)
    ledger = card_ledger(order.kind, library, device_id)
    by_path = {} if ledger is None else _by_path(ledger.models)
    return MemoryReport(
        slot=order.slot,
        planned=card_memory(footprints, order.overhead_bytes),
        unshared=card_memory(map(unshared, footprints), order.overhead_bytes),
        measured=None if ledger is None else ledger.card_memory,
        capacity_bytes=order.capacity_bytes,
        reserve_bytes=order.reserve_bytes,
        resident_bytes=resident_bytes(),
        engine_bytes=0 if ledger is None else ledger.engine_bytes,
        models=tuple(
            ModelMemory(footprint, *by_path.get(model.path, (None, None, None)))
            for model, footprint in zip(order.models, footprints, strict=True)
        ),
        measured_bytes=order.overhead_bytes + idle.free - now.free if idle and now else None,
        others_bytes=others_bytes(order, idle),
        source=now.source if idle and now else "not measured",
    )


def others_bytes(order: CardOrder, idle: Reading | None) -> int:
    """What others hold of a card's capacity before its first model; 0 where nobody can tell."""
    if idle is None:
        return 0
    return max(order.capacity_bytes - order.overhead_bytes - idle.free, 0)


def card_ledger(kind: str, library: ModuleType, device_id: int) -> Any | None:  # noqa: ANN401 - no types
    """The emulator's ledger of a card; None for the genuine library, which tells nothing."""
    return library.memory(device_id) if kind == "emulated" else None


def busy_share(kind: str, library: ModuleType, device_id: int) -> Callable[[], float | None]:
    """What part of the time from now on a card executes; None where the library does not tell."""
    began = time.monotonic()

    def busy_seconds() -> float | None:
        ledger = card_ledger(kind, library, device_id)
        return None if ledger is None else float(ledger.busy_seconds)

    before = busy_seconds() or 0.0

    def share() -> float | None:
        busy, wall = busy_seconds(), time.monotonic() - began
        return None if busy is None else (busy - before) / wall if wall > 0 else 0.0

    return share


def resident_bytes() -> int:
    """Resident memory of this process as Linux counts it; 0 where it does not tell."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return 0
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _by_path(entries: Iterable[Any]) -> Mapping[str, tuple[int, int | None, int]]:
    """Weights, private workspace (None: it has none) and io of each path, over its objects."""
    sums: dict[str, tuple[int, int, int]] = {}
    for entry in entries:
        weights, private, io = sums.get(entry.path, (0, 0, 0))
        sums[entry.path] = weights + entry.weights, private + entry.private, io + entry.io
    return {path: (weights, private or None, io) for path, (weights, private, io) in sums.items()}
