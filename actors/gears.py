"""Gears as the converter writes them: ``input_shape`` and ``dynamic_dims``.

    [ascend_context]
    input_shape=x:[-1,3,48,-1];mask:[-1,16]
    dynamic_dims=[1,320],[6,320];[1],[6]

Inputs are separated by ``;`` and -1 is open. ``dynamic_dims`` has one section for each input in the
same order, and in it one bracket for each gear: the values of the -1 dimensions from left to right.
``[1~4]`` stands for 1, 2, 3 and 4 (MindSpore Lite: "Ascend Conversion Tool Description", dynamic
shape configuration, and ``ProfileParser`` in its source). Pure; errors are ValueError.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from actors.shapes import OPEN, Gear, Shape

#: The section and keys of a Lite config file that hold gears.
SECTION = "ascend_context"
INPUT_SHAPE = "input_shape"
DYNAMIC_DIMS = "dynamic_dims"

#: The converter compiles at most this many gears.
MAX_GEARS = 100

_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_SECTION = re.compile(r"\[[^\[\]]*\](\s*,\s*\[[^\[\]]*\])*")
_SEPARATOR = re.compile(r"\s*,\s*")


def parse_input_shape(text: str) -> tuple[tuple[str, Shape], ...]:
    """Read ``x:[-1,3,48,48];mask:[1,16]``; a name may itself hold colons (``x:0:[1,3]``).

    Raises:
        ValueError: no inputs, an input without a name or shape, a dimension that is no size, or an
            input named twice.
    """
    inputs = tuple(_input(part.strip()) for part in _unquoted(text).split(";") if part.strip())
    if not inputs:
        raise ValueError(f"{INPUT_SHAPE} names no input")
    names = [name for name, _ in inputs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{INPUT_SHAPE} names input {name!r} twice")
    return inputs


def parse_gears(input_shape: str, dynamic_dims: str) -> tuple[Gear, ...]:
    """Every gear in the order written, each once. Without open dimensions there is exactly one.

    Raises:
        ValueError: the text is not in the converter's format, or the two keys disagree.
    """
    inputs = parse_input_shape(input_shape)
    sections = _sections(_unquoted(dynamic_dims), inputs)
    per_input = [
        _profiles(name, shape, section)
        for (name, shape), section in zip(inputs, sections, strict=True)
    ]
    counts = {name: len(found) for (name, _), found in zip(inputs, per_input, strict=True) if found}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise ValueError(f"{DYNAMIC_DIMS} gives the inputs different numbers of gears ({listed})")
    number = next(iter(counts.values()), 1)
    if number > MAX_GEARS:
        raise ValueError(f"{DYNAMIC_DIMS} has {number} gears and the converter takes {MAX_GEARS}")
    names = [name for name, _ in inputs]
    closed = [
        found or [shape] * number for (_, shape), found in zip(inputs, per_input, strict=True)
    ]
    gears = [Gear(tuple(zip(names, shapes, strict=True))) for shapes in zip(*closed, strict=True)]
    return tuple(dict.fromkeys(gears))


def format_gears(gears: Sequence[Gear]) -> tuple[str, str]:
    """``(input_shape, dynamic_dims)`` of these gears; ``dynamic_dims`` is empty for one gear.

    ``parse_gears(*format_gears(gears)) == gears`` for distinct gears of equal names and ranks.

    Raises:
        ValueError: no gears, or gears that differ in input names or ranks.
    """
    check_gears(gears)
    shapes: list[str] = []
    dims: list[str] = []
    for index, (name, first) in enumerate(gears[0].inputs):
        versions = [gear.inputs[index][1] for gear in gears]
        open_axes = [axis for axis in range(len(first)) if len({v[axis] for v in versions}) > 1]
        shapes.append(
            f"{name}:[{_join(OPEN if a in open_axes else d for a, d in enumerate(first))}]"
        )
        dims.append(",".join(f"[{_join(version[a] for a in open_axes)}]" for version in versions))
    return ";".join(shapes), ";".join(dims) if len(gears) > 1 else ""


def format_shapes(gear: Gear) -> str:
    """One combination of shapes in the same grammar: ``x:[8,128];mask:[8,128]``."""
    return ";".join(f"{name}:[{_join(shape)}]" for name, shape in gear.inputs)


def check_gears(gears: Sequence[Gear]) -> None:
    """Raise ValueError unless there are gears and all have the same input names and ranks."""
    if not gears:
        raise ValueError("no gears")
    first = gears[0]
    for number, gear in enumerate(gears[1:], start=1):
        if [name for name, _ in gear.inputs] != [name for name, _ in first.inputs]:
            raise ValueError(f"gears[{number}] has inputs {_names(gear)}, gears[0] {_names(first)}")
        for (name, shape), (_, other) in zip(gear.inputs, first.inputs, strict=True):
            if len(shape) != len(other):
                raise ValueError(
                    f"gears[{number}] gives input {name} {len(shape)} dimensions, "
                    f"gears[0] {len(other)}"
                )


def config_gears(sections: Mapping[str, Mapping[str, str]]) -> tuple[Gear, ...] | None:
    """The gears that a Lite config, given by section, declares.

    None where it says nothing of shapes, and where it leaves dimensions open without listing gears
    (a purely dynamic model).

    Raises:
        ValueError: as parse_gears, or ``dynamic_dims`` without ``input_shape``.
    """
    keys = sections.get(SECTION, {})
    input_shape, dynamic_dims = keys.get(INPUT_SHAPE, ""), keys.get(DYNAMIC_DIMS, "")
    if not input_shape.strip():
        if dynamic_dims.strip():
            raise ValueError(f"{DYNAMIC_DIMS} needs {INPUT_SHAPE} beside it")
        return None
    shapes = parse_input_shape(input_shape)
    if not dynamic_dims.strip() and any(OPEN in shape for _, shape in shapes):
        return None
    return parse_gears(input_shape, dynamic_dims)


@dataclass(frozen=True)
class ConfigLine:
    """One ``key=value`` of a Lite config file; lines count from 1."""

    number: int
    section: str
    key: str
    value: str


def config_lines(text: str) -> Iterator[ConfigLine]:
    """Read the text of a Lite config file (``.ini``) line by line.

    ``#`` and ``;`` begin a comment line; keys keep their case and values may be quoted.

    Raises:
        ValueError: a line that is neither a section nor ``key=value``, or stands before a section.
    """
    section: str | None = None
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip().lstrip("\ufeff")
        if not line or line[0] in "#;":
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
            continue
        key, equals, value = line.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"line {number}: expected [section] or key=value, got {line!r}")
        if section is None:
            raise ValueError(f"line {number}: {key.strip()} stands before any [section]")
        yield ConfigLine(number, section, key.strip(), _unquoted(value))


def parse_sections(text: str) -> dict[str, dict[str, str]]:
    """A Lite config file by section; a later line wins. Raises ValueError as ``config_lines``."""
    sections: dict[str, dict[str, str]] = {}
    for line in config_lines(text):
        sections.setdefault(line.section, {})[line.key] = line.value
    return sections


def _input(text: str) -> tuple[str, Shape]:
    name, colon, shape = text.rpartition(":")
    match = _BRACKETS.fullmatch(shape.strip())
    if not colon or not name.strip() or not match:
        raise ValueError(f"{INPUT_SHAPE}: expected name:[1,3,48,48], got {text!r}")
    parts = _SEPARATOR.split(match[1].strip()) if match[1].strip() else ()
    return name.strip(), tuple(_dimension(name.strip(), part) for part in parts)


def _dimension(name: str, text: str) -> int:
    if text == str(OPEN):
        return OPEN
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ValueError(f"{INPUT_SHAPE}: input {name}: {text!r} is no dimension (a size, or -1)")
    return int(text)


def _sections(text: str, inputs: Sequence[tuple[str, Shape]]) -> list[str]:
    """One section of ``dynamic_dims`` for each input; fixed inputs may be left out."""
    open_names = [name for name, shape in inputs if OPEN in shape]
    if not text:
        if open_names:
            raise ValueError(
                f"{INPUT_SHAPE} leaves dimensions of {', '.join(open_names)} open and there is no "
                f"{DYNAMIC_DIMS}"
            )
        return [""] * len(inputs)
    found = [section.strip() for section in text.split(";")]
    if len(found) == len(inputs):
        return found
    if len(found) != len(open_names):
        raise ValueError(
            f"{DYNAMIC_DIMS} has {len(found)} sections (separated by ;) for {len(inputs)} inputs"
        )
    remaining = iter(found)
    return [next(remaining) if OPEN in shape else "" for _, shape in inputs]


def _profiles(name: str, shape: Shape, section: str) -> list[Shape]:
    """The shapes of one input, one for each gear; nothing for a fixed input."""
    if section and not _SECTION.fullmatch(section):
        raise ValueError(f"{DYNAMIC_DIMS}: input {name}: expected [1,320],[6,320], got {section!r}")
    brackets = _BRACKETS.findall(section)
    wanted = shape.count(OPEN)
    if not wanted:
        if any(bracket.strip() for bracket in brackets):
            raise ValueError(f"{DYNAMIC_DIMS}: input {name} has no -1 and so takes no values")
        return []
    found: list[Shape] = []
    for bracket in brackets:
        values = [_values(name, part) for part in _SEPARATOR.split(bracket.strip())]
        if len(values) != wanted:
            raise ValueError(
                f"{DYNAMIC_DIMS}: input {name}: [{bracket}] has {len(values)} values for "
                f"{wanted} dimensions that are -1"
            )
        found.extend(_closed(shape, combination) for combination in itertools.product(*values))
    return found


def _values(name: str, text: str) -> range:
    """``8`` is one value, ``1~4`` four."""
    low, tilde, high = (part.strip() for part in text.partition("~"))
    ends = (low, high) if tilde else (low, low)
    if not all(end.isascii() and end.isdigit() and int(end) > 0 for end in ends):
        raise ValueError(f"{DYNAMIC_DIMS}: input {name}: {text!r} is no size or range (8, or 1~4)")
    if int(ends[0]) > int(ends[1]):
        raise ValueError(f"{DYNAMIC_DIMS}: input {name}: range {text!r} runs backwards")
    if int(ends[1]) - int(ends[0]) >= MAX_GEARS:
        raise ValueError(
            f"{DYNAMIC_DIMS}: input {name}: range {text!r} is more than the {MAX_GEARS} gears that "
            "the converter takes"
        )
    return range(int(ends[0]), int(ends[1]) + 1)


def _closed(shape: Shape, values: Sequence[int]) -> Shape:
    remaining = iter(values)
    return tuple(next(remaining) if dim == OPEN else dim for dim in shape)


def _unquoted(text: str) -> str:
    return text.strip().strip("\"'").strip()


def _join(dims: Iterable[int]) -> str:
    return ",".join(str(dim) for dim in dims)


def _names(gear: Gear) -> str:
    return ", ".join(name for name, _ in gear.inputs)
