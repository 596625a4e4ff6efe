"""What a model's Lite config says of its shapes, and whether the deployment says the same."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from actors.gears import (
    DYNAMIC_DIMS,
    INPUT_SHAPE,
    SECTION,
    config_gears,
    config_lines,
    format_gears,
    format_shapes,
    parse_input_shape,
)
from actors.shapes import OPEN, Gear, Shape
from orchestrator.config.models import ModelSpec
from orchestrator.config.shapes import Shapes


@dataclass(frozen=True)
class LiteShapes:
    """Shapes as a Lite config declares them.

    ``gears`` is None when dimensions are open and no gears are listed. ``source`` is the file with
    its line, or ``lite.options``.
    """

    source: str
    inputs: tuple[tuple[str, Shape], ...]
    gears: tuple[Gear, ...] | None


def lite_shapes(model: ModelSpec, file: Path | None = None) -> LiteShapes | None:
    """The shapes that the model's Lite config declares; None when it declares none.

    The config is ``lite.options`` over ``lite.config_file`` or, where the deployment names none,
    over the ``.ini`` of the same name beside the model, if there is one. ``file``: where the model
    is on this machine, if its path is a URL.

    Raises:
        ValueError: the file cannot be read or its shapes are not in the converter's format; the
            text names file and line.
    """
    keys, source = _file_keys(model, file)
    options = model.lite.options.get(SECTION, {})
    own = {key: options[key] for key in (INPUT_SHAPE, DYNAMIC_DIMS) if key in options}
    keys |= own
    source = "lite.options" if own else source
    if not keys:
        return None
    try:
        gears = config_gears({SECTION: keys})
        return LiteShapes(source, parse_input_shape(keys[INPUT_SHAPE]), gears)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def config_path(model: ModelSpec, file: Path | None = None) -> Path | None:
    """The Lite config file of the model: the one it names, or the ``.ini`` beside it."""
    if model.lite.config_file is not None:
        return Path(model.lite.config_file)
    beside = (file or Path(model.path)).with_suffix(".ini")
    return beside if beside.is_file() else None


def difference(shapes: Shapes, found: LiteShapes) -> str | None:
    """How the deployment's shapes differ from the config's; None when they agree."""
    declared = shapes.combinations
    if shapes.dynamic is not None:
        if found.gears is not None:
            return f"dynamic, and {found.source} has {_listed(found.gears)}"
        return next(_misfits(dict(declared[0].inputs), found), None)
    if found.gears is None:
        return (
            f"{_listed(declared)}, and {found.source} leaves dimensions open without {DYNAMIC_DIMS}"
        )
    here, there = _set(declared), _set(found.gears)
    if here == there:
        return None
    return f"{_listed(declared)}, and {found.source} has {_listed(found.gears)}"


def _file_keys(model: ModelSpec, file: Path | None) -> tuple[dict[str, str], str]:
    path = config_path(model, file)
    if path is None:
        return {}, ""
    try:
        lines = list(config_lines(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    found = [line for line in lines if line.section == SECTION]
    found = [line for line in found if line.key in (INPUT_SHAPE, DYNAMIC_DIMS) and line.value]
    number = min((line.number for line in found), default=0)
    return {line.key: line.value for line in found}, f"{path}:{number}"


def _misfits(largest: dict[str, Shape], found: LiteShapes) -> Iterator[str]:
    """Where a declared largest shape is none that the config's open shape allows."""
    if set(largest) != {name for name, _ in found.inputs}:
        names = ", ".join(name for name, _ in found.inputs)
        yield f"inputs {', '.join(largest)}, and {found.source} has {names}"
        return
    for name, shape in found.inputs:
        given = largest[name]
        fits = len(given) == len(shape) and all(
            there in (OPEN, here) for here, there in zip(given, shape, strict=True)
        )
        if not fits:
            there = format_shapes(Gear(((name, shape),)))
            yield f"{format_shapes(Gear(((name, given),)))}, and {found.source} has {there}"


def _set(gears: tuple[Gear, ...]) -> set[frozenset[tuple[str, Shape]]]:
    return {frozenset(gear.inputs) for gear in gears}


def _listed(gears: tuple[Gear, ...]) -> str:
    input_shape, dynamic_dims = format_gears(gears)
    return f"{input_shape} {dynamic_dims}".strip()
