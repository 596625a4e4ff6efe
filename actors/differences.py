"""A model's sizes from what is free on its card before and after: builds, runs, all gears.

Nobody tells the size of a workspace, so the model is built five times in one process that has the
card to itself: twice from a path that shares weights alone (the library takes another spelling for
another model), thrice from one that shares all there is to share. What each build takes is a sum of
the same few parts, and so the parts follow.
"""

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from actors.errors import LoadError
from actors.files.modelfiles import model_bytes, weightless
from actors.lite import LiteCard, ModelObject
from actors.machine.gauge import Gauge
from actors.memory import AllocationRule
from actors.messages import GearMeasurement, Measurement, ModelOrder
from actors.shapes import Array, Gear, Signature

#: Runs at the largest gear, after which memory that grows is seen.
RUNS = 200
#: Timed calls per gear, after one that is not timed.
CALLS = 3


@dataclass(frozen=True)
class Steps:
    """Free bytes of the card after each step.

    ``nothing``: before the process touched it; None where only pyACL can tell. ``device``: with the
    process's context. ``apart``: after each build that shares weights alone. ``built``: after each
    build that shares what the model can share. ``first_run``: the least during the first runs at
    the largest gear. ``runs``: after many. ``gears``: after every gear in random order.
    """

    nothing: int | None
    device: int
    apart: tuple[int, int]
    built: tuple[int, int, int]
    first_run: int
    runs: int
    gears: int


@dataclass(frozen=True)
class Parts:
    """What follows from the steps, before rounding; ``overhead`` None where it was not seen."""

    weights: int
    workspace: int
    object_bytes: int
    overhead: int | None
    drift: int


def parts_of(steps: Steps, tensors: Sequence[int], rule: AllocationRule, *, dynamic: bool) -> Parts:
    """Solve for the parts. ``tensors``: bytes of each input and output at its largest.

    A build apart takes workspace + io + object (the weights are there since the first), a shared
    one io + object, and the first shared one the weights and the workspace as well. A dynamic model
    takes its workspace while it runs; what a static one takes then belongs to the object.
    """
    private = steps.apart[0] - steps.apart[1]
    first = steps.apart[1] - steps.built[0]
    further = steps.built[1] - steps.built[2]
    lazily = steps.built[2] - steps.first_run
    beyond_io = further + lazily - sum(rule.alloc(nbytes) for nbytes in tensors)
    return Parts(
        weights=_unrounded(first - private, rule),
        workspace=_unrounded(beyond_io if dynamic else private - further, rule),
        object_bytes=0 if dynamic else max(beyond_io, 0),
        overhead=None if steps.nothing is None else max(steps.nothing - steps.device, 0),
        drift=steps.first_run - steps.gears,
    )


def measure_on_card(
    order: ModelOrder,
    card: LiteCard,
    gauge: Gauge,
    rule: AllocationRule,
    library: str,
    nothing: int | None = None,
    runs: int = RUNS,
) -> Measurement:
    """Measure a model on a card that this process has to itself. Sizes are before rounding.

    ``card``: nothing was declared on it. Times are of whole calls, copies included: the genuine
    library does not tell them apart. How the model will share says nothing here, but for one
    without weights, which the library refuses to group: each of its objects has a workspace.

    Raises:
        LoadError: the model does not load or run, or the card's memory cannot be read.
    """
    alone = weightless(order, card.kind)
    steps, target = _steps(order, card, partial(_free, gauge, order), nothing, runs)
    gears, tensors = _gears(target)
    parts = parts_of(steps, tensors, rule, dynamic=alone or target.signature.dynamic)
    found = _measurement(target, gears, parts.workspace, library, parts.weights, parts.object_bytes)
    return replace(found, overhead_bytes=parts.overhead, drift_bytes=parts.drift)


def _steps(
    order: ModelOrder,
    card: LiteCard,
    free: Callable[[], int],
    nothing: int | None,
    runs: int,
) -> tuple[Steps, ModelObject]:
    """Build and run step by step; the last Model object too."""
    device = free()
    together = replace(order, threads=3, share_weights=True, share_workspace=True)
    apart = replace(together, name=f"{order.name} apart", path=_respelt(order.path))
    card.declare([together, replace(apart, threads=2, share_workspace=False)])
    after: list[int] = []
    kept: list[ModelObject] = []
    for one in (apart, apart, together, together, together):
        kept.append(card.build(one))
        after.append(free())
    target = kept[-1]
    largest = max(target.signature.gears, key=_elements)
    lowest = min(_lowest(partial(run_gear, target, largest), free), free())
    for _ in range(runs):
        run_gear(target, largest)
    grown = free()
    gears = list(target.signature.gears)
    random.Random(0).shuffle(gears)
    for gear in gears:
        run_gear(target, gear)
    first = after[0], after[1]
    built = after[2], after[3], after[4]
    return Steps(nothing, device, first, built, lowest, grown, free()), target


#: Of a gear: its bytes of every tensor, and milliseconds of a call.
_Timed = tuple[Gear, tuple[int, ...], float]


def _gears(target: ModelObject) -> tuple[list[_Timed], tuple[int, ...]]:
    """Every gear timed, and the bytes of each tensor at its largest."""
    measured = [(gear, *timed(target, gear)) for gear in target.signature.gears]
    return measured, tuple(map(max, zip(*(found for _, found, _ in measured), strict=True)))


