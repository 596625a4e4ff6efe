"""Each model file of a deployment against what the deployment says of it."""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from actors.files.mindir import NotAMindIRError, read_mindir
from actors.files.onnxfile import NotAModelError, read_onnx
from actors.files.options import option_findings
from actors.gears import config_lines
from actors.machine.finding import Finding
from actors.messages import ModelOrder
from actors.shapes import OPEN, Gear, Signature, TensorSpec, check_rule
from orchestrator.check.hardware import hardware_findings
from orchestrator.check.inputs import compiled_findings, input_findings
from orchestrator.config import Cards, Deployment, ModelSpec
from orchestrator.config.lite_file import config_path
from orchestrator.profiles.cache import model_path


@dataclass(frozen=True)
class ModelFile:
    """The header of a model file, of either format; the rest is of one that was converted.

    ``soc`` as in ``OMFile``, ``gears`` as in ``MindIRFile``; ``any_shape``: compiled for whatever
    its open dimensions will be.
    """

    path: Path
    inputs: tuple[TensorSpec, ...]
    converted: bool = False
    soc: str | None = None
    external_data: tuple[str, ...] = ()
    gears: tuple[Gear, ...] = ()
    any_shape: bool = False

    @property
    def made_for(self) -> str:
        """The hardware that it runs on as it is: ``Ascend310P3``, ``any``."""
        return (self.soc or "Ascend, not said which") if self.converted else "any"


@dataclass(frozen=True)
class ModelCheck:
    """One model's file, None where it cannot be read, and what is to be fixed or looked at."""

    name: str
    path: Path
    gears: int
    file: ModelFile | None
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Nothing has to be fixed."""
        return all(finding.ok for finding in self.findings)


def check_deployment(deployment: Deployment) -> tuple[ModelCheck, ...]:
    """Read the file of every model, as this deployment's kind of card would, and compare.

    Raises:
        DeploymentError: shapes are left to a Lite config file that cannot be read.
    """
    checks = []
    for spec, order in zip(deployment.models, deployment.orders(), strict=True):
        path = model_path(order, deployment.cards.kind)
        file = read_model(path)
        found = (
            [file] if isinstance(file, Finding) else _findings(spec, order, file, deployment.cards)
        )
        checks.append(
            ModelCheck(
                name=spec.name,
                path=path,
                gears=len(order.gears or ()) or 1,
                file=None if isinstance(file, Finding) else file,
                findings=(*found, *_option_findings(spec, path)),
            )
        )
    return tuple(checks)


def read_model(path: Path) -> ModelFile | Finding:
    """A model file's header; what is wrong when it cannot be read."""
    try:
        if path.suffix == ".onnx":
            onnx = read_onnx(path)
            return ModelFile(path, onnx.inputs, external_data=onnx.external_data)
        mindir = read_mindir(path)
    except (NotAModelError, NotAMindIRError) as error:
        kind = "an ONNX" if path.suffix == ".onnx" else "a MindIR"
        fix = "export it again" if path.suffix == ".onnx" else "convert it again"
        problem = str(error).removeprefix(f"{path} is ")
        return Finding(str(path), problem, f"{kind} model", fix, False)
    except OSError as error:
        return _unreadable(path, error, "a model file")
    om = mindir.om
    return ModelFile(
        path=path,
        inputs=mindir.inputs,
        converted=mindir.converted,
        soc=om.soc if om else None,
        external_data=mindir.external_data,
        gears=mindir.gears,
        any_shape=om is not None and om.dynamic,
    )


def _unreadable(path: Path, error: OSError, wanted: str) -> Finding:
    found, fix = {
        errno.ENOENT: ("no such file", "correct its path"),
        errno.EISDIR: ("a folder", "name the file in it"),
        errno.EACCES: ("one that this user may not read", "permit it"),
    }.get(error.errno or 0, (error.strerror or "an error", "make it readable"))
    return Finding(str(path), found, wanted, fix, False)


def _findings(spec: ModelSpec, order: ModelOrder, file: ModelFile, cards: Cards) -> list[Finding]:
    inputs = list(input_findings(spec.shapes, file.inputs, file.gears))
    inputs = inputs or list(_batching_findings(order, file))
    return [
        *_missing_data(file),
        *hardware_findings(
            cards,
            converted=file.converted,
            soc=file.soc,
            allowed=order.may_compile,
        ),
        *(inputs or compiled_findings(spec.shapes, file.gears, file.any_shape)),
    ]


def _batching_findings(order: ModelOrder, file: ModelFile) -> Iterator[Finding]:
    """A batch axis that an input has not, or on which the inputs of a gear differ."""
    own = Gear(tuple((spec.name, spec.shape) for spec in file.inputs))
    is_open = any(OPEN in spec.shape for spec in file.inputs)
    gears = order.gears or (() if is_open else (own,))
    try:
        check_rule(Signature(file.inputs, (), gears), order.batching)
    except ValueError as error:
        found, _, fix = str(error).partition("; ")
        yield Finding("batching", found, "a batch axis of all inputs", fix, False)


def _missing_data(file: ModelFile) -> Iterator[Finding]:
    """Files beside the model that hold its weights and are not there."""
    for location in file.external_data:
        beside = file.path.parent / location
        if not beside.is_file():
            fix = f"copy it there: it was written together with {file.path.name}"
            yield Finding(str(beside), "no such file", f"weights of {file.path.name}", fix, False)


def _option_findings(spec: ModelSpec, file: Path) -> Iterator[Finding]:
    """Options that nothing reads: the deployment's own, and those of the config file."""
    yield from option_findings(spec.lite.options)
    path = config_path(spec, file)
    if path is None:
        return
    try:
        lines = list(config_lines(path.read_text(encoding="utf-8")))
    except OSError as error:
        yield _unreadable(path, error, "a config file")
        return
    except ValueError as error:
        fix = "write [section] and key=value lines"
        yield Finding(str(path), str(error), "a config file", fix, False)
        return
    sections: set[str] = set()
    for line in lines:
        for found in option_findings({line.section: {line.key: line.value}}):
            if found.subject in sections:
                continue  # that its section does nothing was told of its first option
            if found.subject == f"[{line.section}]":
                sections.add(found.subject)
            yield Finding(
                f"{path}:{line.number} {found.subject}",
                *(found.found, found.wanted, found.fix),
                found.ok,
            )
