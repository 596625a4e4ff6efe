"""Measure one model in a throw-away process: what it takes, and how long it runs. Stores nothing.

A process of its own, because a card's memory comes back only with the end of the process, and a
failed build spoils it. ``python -m actors.probe JOB ANSWER`` is that process; both are pickles.
"""

import pickle
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from actors import device
from actors.accounts import resident_bytes
from actors.copies import copy_milliseconds
from actors.diagnosis import WEIGHTLESS
from actors.differences import (
    CALLS,
    made_up,
    measure_ge,
    measure_on_card,
    measure_on_host,
    measure_session,
)
from actors.errors import LoadError, OrchestratorError, PredictError
from actors.files.compiled import CompiledError, compiled_sizes
from actors.files.modelfiles import model_bytes
from actors.lite import EmulatedCard, LiteCard, ModelObject, library_name, load_library
from actors.machine import npusmi
from actors.machine.child import ChildError, run_module
from actors.machine.gauge import open_gauge
from actors.machine.hostmemory import HostWatch
from actors.machine.leaving import leave
from actors.memory import ASCEND, AllocationRule, Footprint
from actors.messages import CardKind, GearMeasurement, Measurement, ModelOrder
from actors.shapes import Gear, describe

#: What messages call the card of a measurement.
SLOT = "probe"
#: More than any model takes: a measurement must not fail for want of room.
ROOM = 1 << 50


@dataclass(frozen=True)
class Job:
    """What the throw-away process is told: one model, or the models of one GE session."""

    orders: tuple[ModelOrder, ...]
    kind: CardKind
    rule: AllocationRule
    device_id: int
    npu_id: str
    session: bool = False

    @property
    def order(self) -> ModelOrder:
        """The one model."""
        return self.orders[0]


def measure(
    order: ModelOrder,
    *,
    kind: CardKind,
    rule: AllocationRule = ASCEND,
    device_id: int = 0,
    npu_id: str = "",
    timeout_seconds: float = 900.0,
) -> Measurement:
    """Measure a model in a spawned process; works from scripts, tests and Ray workers alike.

    On kind ascend the card must be idle; ``npu_id`` is what npu-smi calls it, the only card that
    the process will see. Sizes are bytes before rounding; ``execute_ms`` is the median of a few
    calls, without copies on an emulated card, less an estimate of them on a real one that has
    pyACL, and with them elsewhere. One of which only the library finds that it has no weights is
    measured anew, in no group.

    Raises:
        LoadError: the model does not load or run, the process died, it took too long, somebody
            else uses the card, or nobody tells its free memory.
        LibraryError: the library of this card kind is not installed.
    """
    job = Job((order,), kind, rule, device_id, npu_id)
    try:
        found = _asked(job, timeout_seconds)
    except LoadError as error:
        if WEIGHTLESS not in error.problem:
            raise
        unshared = replace(order, footprint=Footprint(order.name, weights=0, workspace=0, io=0))
        found = _asked(replace(job, orders=(unshared,)), timeout_seconds)
    if not isinstance(found, Measurement):
        raise TypeError(f"a probe answered {type(found)}")
    return found


def measure_together(
    orders: Sequence[ModelOrder],
    *,
    kind: CardKind,
    rule: AllocationRule = ASCEND,
    device_id: int = 0,
    npu_id: str = "",
    timeout_seconds: float = 900.0,
) -> int:
    """The peak of models of provider ge in one session, in final bytes; as ``measure`` otherwise.

    Raises:
        LoadError, LibraryError: as ``measure``; or the models cannot be one session.
    """
    found = _asked(Job(tuple(orders), kind, rule, device_id, npu_id, True), timeout_seconds)
    if not isinstance(found, int):
        raise TypeError(f"a probe answered {type(found)}")
    return found


def _asked(job: Job, timeout_seconds: float) -> object:
    with tempfile.TemporaryDirectory(prefix="ascend-probe-") as folder:
        told, answer = Path(folder, "job"), Path(folder, "answer")
        told.write_bytes(pickle.dumps(job))
        sees = {device.VISIBLE: device.number_of(job.npu_id)} if job.npu_id else {}
        problem = _run([str(told), str(answer)], timeout_seconds, sees)
        if problem or not answer.exists():
            order = job.order
            raise LoadError(SLOT, order.name, order.path, problem or "measuring left no answer")
        found: object = pickle.loads(answer.read_bytes())
    if isinstance(found, OrchestratorError):
        raise found
    return found


def _run(arguments: Sequence[str], timeout_seconds: float, env: Mapping[str, str]) -> str:
    """Run the throw-away process; what went wrong, or nothing."""
    try:
        run_module("actors.probe", arguments, timeout_seconds=timeout_seconds, env=env)
    except ChildError as error:
        return f"measuring {error}"
    return ""


def main(job_path: str, answer_path: str) -> None:
    """The throw-away process: a Measurement or an error of ours goes into the answer."""
    job: Job = pickle.loads(Path(job_path).read_bytes())
    try:
        answer: Measurement | int | OrchestratorError = _measure(job)
    except OrchestratorError as error:
        answer = error
    Path(answer_path).write_bytes(pickle.dumps(answer))
    leave()


def _measure(job: Job) -> Measurement | int:
    if job.kind == "emulated" and not job.session:
        return _measure_emulated(job)
    try:
        return _measure_session(job) if job.session else _measure_genuine(job)
    except PredictError as error:
        raise LoadError(SLOT, job.order.name, job.order.path, str(error)) from error


