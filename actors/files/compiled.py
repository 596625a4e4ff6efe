"""What a model takes that was compiled for Ascend, asked of the compiled model itself: the OM.

A MindIR that was converted for Ascend has an OM inside, and pyACL tells what one needs without
loading it (``acl.mdl.query_size_from_mem``; MindSpore Lite 2.7 sizes its groups by the same call,
model_process.cc:596). Asked in a throw-away process, since acl must not be imported in a process
that lives on. ``python -m actors.files.compiled MODEL [DEVICE]`` is that process. Where there is no
pyACL, or none that answers (it may want a card that is not there, or is taken), the OM is read for
the same two numbers; streams are always read there, nobody answers them.
"""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actors import device
from actors.errors import CardError
from actors.files.mindir import NotAMindIRError, read_mindir, read_om
from actors.machine import pyacl
from actors.machine.child import ChildError, run_module
from actors.machine.leaving import leave
from actors.messages import GearMeasurement, Measurement, ModelOrder
from actors.shapes import OPEN, Gear, numpy_type

#: The stream that mindspore_lite makes for each Model object beside those of its OM (infer.cc:98).
_LIBRARY_STREAMS = 1
_TIMEOUT_SECONDS = 300.0


@dataclass(eq=False, repr=False)
class CompiledError(CardError):
    """Nobody tells here what the compiled model takes."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"what {Path(self.path).name} was compiled to take is not available: {self.problem}"


@dataclass(frozen=True)
class CompiledSizes:
    """Bytes before rounding, ``workspace`` at the largest gear, and who told them.

    ``streams`` of one Model object; 0 if not known.
    """

    weights: int
    workspace: int
    streams: int
    source: str


def compiled_sizes(path: str, npu_id: str = "") -> CompiledSizes:
    """Ask in a process of its own. ``npu_id``: an idle card, which is set there; else none is.

    Raises:
        CompiledError: not compiled for Ascend, or neither pyACL nor its OM tells.
    """
    sees = {device.VISIBLE: device.number_of(npu_id)} if npu_id else {}
    arguments = [path, *(["0"] if npu_id else [])]
    try:
        answer = run_module(
            "actors.files.compiled", arguments, timeout_seconds=_TIMEOUT_SECONDS, env=sees
        )
    except ChildError as error:
        raise CompiledError(path, f"the asking process {error}") from None
    lines = answer.strip().splitlines()
    if not lines:
        raise CompiledError(path, "the asking process left no answer")
    found: Mapping[str, Any] = json.loads(lines[-1])
    if "problem" in found:
        raise CompiledError(path, found["problem"])
    return CompiledSizes(**found)


def compiled_measurement(order: ModelOrder, npu_id: str = "") -> Measurement:
    """A model as its compiled file has it: outputs as large as its inputs, and no times (0).

    Raises:
        CompiledError: nobody tells.
    """
    sizes = compiled_sizes(order.path, npu_id)
    inputs = read_mindir(Path(order.path)).inputs
    gears = order.gears or (Gear(tuple((spec.name, spec.shape) for spec in inputs)),)
    if any(OPEN in shape for gear in gears for _, shape in gear.inputs):
        raise CompiledError(order.path, "its inputs are open: declare its gears")
    try:
        kinds = {s.name: numpy_type(f"input {s.name}", s.dtype).itemsize for s in inputs}
    except ValueError as error:
        raise CompiledError(order.path, str(error)) from None
    found = []
    for gear in gears:
        taken = tuple(kinds.get(name, 4) * math.prod(shape) for name, shape in gear.inputs)
        found.append(GearMeasurement(gear, sizes.workspace, (*taken, sum(taken)), 0.0))
    return Measurement(
        weight_bytes=sizes.weights,
        object_bytes=0,
        streams=sizes.streams,
        dynamic=False,
        inputs=inputs,
        outputs=(),
        gears=tuple(found),
        library=f"compiled file {sizes.source}",
        compiled=True,
    )


def main(path: str, device_id: str = "") -> None:
    """The throw-away process: sizes or a problem as the last line of standard output."""
    try:
        answer: Mapping[str, Any] = asdict(_sizes(Path(path), device_id))
    except (NotAMindIRError, OSError, ValueError) as error:
        answer = {"problem": str(error)}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
    leave()


def _sizes(path: Path, device_id: str) -> CompiledSizes:
    """What pyACL tells, else what the OM does. ValueError: neither."""
    om, file = read_om(path), read_mindir(path)
    streams = file.om.streams + _LIBRARY_STREAMS if file.om and file.om.streams else 0
    try:
        acl = pyacl.import_acl()
        found = CompiledSizes(*_query(acl, om, device_id), streams, "as pyACL answers")
    except (pyacl.NoAclError, ValueError) as error:
        if file.om is None:
            raise ValueError(f"{error}, and {file.om_problem}") from None
        source = "as it says"
        if not isinstance(error, pyacl.NoAclError):
            source += f" ({error})"
        found = CompiledSizes(file.om.weights, file.om.workspace, streams, source)
    if not found.workspace:
        raise ValueError("its shapes are open, so that its workspace depends on what it runs")
    return found


def _query(acl: Any, om: bytes, device_id: str) -> tuple[int, int]:  # noqa: ANN401 - no types
    """Bytes of weights and of workspace. ValueError: pyACL does not tell."""
    try:
        pyacl.start(acl, int(device_id) if device_id else None)
    except pyacl.AclError as error:
        raise ValueError(str(error)) from None
    work, weights, code = acl.mdl.query_size_from_mem(
        np.frombuffer(om, np.uint8).ctypes.data, len(om)
    )
    if code:
        raise ValueError(f"acl.mdl.query_size_from_mem answered {code}")
    return int(weights), int(work)


if __name__ == "__main__":
    main(*sys.argv[1:])