def _measurement(
    target: ModelObject,
    gears: Sequence[_Timed],
    workspace: int,
    library: str,
    weights: int,
    object_bytes: int = 0,
) -> Measurement:
    """What every way of measuring tells."""
    return Measurement(
        weight_bytes=weights,
        object_bytes=object_bytes,
        streams=0,
        dynamic=target.signature.dynamic,
        inputs=target.signature.inputs,
        outputs=target.signature.outputs,
        gears=tuple(GearMeasurement(gear, workspace, nbytes, ms) for gear, nbytes, ms in gears),
        library=library,
    )


def measure_ge(
    order: ModelOrder,
    card: LiteCard,
    gauge: Gauge,
    rule: AllocationRule,
    library: str,
    weights: int,
) -> Measurement:
    """Measure a GE model on a card that this process has to itself, in a session of its own.

    Two objects of it: the second takes its io alone, and the first the session's memory as well.
    How that divides into ``weights`` (bytes of the file) and workspace makes no sum any different.

    Raises:
        LoadError: the model does not load or run, or the card's memory cannot be read.
    """
    free = partial(_free, gauge, order)
    before = free()
    card.declare([replace(order, threads=2)])
    kept: list[ModelObject] = []
    lowest: list[int] = []
    for _ in range(2):
        kept.append(card.build(order))
        lowest.append(_lowest_of_runs(kept[-1], free))
    gears, tensors = _gears(kept[-1])
    each = lowest[0] - lowest[1]
    session = before - lowest[0] - each
    held = min(rule.alloc(weights), session)
    return _measurement(
        kept[-1],
        gears,
        _unrounded(session - held, rule),
        library,
        weights=_unrounded(held, rule),
        object_bytes=max(each - sum(map(rule.alloc, tensors)), 0),
    )


def measure_session(orders: Sequence[ModelOrder], card: LiteCard, gauge: Gauge) -> int:
    """The most that GE models take together, with all their threads, in one session: final bytes.

    They run one at a time, as the session's graphs must, each at all of its gears.

    Raises:
        LoadError: they do not load or run together, or the card's memory cannot be read.
    """
    free = partial(_free, gauge, orders[0])
    before = free()
    card.declare(orders)
    targets = [card.build(order) for order in orders for _ in range(order.threads)]
    return before - min(_lowest_of_runs(target, free) for target in targets)


def measure_on_host(
    order: ModelOrder, card: LiteCard, resident: Callable[[], int], library: str
) -> Measurement:
    """Measure a model on target cpu by the memory of this process, where nothing is shared.

    What a further Model object takes is its weights, taken to be the file, and its workspace, the
    rest. ``resident``: bytes of this process.

    Raises:
        LoadError: the model does not load or run.
    """
    order = replace(order, threads=1)
    card.declare([order])
    before, taken = resident(), 0
    for _ in range(3):
        target = card.build(order)
        run_gear(target, max(target.signature.gears, key=_elements))
        before, taken = resident(), resident() - before
    weights = model_bytes(order.path, "cpu")
    gears, _ = _gears(target)
    io = max(sum(found) for _, found, _ in gears)
    return _measurement(target, gears, max(taken - weights - io, 0), library, weights)


def run_gear(target: ModelObject, gear: Gear) -> tuple[int, ...]:
    """Run a gear once on made-up inputs; the bytes of every input and output."""
    batch = made_up(target.signature, gear)
    outputs = target.predict(gear, batch, lambda found: [a.nbytes for a in found.values()])
    return tuple([array.nbytes for array in batch] + outputs)


def timed(target: ModelObject, gear: Gear) -> tuple[tuple[int, ...], float]:
    """Bytes of every input and output of a gear, and the median milliseconds of a call."""
    found = run_gear(target, gear)
    batch = made_up(target.signature, gear)
    spent = []
    for _ in range(CALLS):
        started = time.perf_counter()
        target.predict(gear, batch, len)
        spent.append(time.perf_counter() - started)
    return found, statistics.median(spent) * 1e3


def made_up(signature: Signature, gear: Gear) -> list[Array]:
    """Floats in [0, 1) from a seed, anything else 0, which is safe as an index."""
    rng = np.random.default_rng(0)
    return [
        rng.random(shape).astype(spec.dtype)
        if np.dtype(spec.dtype).kind == "f"
        else np.zeros(shape, spec.dtype)
        for spec, (_, shape) in zip(signature.inputs, gear.inputs, strict=True)
    ]


def _free(gauge: Gauge, order: ModelOrder) -> int:
    found = gauge.read()
    if found is None:
        told = "nobody tells this card's free memory (pyACL, npu-smi): give sizes"
        raise LoadError("probe", order.name, order.path, told)
    return found.free


def _lowest_of_runs(target: ModelObject, free: Callable[[], int]) -> int:
    """The least that was free while every gear ran once, or afterwards."""
    runs = [_lowest(partial(run_gear, target, gear), free) for gear in target.signature.gears]
    return min(*runs, free())


def _lowest(work: Callable[[], object], free: Callable[[], int]) -> int:
    """The least that was free while ``work`` ran: what a run allocates it may give back."""
    readings = [free()]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work)
        while not running.done():
            readings.append(free())
        running.result()
    return min(readings)


def _respelt(path: str) -> str:
    """The same file under a path that the library takes for another model's."""
    file = Path(path)
    return f"{file.parent}/./{file.name}"


def _elements(gear: Gear) -> int:
    return sum(math.prod(shape) for _, shape in gear.inputs)


def _unrounded(nbytes: int, rule: AllocationRule) -> int:
    """What an allocation that took so many bytes was asked for, at most."""
    asked = max(nbytes - rule.pad, 0)
    return min(asked, rule.large_above) if nbytes <= rule.alloc(rule.large_above) else asked
