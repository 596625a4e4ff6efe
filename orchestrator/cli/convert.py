"""``orchestrator convert``: an ONNX model as a MindIR, by the library's own Converter."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from actors.finding import Finding
from actors.gears import parse_sections
from actors.options import option_findings
from orchestrator.check.models import ModelFile, read_model
from orchestrator.errors import DeploymentError
from orchestrator.report.check import told_inputs


class Target(str, Enum):
    """What the model is to run on."""

    ASCEND = "ascend"
    ASCEND_910B = "ascend:910b"
    CPU = "cpu"


def convert(
    model: Annotated[Path, typer.Argument(help="An ONNX model.")],
    out: Annotated[Path, typer.Option(help="The .mindir file to write.")],
    config: Annotated[
        Path | None,
        typer.Option(help="The converter's options (.ini): shapes and gears, precision."),
    ] = None,
    target: Annotated[
        Target, typer.Option(help="ascend compiles for the cards of this machine.")
    ] = Target.ASCEND,
) -> None:
    """Convert a model in a process of its own, and say what came out.

    Needs mindspore_lite, and for the target ascend CANN on a machine with the cards to be used.
    """
    _require_model(model)
    _require_out(out)
    for warning in _config_findings(config):
        typer.echo(f"warning: {config} {warning}", err=True)
    from actors.convert import Conversion  # the library's rules come with it
    from actors.convert import convert as run_converter

    options = None if config is None else str(config)
    library = run_converter(Conversion(str(model), str(out), target.value, options))
    found = _require_model(out)
    if target is not Target.CPU and not found.converted:
        raise DeploymentError(str(out), (f"{library} wrote a model that is not for Ascend",))
    typer.echo(f"{out}: for {found.made_for}, {told_inputs(found.inputs)}, by {library}")


def _require_model(path: Path) -> ModelFile:
    found = read_model(path)
    if isinstance(found, Finding):
        raise DeploymentError(str(path), (str(found).removeprefix(f"{path}: "),))
    return found


def _require_out(out: Path) -> None:
    """The Converter's own words for these tell nothing."""
    problem = ""
    if out.suffix != ".mindir":
        problem = f"the Converter writes .mindir files: write --out {out.with_suffix('.mindir')}"
    elif not out.parent.is_dir():
        problem = f"there is no folder {out.parent}"
    elif out.exists():
        problem = "is there already: remove it, or choose another name"
    if problem:
        raise DeploymentError(str(out), (problem,))


def _config_findings(config: Path | None) -> list[Finding]:
    """Options that nothing reads.

    Raises:
        DeploymentError: the file cannot be read, or is not in the converter's format.
    """
    if config is None:
        return []
    try:
        return list(option_findings(parse_sections(config.read_text(encoding="utf-8"))))
    except OSError as error:
        raise DeploymentError(str(config), (f"cannot be read: {error.strerror}",)) from error
    except ValueError as error:
        raise DeploymentError(str(config), (str(error),)) from error
