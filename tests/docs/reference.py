"""The page ``docs/reference.md``: public names and commands, written from the code itself."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

import orchestrator
from orchestrator.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"
HEAD = """\
# Reference

Every name that `from orchestrator import ...` gives, and every command with its options. The page
is written from the code, and a test holds it to that: `WRITE_EXPECTED=1 python -m pytest
tests/docs/test_reference.py` writes it anew. What all of it is for is told in the [how-to
pages](index.md); `help(NAME)` and `orchestrator COMMAND --help` say more of each.
"""
#: Headings, what is said below, and the names, in the order of the page.
PARTS = {
    "Drive": (
        "[Drive it from Python](driver.md) has them by example. `Arrays` is a mapping of names to "
        'numpy arrays and `Priority` is `"online"` or `"batch"`; a `Pipeline` is an '
        "`async def f(batch, models)`, and an `Input` a file, a folder, a URL or a dataset of Ray "
        "Data.",
        ("Orchestrator", "ModelHandle", "Signature", "Status", "log_events"),
    ),
    "Batch jobs": (
        "See [Run a batch job](jobs.md).",
        ("BatchJob", "Progress", "JobSummary", "Outcome", "Reject", "ToCards"),
    ),
    "Plans": (
        "See [Plan before you start](planning.md).",
        ("load_deployment", "plan_deployment", "DeploymentPlan", "Inventory"),
    ),
    "Deployments": (
        "The sections of [the deployment file](deployment.md), which says what each field means. "
        "All are frozen, take their fields by name, and raise `DeploymentError`.",
        (
            *("Deployment", "Cards", "ModelSpec", "Replicas", "Batching", "Padding", "Shapes"),
            *("DynamicShapes", "Sharing", "Placement"),
        ),
    ),
    "Errors": (
        "All derive from `OrchestratorError`; their fields are their arguments.",
        tuple(name for name in orchestrator.__all__ if name.endswith("Error")),
    ),
}


#: Classes that are made by a call with arguments of their own.
_MADE_BY_CALLERS = {"Orchestrator", "ToCards"}


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, (text, names) in PARTS.items():
        parts.append(f"## {title}\n\n{text}\n")
        parts += [part for name in names for part in _entry(name)]
    return "\n".join([*parts, *_commands()])


def _entry(name: str) -> Iterator[str]:
    thing = getattr(orchestrator, name)
    if isinstance(thing, type) and issubclass(thing, Exception):
        taken = ", ".join(field.name for field in fields(thing)) if is_dataclass(thing) else ""
        base = thing.__base__.__name__
        told = f", a `{base}`" if base.startswith(("Card", "Request")) else ""
        yield f"- `{name}({taken})`{told}: {_first(thing)}"
        return
    yield f"### {name}\n\n{_first(thing)}\n"
    if isinstance(thing, type):
        yield from _class(name, thing)
    else:
        yield _text(_wrapped(*_signature(name, thing)))


def _class(name: str, thing: type) -> Iterator[str]:
    if issubclass(thing, BaseModel):
        yield _text(textwrap.fill(f"{name}({', '.join(thing.model_fields)})", 98))
    elif is_dataclass(thing):
        kinds = (f"{field.name}: {_plain(field.type)}" for field in fields(thing))
        yield _text(_wrapped(f"{name}(", list(kinds), ")"))
    elif name in _MADE_BY_CALLERS:
        yield _text(_wrapped(*_signature(name, vars(thing)["__init__"])))
    elif issubclass(thing, Enum):
        yield ", ".join(f"`Outcome.{one.name}`" for one in thing) + "\n"
    lines = [_member(name, member, found) for member, found in vars(thing).items()]
    lines = [line for line in lines if line]
    if lines:
        yield "\n".join(lines) + "\n"


def _member(owner: str, name: str, found: Any) -> str:
    """One line of a list for a public method or property; empty for anything else."""
    if name.startswith("_"):
        return ""
    if isinstance(found, property):
        return f"- `.{name}`: {_first(found)}"
    call = found.__func__ if isinstance(found, classmethod | staticmethod) else found
    if not inspect.isfunction(call):
        return ""
    shown = f"{owner}.{name}" if isinstance(found, classmethod | staticmethod) else f".{name}"
    wait = "await " if inspect.iscoroutinefunction(call) else ""
    head, taken, tail = _signature(shown, call)
    return f"- `{wait}{head}{', '.join(taken)}{tail}`: {_first(found)}"


def _signature(shown: str, call: Callable[..., Any]) -> tuple[str, list[str], str]:
    """``name(``, what it takes, and ``) -> what it gives``: annotations as the source has them."""
    made = ast.parse(textwrap.dedent(inspect.getsource(call))).body[0]
    assert isinstance(made, ast.FunctionDef | ast.AsyncFunctionDef)
    arguments = (*made.args.posonlyargs, *made.args.args, *made.args.kwonlyargs)
    written = {one.arg: one.annotation for one in arguments}
    taken: list[str] = []
    for name, parameter in inspect.signature(call).parameters.items():
        if name in {"self", "cls"}:
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in taken:
            taken.append("*")
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        taken.append(f"{name}: {_annotation(written[name])}{default}")
    gives = _annotation(made.returns)
    return f"{shown}(", taken, ")" if gives == "None" else f") -> {gives}"


def _annotation(node: ast.expr | None) -> str:
    """Without the quotes of names that are imported for types alone."""
    assert node is not None
    return _plain(ast.unparse(node).replace("'", ""))


def _wrapped(head: str, parts: list[str], tail: str) -> str:
    line = f"{head}{', '.join(parts)}{tail}"
    if len(line) <= 98:
        return line
    return f"{head}\n" + "".join(f"    {part},\n" for part in parts) + tail


def _plain(kind: Any) -> str:
    """A type as its last names."""
    named = isinstance(kind, type) and not hasattr(kind, "__args__")
    return re.sub(r"(?:\w+\.)+(?=[A-Z])", "", kind.__name__ if named else str(kind))


def _first(thing: Any) -> str:
    """The first paragraph of what the code says of it."""
    text = inspect.cleandoc(thing.__doc__ or "").split("\n\n")[0]
    return re.sub(r"``(.+?)``", r"`\1`", " ".join(text.split()))


def _text(text: str) -> str:
    return f"```text\n{text}\n```\n"


def _commands() -> Iterator[str]:
    group = typer.main.get_command(app)
    yield "\n## Commands\n"
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        if command.hidden:
            continue
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        words = " ".join(
            (a.metavar or a.name.upper()) if a.required else f"[{(a.metavar or a.name).upper()}]"
            for a in arguments
        )
        yield f"### orchestrator {name} {words}".rstrip() + "\n"
        yield f"{' '.join(str(command.help).split(chr(10) * 2)[0].split())}\n"
        lines = [f"- {words}: {a.help}" for a in arguments for words in [f"`{a.name.upper()}`"]]
        lines += [
            f"- `{' '.join(o.opts)}`: {o.help}"
            for o in command.params
            if o.param_type_name == "option" and o.name != "help"
        ]
        yield "\n".join(lines) + "\n"
