"""Measurements on disk: one JSON file for each model file, options, kind, type and engine."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache as once
from importlib import metadata
from pathlib import Path
from typing import Any

from actors.files.modelfiles import file_digest, options_of, served_file
from actors.machine.cann import software
from actors.machine.hostmemory import HostMemory
from actors.machine.kept import keep, kept_folder
from actors.messages import CardKind, GearMeasurement, Measurement, ModelOrder
from actors.shapes import Gear, TensorSpec
from orchestrator.errors import DeploymentError
from orchestrator.sources import local_path


class ProfileCache:
    """Measurements in JSON files, one for each model file, options, kind, type and engine."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or kept_folder("profiles")

    def get(self, order: ModelOrder, kind: CardKind, card_type: str | None) -> Measurement | None:
        """What was measured before; a file that cannot be read counts as none.

        Raises:
            DeploymentError: the model's file is missing.
        """
        path = self._path(order, kind, card_type)
        try:
            return measurement_from(json.loads(path.read_text())["measurement"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def put(
        self, order: ModelOrder, kind: CardKind, card_type: str | None, measurement: Measurement
    ) -> None:
        """Keep a measurement; readers see the old file or the new one, never half of it."""
        path = self._path(order, kind, card_type)
        key = profile_key(order, kind, card_type)
        keep(path, {"key": key, "measurement": asdict(measurement)})

    def session(
        self, members: Sequence[ModelOrder], kind: CardKind, card_type: str | None
    ) -> int | None:
        """The measured peak of a GE session of exactly these models and threads, in final bytes.

        Raises:
            DeploymentError: a model's file is missing.
        """
        try:
            return int(json.loads(self._session_path(members, kind, card_type).read_text())["peak"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put_session(
        self, members: Sequence[ModelOrder], kind: CardKind, card_type: str | None, peak: int
    ) -> None:
        """Keep a session's peak."""
        path = self._session_path(members, kind, card_type)
        keep(path, {"models": [order.name for order in members], "peak": peak})

    def _session_path(
        self, members: Sequence[ModelOrder], kind: CardKind, card_type: str | None
    ) -> Path:
        keys = [[profile_key(order, kind, card_type), order.threads] for order in members]
        text = json.dumps(sorted(keys, key=str), sort_keys=True)
        return self.folder / f"session-{_digest(text.encode())[:20]}.json"

    def _path(self, order: ModelOrder, kind: CardKind, card_type: str | None) -> Path:
        digest = _digest(json.dumps(profile_key(order, kind, card_type), sort_keys=True).encode())
        return self.folder / f"{order.name}-{digest[:20]}.json"


def profile_key(order: ModelOrder, kind: CardKind, card_type: str | None) -> dict[str, Any]:
    """Everything that a measurement depends on.

    Raises:
        DeploymentError: the model's file is missing.
    """
    options = {**options_of(order), "config_file": _text_of(order.config_path)}
    return {
        "model": file_digest(model_file(order, kind)),
        "options": _digest(json.dumps(options, sort_keys=True).encode()),
        "kind": kind,
        "type": card_type,
        "library": library_version(kind),
        "cpu": cpu_model() if kind == "emulated" else None,
        **(software() if kind == "ascend" else {}),
    }


def model_path(order: ModelOrder, kind: CardKind) -> Path:
    """The file that the library reads: for an emulated card the .onnx beside the .mindir.

    Raises:
        DeploymentError: it is behind a URL and cannot be read.
    """
    return served_file(str(local_path(order.path, kind)), kind)


def model_file(order: ModelOrder, kind: CardKind) -> Path:
    """The same, proved to exist.

    Raises:
        DeploymentError: it does not.
    """
    path = model_path(order, kind)
    if not path.is_file():
        raise DeploymentError(f"model {order.name}", (f"no such file: {path}",))
    return path


@once
def cpu_model() -> str:
    """Name of this machine's processor: an emulated card's times depend on it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def library_version(kind: CardKind) -> str:
    """Name and version of what computes for this kind, without importing it."""
    package = "onnxruntime" if kind == "emulated" else "mindspore-lite"
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"{package} (not installed)"


def measurement_from(data: Mapping[str, Any]) -> Measurement:
    """A measurement from its JSON.

    Raises:
        KeyError, TypeError: the data is of another shape.
    """
    return Measurement(
        weight_bytes=data["weight_bytes"],
        object_bytes=data["object_bytes"],
        streams=data["streams"],
        dynamic=data["dynamic"],
        inputs=tuple(_tensor(spec) for spec in data["inputs"]),
        outputs=tuple(_tensor(spec) for spec in data["outputs"]),
        gears=tuple(
            GearMeasurement(
                **{
                    **measured,
                    "gear": _gear(measured["gear"]),
                    "tensor_bytes": tuple(measured["tensor_bytes"]),
                }
            )
            for measured in data["gears"]
        ),
        library=data["library"],
        overhead_bytes=data.get("overhead_bytes"),
        drift_bytes=data.get("drift_bytes", 0),
        compiled=data.get("compiled", False),
        host=HostMemory(**data["host"]) if data.get("host") else None,
        copies_estimated=data.get("copies_estimated", False),
    )


def _text_of(path: str | None) -> str | None:
    try:
        return None if path is None else Path(path).read_text()
    except OSError as error:
        raise DeploymentError(str(path), (f"cannot be read: {error.strerror}",)) from None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _gear(data: Mapping[str, Any]) -> Gear:
    return Gear(tuple((name, tuple(shape)) for name, shape in data["inputs"]))


def _tensor(data: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(data["name"], data["dtype"], tuple(data["shape"]))
