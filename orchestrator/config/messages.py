"""pydantic's findings, said in the words of the deployment file."""

import re
import types
import typing
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.config.findings import Finding, Findings, Loc, did_you_mean, nearest

_QUOTED = re.compile(r"'([^']*)'")
_LONGEST_VALUE = 60
_MISSING = "is missing"

#: What each kind of error asks for; {names} are filled from the error's context.
_WANTED = {
    "bool_type": "expected true or false",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_parsing_size": "expected a smaller number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a finite number",
    "string_type": "expected text",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "tuple_type": "expected a list",
    "dict_type": "expected a mapping (name: value)",
    "model_type": "expected a mapping (field: value)",
    "model_attributes_type": "expected a mapping (field: value)",
    "greater_than": "must be more than {gt:.12g}",
    "greater_than_equal": "must be at least {ge:.12g}",
    "less_than": "must be less than {lt:.12g}",
    "less_than_equal": "must be at most {le:.12g}",
    "string_pattern_mismatch": (
        "must be letters, digits, '_', '.' and '-', and begin with a letter, a digit or '_'"
    ),
}

#: What people write for a value that is called otherwise here.
_ALSO_CALLED = {"npu": "ascend", "gpu": "ascend"}


def findings_of(error: ValidationError, root: type[BaseModel]) -> list[Finding]:
    """Every problem that ``error`` holds. ``root`` is the section that was being built.

    A field that is missing because its name was misspelt is one problem, not two.
    """
    found: list[Finding] = []
    for detail in error.errors(include_url=False):
        loc: Loc = tuple(part for part in detail["loc"] if part != "[key]")
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, Findings):
            found.extend(finding.below(loc) for finding in cause.findings)
        elif detail["type"] == "missing":
            found.append(Finding(loc, _MISSING))
        elif detail["type"] == "extra_forbidden":
            found.append(_unknown(loc, _fields_at(root, loc[:-1])))
        else:
            found.append(Finding(loc, _text(detail, cause)))
    meant = {finding.meant for finding in found}
    return [finding for finding in found if finding.text != _MISSING or finding.loc not in meant]


def _unknown(loc: Loc, known: list[str]) -> Finding:
    word = str(loc[-1])
    guess = nearest(word, known)
    hint = did_you_mean(word, known) or f" (there are: {', '.join(sorted(known))})"
    return Finding(
        loc,
        f"unknown field {word!r}{hint}",
        names_field=True,
        meant=(*loc[:-1], guess) if guess else None,
    )


def _text(detail: ErrorDetails, cause: object) -> str:
    if isinstance(cause, ValueError):
        return str(cause)
    value = _shown(detail["input"])
    if detail["type"] in ("literal_error", "enum"):
        known = _QUOTED.findall(detail.get("ctx", {}).get("expected", ""))
        word = str(detail["input"])
        hint = did_you_mean(_ALSO_CALLED.get(word.lower(), word), known)
        return f"{value} is none of {', '.join(known)}{hint}"
    wanted = _WANTED.get(detail["type"])
    if wanted is None:
        return f"is not valid: {detail['msg']}"
    wanted = wanted.format(**detail.get("ctx", {}))
    quotes = "; put it in quotes" if _needs_quotes(detail) else ""
    return f"{wanted}, got {value}{quotes}"


def _needs_quotes(detail: ErrorDetails) -> bool:
    return detail["type"] == "string_type" and isinstance(detail["input"], int | float)


def _shown(value: object) -> str:
    """A value as the user would recognise it, and never a page of it."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def _fields_at(root: type[BaseModel], loc: Iterable[str | int]) -> list[str]:
    """The fields of the section at ``loc``, found by following the annotations."""
    at: object = root
    for part in loc:
        section = _section(at)
        if section is not None and part in section.model_fields:
            at = section.model_fields[str(part)].annotation
    section = _section(at)
    return list(section.model_fields) if section is not None else []


def _section(annotation: object) -> type[BaseModel] | None:
    """The section inside ``Section | None``, ``tuple[Section, ...]`` and the like."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    inner = (_section(argument) for argument in typing.get_args(annotation))
    return next((section for section in inner if section is not None), None)
