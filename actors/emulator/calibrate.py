"""What a model takes, measured once and remembered: ``calibrate``.

Measuring happens in a throw-away process (``actors.emulator.measure``). Answers are kept in
``$ASCEND_ORCHESTRATOR_CACHE/emulator`` (default ``~/.cache/ascend-orchestrator/emulator``), a file
for each gear, under a key of everything that they depend on: the bytes of the model, the shapes,
the version of the engine, and the CPU, whose instruction set picks the kernels.
"""

import fcntl
import functools
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actors.emulator.arena import engine_version
from actors.emulator.config import Settings
from actors.files.modelfiles import file_digest
from actors.files.onnxfile import OnnxFile, read_onnx
from actors.machine.child import ChildError, run_module
from actors.machine.kept import kept_folder
from actors.shapes import OPEN, Gear, Shape, TensorSpec

#: Counts changes of the way of measuring.
RECIPE = 4
_PROCESSES = 4
_TIMEOUT_SECONDS = 600


class CalibrationError(ValueError):
    """The model cannot be measured: not a model, shapes that it does not take, unknown types."""


@dataclass(frozen=True)
class GearCalibration:
    """One gear, in bytes before rounding. ``bound``: the outputs' shapes do not depend on data."""

    gear: Gear
    workspace: int
    outputs: tuple[TensorSpec, ...]
    tensor_bytes: tuple[int, ...]
    bound: bool


@dataclass(frozen=True)
class Calibration:
    """A model as the emulated card charges it, in bytes before rounding.

    ``gears`` is empty for a purely dynamic model without declared largest shapes. The copy times
    are not measured but the emulated ones that the configuration asks for.
    """

    weight_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    gears: tuple[GearCalibration, ...]
    dynamic: bool
    copy_in_ms: float = 0.0
    copy_out_ms: float = 0.0

    @property
    def workspace_bytes(self) -> int:
        """The largest over the gears."""
        return max((gear.workspace for gear in self.gears), default=0)

    @property
    def tensor_bytes(self) -> tuple[int, ...]:
        """Bytes of each input and output, each at the gear where it is largest."""
        return tuple(map(max, zip(*(gear.tensor_bytes for gear in self.gears), strict=True)))


def calibrate(path: Path, settings: Settings) -> Calibration:
    """Read the model's signature and measure every gear that is not in the cache yet.

    Raises:
        CalibrationError: the model cannot be measured.
    """
    try:
        model = read_onnx(path)
    except (ValueError, OSError) as error:
        raise CalibrationError(str(error)) from None
    dynamic = settings.gears is None and model.is_open
    if dynamic:
        gears: tuple[Gear, ...] = () if settings.max_shape is None else (settings.max_shape,)
    else:
        fixed = Gear(tuple((spec.name, spec.shape) for spec in model.inputs))
        gears = settings.gears or (fixed,)
    ordered = tuple(fitted(model.inputs, gear) for gear in gears)
    declared = dict(settings.input_shapes or ())
    return Calibration(
        weight_bytes=model.weight_bytes,
        inputs=tuple(
            TensorSpec(spec.name, spec.dtype, declared.get(spec.name, spec.shape))
            for spec in model.inputs
        ),
        outputs=model.outputs,
        gears=measure_gears(path, model, ordered, bound=not dynamic),
        dynamic=dynamic,
        copy_in_ms=settings.copy_in * 1000,
        copy_out_ms=settings.copy_out * 1000,
    )


def measure_gears(
    path: Path, model: OnnxFile, gears: Sequence[Gear], *, bound: bool
) -> tuple[GearCalibration, ...]:
    """Each gear from the cache, or measured now; several processes measure a gear once.

    Raises:
        CalibrationError: the engine refuses the model or the shapes.
    """
    if not gears:
        return ()
    identity = _identity(path, model)
    files = {gear: cache_folder() / f"{_key(identity, gear, bound)}.json" for gear in gears}
    answers = {gear: _load(file) for gear, file in files.items()}
    missing = [gear for gear, answer in answers.items() if answer is None]
    if missing:
        with _one_at_a_time(identity):
            answers.update((gear, _load(files[gear])) for gear in missing)
            missing = [gear for gear in missing if answers[gear] is None]
            for gear, answer in _measure_together(path, model, missing, bound=bound):
                _store(files[gear], answer)
                answers[gear] = answer
    return tuple(_calibration(model, gear, answers[gear] or {}) for gear in gears)


def cache_folder() -> Path:
    """Where measured gears are kept."""
    return kept_folder("emulator")


