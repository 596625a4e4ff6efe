"""Measure one model in a throw-away process: what it takes, and how long it runs. Stores nothing.

A process of its own, because a card's memory comes back only with the end of the process, and a
failed build spoils it. ``python -m actors.probe JOB ANSWER`` is that process; both are pickles.
"""

import os
import pickle
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from actors import device, npusmi
from actors.accounts import resident_bytes
from actors.compiled import CompiledError, compiled_sizes
from actors.differences import CALLS, made_up, measure_on_card, measure_on_host
from actors.errors import LoadError, OrchestratorError, PredictError
from actors.gauge import open_gauge
from actors.leaving import leave
from actors.lite import EmulatedCard, LiteCard, ModelObject, library_name, load_library
from actors.memory import ASCEND, AllocationRule
from actors.messages import CardKind, GearMeasurement, Measurement, ModelOrder
from actors.shapes import Gear, describe

#: What messages call the card of a measurement.
SLOT = "probe"
#: More than any model takes: a measurement must not fail for want of room.
ROOM = 1 << 50


@dataclass(frozen=True)
class Job:
    """What the throw-away process is told."""

    order: ModelOrder
    kind: CardKind
    rule: AllocationRule
    device_id: int
    npu_id: str


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

    On kind ascend the card must be idle; ``npu_id`` is its physical id, and the only one that the
    process will see. Sizes are bytes before rounding; ``execute_ms`` is the median of a few calls,
    without copies on an emulated card and with them elsewhere.

    Raises:
        LoadError: the model does not load or run, the process died, it took too long, somebody
            else uses the card, or nobody tells its free memory.
        LibraryError: the library of this card kind is not installed.
    """
    if order.provider == "ge" and kind == "ascend":
        told = "models of provider ge are not measured one by one: give its sizes"
        raise LoadError(SLOT, order.name, order.path, told)
    with tempfile.TemporaryDirectory(prefix="ascend-probe-") as folder:
        job, answer = Path(folder, "job"), Path(folder, "answer")
        job.write_bytes(pickle.dumps(Job(order, kind, rule, device_id, npu_id)))
        sees = {device.VISIBLE: npu_id} if npu_id else {}
        problem = _run([str(job), str(answer)], timeout_seconds, sees)
        if problem or not answer.exists():
            raise LoadError(SLOT, order.name, order.path, problem or "measuring left no answer")
        found = pickle.loads(answer.read_bytes())
    if isinstance(found, OrchestratorError):
        raise found
    if not isinstance(found, Measurement):
        raise TypeError(f"a probe answered {type(found)}")
    return found


def _run(arguments: Sequence[str], timeout_seconds: float, env: Mapping[str, str]) -> str:
    """Run the throw-away process; what went wrong, or nothing."""
    paths = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    try:
        child = subprocess.run(
            [sys.executable, "-m", "actors.probe", *arguments],
            env={**os.environ, **env, "PYTHONPATH": paths},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"measuring took longer than {timeout_seconds:g} s"
    if not child.returncode:
        return ""
    last = (child.stderr.strip().splitlines() or ["no message"])[-1]
    return f"the measuring process ended with status {child.returncode}: {last}"


def main(job_path: str, answer_path: str) -> None:
    """The throw-away process: a Measurement or an error of ours goes into the answer."""
    job: Job = pickle.loads(Path(job_path).read_bytes())
    try:
        answer: Measurement | OrchestratorError = _measure(job)
    except OrchestratorError as error:
        answer = error
    Path(answer_path).write_bytes(pickle.dumps(answer))
    leave()


def _measure(job: Job) -> Measurement:
    if job.kind == "emulated":
        return _measure_emulated(job)
    try:
        return _measure_genuine(job)
    except PredictError as error:
        raise LoadError(SLOT, job.order.name, job.order.path, str(error)) from error


def _measure_genuine(job: Job) -> Measurement:
    """By what the card, or for kind cpu this process, has left after each step."""
    nothing = None
    if job.kind == "ascend":
        device.require(job.device_id)
        nothing = _idle_bytes(job)
    library = load_library(job.kind, device_id=job.device_id)
    card = LiteCard(library, job.kind, SLOT, job.device_id)
    name = library_name(library)
    if job.kind == "cpu":
        return measure_on_host(job.order, card, resident_bytes, name)
    gauge = open_gauge(job.kind, library, job.device_id, job.npu_id)
    found = measure_on_card(job.order, card, gauge, job.rule, name, nothing)
    return _at_least_compiled(job, found)


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
    try:
        cards = npusmi.read_cards()
    except npusmi.SmiError:
        return None
    mine = next((card for card in cards if str(card.npu_id) == job.npu_id), None)
    if mine is None:
        return None
    if mine.holders:
        told = ", ".join(f"{h.name} (pid {h.pid}) with {h.nbytes:,} bytes" for h in mine.holders)
        problem = f"card {job.npu_id} is not idle, so nothing can be measured on it: {told}"
        raise LoadError(SLOT, job.order.name, job.order.path, problem)
    return mine.free_bytes


def _measure_emulated(job: Job) -> Measurement:
    """Declare and build as a card does; sizes from the emulator, times from its clock."""
    order = replace(job.order, threads=1)
    library = load_library(
        job.kind, device_id=job.device_id, emulated=EmulatedCard(ROOM, rule=job.rule)
    )
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