def _measure_session(job: Job) -> int:
    """The same on every kind: by what the card has left."""
    if job.kind == "ascend":
        device.require(job.device_id)
        _idle_bytes(job)
    emulated = EmulatedCard(ROOM, rule=job.rule)
    library = load_library(job.kind, device_id=job.device_id, emulated=emulated, uses_ge=True)
    gauge = open_gauge(job.kind, library, job.device_id, job.npu_id)
    return measure_session(job.orders, LiteCard(library, job.kind, SLOT, job.device_id), gauge)


def _measure_genuine(job: Job) -> Measurement:
    """By what the card, or for kind cpu this process, has left after each step."""
    nothing = None
    if job.kind == "ascend":
        device.require(job.device_id)
        nothing = _idle_bytes(job)
    is_ge = job.order.provider == "ge"
    library = load_library(job.kind, device_id=job.device_id, uses_ge=is_ge)
    card = LiteCard(library, job.kind, SLOT, job.device_id)
    name, host = library_name(library), HostWatch()
    if job.kind == "cpu":
        found = measure_on_host(job.order, card, resident_bytes, name)
        return replace(found, host=host.found())
    gauge = open_gauge(job.kind, library, job.device_id, job.npu_id)
    if is_ge:
        weights = model_bytes(job.order.path, job.kind)
        found = measure_ge(job.order, card, gauge, job.rule, name, weights)
    else:
        found = measure_on_card(job.order, card, gauge, job.rule, name, nothing)
    found = without_copies(replace(found, host=host.found()), job.npu_id)
    return found if is_ge else _at_least_compiled(job, found)


def without_copies(found: Measurement, npu_id: str) -> Measurement:
    """Copies kept apart from execution, as far as they take at least what the same bytes do.

    Where a copy alone seems to take longer than the whole call, that gear is left as it is.
    """
    split = len(found.inputs)
    sizes = [(gear.tensor_bytes[:split], gear.tensor_bytes[split:]) for gear in found.gears]
    copies = copy_milliseconds(sizes, npu_id)
    if len(copies) != len(found.gears):
        return found
    gears = tuple(
        replace(gear, execute_ms=gear.execute_ms - sum(ms), copy_in_ms=ms[0], copy_out_ms=ms[1])
        if sum(ms) < gear.execute_ms
        else gear
        for gear, ms in zip(found.gears, copies, strict=True)
    )
    return replace(found, gears=gears, copies_estimated=True)


def _at_least_compiled(job: Job, found: Measurement) -> Measurement:
    """No less than the compiled file itself names: what is free is also taken by others."""
    try:
        sizes = compiled_sizes(job.order.path, job.npu_id)
    except CompiledError:
        return found
    return replace(
        found,
        weight_bytes=max(found.weight_bytes, sizes.weights),
        streams=sizes.streams,
        gears=tuple(
            replace(gear, workspace_bytes=max(gear.workspace_bytes, sizes.workspace))
            for gear in found.gears
        ),
    )


def _idle_bytes(job: Job) -> int | None:
    """Free bytes before this process touches the card; None where npu-smi does not tell.

    Raises:
        LoadError: other processes are on the card.
    """
    mine = npusmi.read_card(job.npu_id)
    if mine is None:
        return None
    if mine.holders:
        told = ", ".join(f"{h.name} (pid {h.pid}) with {h.nbytes:,} bytes" for h in mine.holders)
        problem = f"card {job.npu_id} is not idle, so nothing can be measured on it: {told}"
        raise LoadError(SLOT, job.order.name, job.order.path, problem)
    return mine.free_bytes if mine.total_bytes else None


def _measure_emulated(job: Job) -> Measurement:
    """Declare and build as a card does; sizes from the emulator, times from its clock."""
    order = replace(job.order, threads=1)
    library = load_library(
        job.kind, device_id=job.device_id, emulated=EmulatedCard(ROOM, rule=job.rule)
    )
    host = HostWatch()
    card = LiteCard(library, job.kind, SLOT, job.device_id)
    card.declare([order])
    target = card.build(order)
    signature = target.signature
    sizes = library.calibration(order.path, order.config_path, order.config)
    if len(sizes.gears) != len(signature.gears):
        raise LoadError(
            SLOT,
            order.name,
            order.path,
            f"{len(signature.gears)} gears were declared and the model is built for "
            f"{len(sizes.gears)}: its configuration says otherwise",
        )
    own = order.config.get("emulated_card", {})
    gears = [
        GearMeasurement(
            gear=gear,
            workspace_bytes=found.workspace,
            tensor_bytes=found.tensor_bytes,
            execute_ms=_execute_ms(job, library, target, gear),
            copy_in_ms=float(own.get("copy_in_ms", 0)),
            copy_out_ms=float(own.get("copy_out_ms", 0)),
        )
        for gear, found in zip(signature.gears, sizes.gears, strict=True)
    ]
    return Measurement(
        weight_bytes=sizes.weight_bytes,
        object_bytes=0,
        streams=0,
        dynamic=signature.dynamic,
        inputs=signature.inputs,
        outputs=signature.outputs,
        gears=tuple(gears),
        library=library_name(library),
        host=host.found(),
    )


def _execute_ms(job: Job, library: ModuleType, target: ModelObject, gear: Gear) -> float:
    """Median of the card's execution time over a few calls; copies lie outside."""
    batch = made_up(target.signature, gear)
    spent: list[float] = []
    try:
        for _ in range(1 + CALLS):
            before = library.memory(job.device_id).busy_seconds
            target.predict(gear, batch, len)
            spent.append(library.memory(job.device_id).busy_seconds - before)
    except PredictError as error:
        order = job.order
        raise LoadError(SLOT, order.name, order.path, f"at {describe(gear)}: {error}") from error
    return statistics.median(spent[1:]) * 1e3


if __name__ == "__main__":
    main(*sys.argv[1:])