def fitted(inputs: Sequence[TensorSpec], gear: Gear) -> Gear:
    """The gear in the order of ``inputs``, checked against their names, ranks and fixed sizes.

    Raises:
        CalibrationError: it does not suit them.
    """
    shapes = dict(gear.inputs)
    names = [spec.name for spec in inputs]
    if sorted(shapes) != sorted(names):
        raise CalibrationError(
            f"the configuration gives shapes for {', '.join(shapes) or 'nothing'}; "
            f"the model's inputs are {', '.join(names)}"
        )
    for spec in inputs:
        shape = shapes[spec.name]
        fits = len(shape) == len(spec.shape) and all(
            size > 0 and wanted in (OPEN, size)
            for size, wanted in zip(shape, spec.shape, strict=True)
        )
        if not fits:
            raise CalibrationError(
                f"input {spec.name} is {list(spec.shape)} in the model and cannot be {list(shape)}"
            )
    return Gear(tuple((name, shapes[name]) for name in names))


def covers(gear: Gear, shapes: Sequence[Shape]) -> bool:
    """Whether a gear's shapes are at least as large in every dimension."""
    return all(
        len(large) == len(small) and all(a >= b for a, b in zip(large, small, strict=True))
        for (_, large), small in zip(gear.inputs, shapes, strict=True)
    )


def _calibration(model: OnnxFile, gear: Gear, answer: dict[str, Any]) -> GearCalibration:
    outputs = tuple(
        TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in answer["outputs"]
    )
    inputs = [
        TensorSpec(spec.name, spec.dtype, shape)
        for spec, (_, shape) in zip(model.inputs, gear.inputs, strict=True)
    ]
    return GearCalibration(
        gear=gear,
        workspace=answer["workspace"],
        outputs=outputs,
        tensor_bytes=tuple(nbytes(spec.dtype, spec.shape) for spec in (*inputs, *outputs)),
        bound=answer["bound"],
    )


def nbytes(dtype: str, shape: Sequence[int]) -> int:
    """Bytes of a tensor."""
    return math.prod(shape) * np.dtype(dtype).itemsize


def _measure_together(
    path: Path, model: OnnxFile, gears: Sequence[Gear], *, bound: bool
) -> list[tuple[Gear, dict[str, Any]]]:
    """Sizes do not depend on who else computes: as many processes as cores, a few gears each."""
    count = max(1, min(len(gears), os.cpu_count() or 1, _PROCESSES))
    shares = [gears[first::count] for first in range(count)]
    with ThreadPoolExecutor(count) as pool:
        found = pool.map(lambda share: _measure(path, model, share, bound=bound), shares)
        return [
            pair
            for share, answers in zip(shares, found, strict=True)
            for pair in zip(share, answers, strict=True)
        ]


def _measure(
    path: Path, model: OnnxFile, gears: Sequence[Gear], *, bound: bool
) -> list[dict[str, Any]]:
    if not gears:
        return []
    types = {spec.name: spec.dtype for spec in model.inputs}
    job = {
        "path": str(path.resolve()),
        "bound": bound,
        "gears": [{name: [types[name], shape] for name, shape in g.inputs} for g in gears],
    }
    try:
        found = run_module(
            "actors.emulator.measure", timeout_seconds=_TIMEOUT_SECONDS, told=json.dumps(job)
        )
    except ChildError as error:
        raise CalibrationError(f"{path}: measuring {error}") from None
    answers: list[dict[str, Any]] = json.loads(found)
    for gear, answer in zip(gears, answers, strict=True):
        if "error" in answer:
            raise CalibrationError(f"{path} does not run at {dict(gear.inputs)}: {answer['error']}")
    return answers


def _identity(path: Path, model: OnnxFile) -> str:
    folder = path.parent
    parts = [
        file_digest(path),
        *(file_digest(folder / name) for name in sorted(model.external_data)),
    ]
    return _hashed([RECIPE, engine_version(), _cpu(), parts])


def _key(identity: str, gear: Gear, bound: bool) -> str:
    return _hashed([identity, gear.inputs, bound])


def _hashed(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


@functools.cache
def _cpu() -> str:
    """The processor's name and instruction sets, which decide what kernels the engine picks."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    wanted = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    return _hashed(sorted(wanted))


def _load(file: Path) -> dict[str, Any] | None:
    try:
        answer = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    keys = {"workspace", "outputs", "bound"}
    return answer if isinstance(answer, dict) and keys <= answer.keys() else None


def _store(file: Path, answer: dict[str, Any]) -> None:
    """Write beside and rename: a reader never sees half a file."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as draft:
        json.dump(answer, draft)
    Path(draft.name).replace(file)


@contextmanager
def _one_at_a_time(identity: str) -> Iterator[None]:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{identity}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
