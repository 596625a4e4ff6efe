"""What a model takes that was compiled for Ascend, asked of the compiled model itself: the OM.

A MindIR that was converted for Ascend has an OM inside, and pyACL tells what one needs without
loading it (``acl.mdl.query_size_from_mem``; MindSpore Lite 2.7 sizes its groups by the same call,
model_process.cc:596). Asked in a throw-away process, since acl must not be imported in a process
that lives on. ``python -m actors.compiled MODEL [DEVICE]`` is that process.
"""

import importlib
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actors import device
from actors.child import ChildError, run_module
from actors.errors import CardError
from actors.leaving import leave
from actors.messages import GearMeasurement, Measurement, ModelOrder
from actors.mindir import NotAMindIRError, read_mindir, read_om
from actors.shapes import OPEN, Gear

#: acl.init() after somebody else's: no error.
_REPEATED_INIT = 100002
_TIMEOUT_SECONDS = 300.0


class CompiledError(CardError):
    """Nobody tells here what the compiled model takes."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"what {Path(self.path).name} was compiled to take is not available: {self.problem}"


@dataclass(frozen=True)
class CompiledSizes:
    """Bytes before rounding, ``workspace`` at the largest gear. ``streams``: 0 if not known."""

    weights: int
    workspace: int
    streams: int


def compiled_sizes(path: str, npu_id: str = "") -> CompiledSizes:
    """Ask in a process of its own. ``npu_id``: an idle card, which is set there; else none is.

    Raises:
        CompiledError: not compiled for Ascend, no pyACL here, or no answer.
    """
    sees = {device.VISIBLE: npu_id} if npu_id else {}
    arguments = [path, *(["0"] if npu_id else [])]
    try:
        answer = run_module(
            "actors.compiled", arguments, timeout_seconds=_TIMEOUT_SECONDS, env=sees
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
    kinds = {spec.name: np.dtype(spec.dtype).itemsize for spec in inputs}
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
        library="compiled file",
        compiled=True,
    )


def main(path: str, device_id: str = "") -> None:
    """The throw-away process: sizes or a problem as the last line of standard output."""
    try:
        om = read_om(Path(path))
        weights, workspace = _query(om, device_id)
        answer: Mapping[str, Any] = asdict(CompiledSizes(weights, workspace, _streams(om)))
    except (NotAMindIRError, OSError, ValueError) as error:
        answer = {"problem": str(error)}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
    leave()


def _query(om: bytes, device_id: str) -> tuple[int, int]:
    """Bytes of weights and of workspace. ValueError: nobody tells."""
    try:
        acl: Any = importlib.import_module("acl")
    except ImportError as error:
        raise ValueError(f"pyACL, which comes with CANN, is not here ({error})") from None
    code = acl.init()
    if code not in (0, _REPEATED_INIT):
        raise ValueError(f"acl.init answered {code}")
    if device_id:
        code = acl.rt.set_device(int(device_id))
        if code:
            raise ValueError(f"acl.rt.set_device({device_id}) answered {code}")
    work, weights, code = acl.mdl.query_size_from_mem(
        np.frombuffer(om, np.uint8).ctypes.data, len(om)
    )
    if code:
        raise ValueError(f"acl.mdl.query_size_from_mem answered {code}")
    if not work:
        raise ValueError("its shapes are open, so that its workspace depends on what it runs")
    return int(weights), int(work)


def _streams(om: bytes) -> int:
    """What atc prints of the OM; 0 where there is no atc, or it prints something else."""
    atc = shutil.which("atc")
    if atc is None:
        return 0
    with tempfile.NamedTemporaryFile(suffix=".om") as file:
        file.write(om)
        file.flush()
        command = [atc, "--mode=6", f"--om={file.name}"]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"stream_num\W+(\d+)", told)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    main(*sys.argv[1:])
