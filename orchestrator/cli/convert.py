"""``orchestrator convert``: a model as a MindIR for its cards, by the library's own Converter."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from actors.files.onnxfile import without_strides
from actors.files.options import option_findings
from actors.gears import parse_sections
from actors.machine.finding import Finding
from orchestrator.check.models import ModelFile, read_model
from orchestrator.cli.files import require_writable
from orchestrator.errors import DeploymentError
from orchestrator.report.check import told_inputs


class Target(str, Enum):
    """What the model is to run on."""

    ASCEND = "ascend"
    ASCEND_910B = "ascend:910b"
    CPU = "cpu"


def convert(
    model: Annotated[
        Path, typer.Argument(help="An ONNX model, or a MindIR that was exported for no card.")
    ],
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
    _require_source(model)
    _require_out(out)
    sections = _sections(config)
    for warning in option_findings(sections):
        typer.echo(f"warning: {config} {warning}", err=True)
    if model.suffix == ".onnx":
        _warn_of_strides(model)
    from actors.files.convert import Conversion  # the library's rules come with it
    from actors.files.convert import convert as run_converter

    options = None if config is None else str(config)
    made = run_converter(Conversion(str(model), str(out), target.value, options))
    found = _require_model(Path(made.path))
    made_for = found.made_for
    if target is not Target.CPU and not found.converted:
        if not _for_ge(sections):
            problem = f"{made.library} wrote a model that is not for Ascend"
            raise DeploymentError(made.path, (problem,))
        made_for = "provider ge, which compiles it whenever it is built"
    beside = f", with its weights in {', '.join(found.external_data)}" * bool(found.external_data)
    inputs = told_inputs(found.inputs)
    typer.echo(f"{made.path}: for {made_for}, {inputs}, by {made.library}{beside}")


def _require_source(model: Path) -> None:
    """A file that the Converter reads, of a format that its name tells."""
    if model.suffix not in {".onnx", ".mindir"} and not model.is_dir():
        told = "its name must end in .onnx or .mindir, which says what it is"
        raise DeploymentError(str(model), (told,))
    if _require_model(model).converted:
        raise DeploymentError(str(model), ("was converted for Ascend already",))


def _warn_of_strides(model: Path) -> None:
    """Tell what converts and may not build, with no more than "Common error code"."""
    silent = without_strides(model)
    if not silent:
        return
    shown = ", ".join(silent[:3]) + f" and {len(silent) - 3} more" * (len(silent) > 3)
    told = (
        f"strides are left to their default in {shown}; the engine of mindspore_lite 2.0 builds no "
        "such model: write them out if the build fails"
    )
    typer.echo(f"warning: {model}: {told}", err=True)


def _require_model(path: Path) -> ModelFile:
    found = read_model(path)
    if isinstance(found, Finding):
        raise DeploymentError(str(path), (str(found).removeprefix(f"{path}: "),))
    return found


def _require_out(out: Path) -> None:
    """The Converter's own words for these tell nothing, or it overwrites without a word."""
    if not out.name:
        raise DeploymentError(str(out), ("is a folder: name a .mindir file in it",))
    if out.suffix != ".mindir":
        problem = f"the Converter writes .mindir files: write --out {out.with_suffix('.mindir')}"
        raise DeploymentError(str(out), (problem,))
    require_writable(out)
    large = f"{out.stem}_graph.mindir", f"{out.stem}_variables"  # what it makes of a large model
    for path in (out, *map(out.with_name, large)):
        if path.exists():
            told = "is there already: remove it, or choose another name"
            raise DeploymentError(str(path), (told,))


def _for_ge(sections: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether the Converter is told to leave the graph to GE, and writes no compiled model."""
    return any(options.get("provider") == "ge" for options in sections.values())


def _sections(config: Path | None) -> Mapping[str, Mapping[str, str]]:
    """The converter's options.

    Raises:
        DeploymentError: the file cannot be read, or is not in the converter's format.
    """
    if config is None:
        return {}
    try:
        return parse_sections(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise DeploymentError(str(config), (f"cannot be read: {error.strerror}",)) from error
    except UnicodeDecodeError as error:
        raise DeploymentError(str(config), ("is not UTF-8 text",)) from error
    except ValueError as error:
        raise DeploymentError(str(config), (str(error),)) from error
