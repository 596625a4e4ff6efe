"""From a file, or plain data, to a checked ``Deployment``: every problem at once."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from actors.files.modelfiles import served_file
from actors.messages import CardKind
from orchestrator.config.checked import Checked
from orchestrator.config.deployment import Deployment
from orchestrator.config.findings import Finding, Loc, error_of
from orchestrator.config.lite_file import difference, lite_shapes
from orchestrator.config.models import ModelSpec
from orchestrator.config.section import Reading
from orchestrator.config.shapes import Shapes
from orchestrator.config.yaml_file import YamlError, parse_yaml, read_text
from orchestrator.errors import DeploymentError
from orchestrator.sources import local_path


def names_a_file(text: str) -> bool:
    """Whether this is the name of a file, by its ending or its folder, and not a deployment's."""
    path = PurePath(text)
    return path.suffix in {".yaml", ".yml", ".json"} or len(path.parts) > 1


def load_deployment(path: str | os.PathLike[str]) -> Deployment:
    """Read a deployment file, resolve its paths, and look at the files that it names.

    Shapes that the file leaves to a model's ``.ini`` are filled in from there.

    Raises:
        DeploymentError: one line for each problem, with file and line.
    """
    source = str(path)
    try:
        data, lines, findings = parse_yaml(read_text(Path(path)))
    except YamlError as error:
        raise DeploymentError(source, (str(error),)) from error
    checked = Checked(data, findings)
    deployment = checked.run(Reading(str(Path(path).parent)))
    if deployment is not None and checked.stands(("cards", "kind")):  # which says what they are
        deployment, found = _with_files(deployment)
        checked.add(found)
    if checked.found or deployment is None:
        raise error_of(source, tuple(checked.found), data, lines)
    return deployment


def parse_deployment(
    data: Mapping[str, Any], source: str = "deployment", folder: str | os.PathLike[str] = "."
) -> Deployment:
    """Check plain data, as read from JSON; ``folder`` is what relative paths start from.

    The files that it names are not looked at.

    Raises:
        DeploymentError: one line for each problem.
    """
    checked = Checked(data)
    deployment = checked.run(Reading(str(folder)))
    if checked.found or deployment is None:
        raise error_of(source, tuple(checked.found), data)
    return deployment


def _with_files(deployment: Deployment) -> tuple[Deployment, list[Finding]]:
    """The deployment with shapes filled in from Lite config files, and what is wrong with files."""
    findings: list[Finding] = []
    models: list[ModelSpec] = []
    for index, model in enumerate(deployment.models):
        filled, found = _with_local_files(model, deployment.cards.kind)
        findings.extend(finding.below(("models", index)) for finding in found)
        models.append(filled)
    return deployment.model_copy(update={"models": tuple(models)}), findings


def _with_local_files(model: ModelSpec, kind: CardKind) -> tuple[ModelSpec, list[Finding]]:
    if model.path.endswith("/"):  # a URL: paths of this machine have lost it
        return model, [Finding(("path",), f"{model.path} is a folder: name the .mindir file in it")]
    try:
        path = local_path(model.path, kind)
    except DeploymentError as error:
        return model, [Finding(("path",), str(error))]
    filled, found = _with_lite_config(model, path)
    return filled, [*_model_file(path, kind), *found]


def _model_file(path: Path, kind: CardKind) -> Iterator[Finding]:
    file = served_file(str(path), kind)
    if file.is_dir() or (path.is_dir() and not file.is_file()):
        folder = path if path.is_dir() else file
        yield Finding(("path",), f"{folder} is a folder: {_file_to_name(folder, kind)}")
    elif kind == "emulated":
        if path.suffix != ".mindir":
            wanted = path.with_suffix(".mindir").name
            told = f"write {wanted}, for which kind emulated runs {file.name}"
            yield Finding(("path",), f"{path.name} does not end in .mindir: {told}")
        elif not file.is_file():
            yield Finding(
                ("path",), f"there is no file {file}, which kind emulated runs for {path.name}"
            )
    elif path.suffix == ".onnx":
        cure = "make a .mindir of it with orchestrator convert"
        yield Finding(("path",), f"{path} is for kind emulated: {cure}")
    elif not path.is_file():
        yield Finding(("path",), f"there is no file {path}")


def _file_to_name(folder: Path, kind: CardKind) -> str:
    """What to write instead of a folder: a model in it, by the name that it has or will have."""
    ending = ".onnx" if kind == "emulated" else ".mindir"
    found = sorted(file for file in folder.glob(f"*{ending}") if file.is_file())
    if not found:
        return f"name a .mindir file; there is no {ending} file in this folder"
    return f"name the file in it, such as {found[0].with_suffix('.mindir')}"


def _with_lite_config(model: ModelSpec, path: Path) -> tuple[ModelSpec, list[Finding]]:
    """Shapes from the model's Lite config, or how it and the deployment contradict each other."""
    loc: Loc = ("lite", "config_file") if model.lite.config_file else ("path",)
    try:
        found = lite_shapes(model, path)
    except ValueError as error:
        return model, [Finding(loc, str(error))]
    if found is None:
        return model, []
    if model.shapes is not None:
        text = difference(model.shapes, found)
        return model, [Finding(("shapes",), f"say {text}")] if text else []
    if found.gears is None:
        text = (
            f"{found.source} leaves dimensions open and lists no gears: "
            "add shapes: {dynamic: {max_shape: ...}}"
        )
        return model, [Finding(("shapes",), text)]
    filled = model.model_copy(update={"shapes": Shapes.of_gears(found.gears)})
    return filled, list(filled.shape_findings())
