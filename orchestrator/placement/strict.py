"""Strict reading of records: which keys there are, what each may hold, and the schema of it."""

import difflib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: No card has more memory than this; a larger size is a slip of the finger.
MOST_BYTES = 1 << 56


@dataclass(frozen=True)
class Kind:
    """What a value must be: in words, as a test and as JSON schema."""

    wanted: str
    accepts: Callable[[Any], bool]
    schema: Mapping[str, Any]


@dataclass
class Findings:
    """Problems found so far, each a complete line of text."""

    lines: list[str] = field(default_factory=list)

    def add(self, where: str, problem: str) -> None:
        """Note one problem of the thing at ``where``."""
        self.lines.append(f"{where}: {problem}" if where else problem)


def finite(value: Any) -> bool:  # noqa: ANN401 - anything that JSON can hold
    """Whether it is a number that a float can hold: whole ones of JSON have any length."""
    if type(value) is int:
        return abs(value) <= sys.float_info.max
    return type(value) is float and math.isfinite(value)


def whole(low: int, high: int = MOST_BYTES) -> Kind:
    """A whole number, never a float or a bool."""
    return Kind(
        f"a whole number from {low} to {high:,}",
        lambda value: type(value) is int and low <= value <= high,
        {"type": "integer", "minimum": low, "maximum": high},
    )


def number(low: float, *, above: bool = False, high: float | None = None) -> Kind:
    """A finite number, at least (or above) ``low`` and at most ``high``."""
    upper = "" if high is None else f" and at most {high:g}"
    schema: dict[str, Any] = {"type": "number"}
    schema["exclusiveMinimum" if above else "minimum"] = low
    if high is not None:
        schema["maximum"] = high

    def accepts(value: Any) -> bool:  # noqa: ANN401 - anything that JSON can hold
        if not finite(value):
            return False
        return (value > low if above else value >= low) and (high is None or value <= high)

    return Kind(f"a number {'above' if above else 'of at least'} {low:g}{upper}", accepts, schema)


def choice(*options: str) -> Kind:
    """One of some words."""
    return Kind(
        "one of " + ", ".join(options), lambda value: value in options, {"enum": list(options)}
    )


TEXT = Kind(
    "text that can be printed",
    lambda value: isinstance(value, str) and value != "" and value.isprintable(),
    {"type": "string", "minLength": 1},
)
FLAG = Kind("true or false", lambda value: isinstance(value, bool), {"type": "boolean"})
NAMES = Kind(
    "a list of names that can be printed",
    lambda value: isinstance(value, list) and all(map(TEXT.accepts, value)),
    {"type": "array", "items": TEXT.schema},
)
GROUPS = Kind(
    "a list of lists of names that can be printed",
    lambda value: isinstance(value, list) and all(NAMES.accepts(group) for group in value),
    {"type": "array", "items": NAMES.schema},
)
RECORDS = Kind("a list of records", lambda value: isinstance(value, list), {"type": "array"})


def optional(kind: Kind) -> Kind:
    """The same, or null."""
    return Kind(
        f"{kind.wanted}, or null",
        lambda value: value is None or kind.accepts(value),
        {"anyOf": [kind.schema, {"type": "null"}]},
    )


def read_record(
    data: object,
    kinds: Mapping[str, Kind],
    required: Sequence[str],
    where: str,
    findings: Findings,
) -> dict[str, Any]:
    """The fields of one record that hold what they must; everything else becomes a finding."""
    if not isinstance(data, dict):
        findings.add(where, f"expected a record with keys, got {type(data).__name__}")
        return {}
    fields: dict[str, Any] = {}
    for key, value in data.items():
        if key not in kinds:
            findings.add(where, f"unknown key {key!r}{did_you_mean(str(key), kinds)}")
        elif not kinds[key].accepts(value):
            findings.add(where, f"{key} must be {kinds[key].wanted}, got {value!r:.60}")
        else:
            fields[key] = value
    for key in required:
        if key not in data:
            findings.add(where, f"{key} is missing: {kinds[key].wanted}")
    return fields


def did_you_mean(word: str, known: Mapping[str, object] | Sequence[str]) -> str:
    """``, did you mean 'threads'?`` when a known word is near, else nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def record_schema(kinds: Mapping[str, Kind], required: Sequence[str]) -> dict[str, Any]:
    """JSON schema of one record."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": {key: dict(kind.schema) for key, kind in kinds.items()},
    }
