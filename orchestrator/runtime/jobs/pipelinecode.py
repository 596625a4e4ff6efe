"""What a pipeline function consists of: its code, the modules of its user, and what it carries.

A function of a file is known by the text of its module and of the user's modules that this imports.
One that was typed in, or is the running script's own, is known by its own text and by what it uses
of its surroundings, so that a line added elsewhere in the script is no change. Beside these counts
what is bound to it: arguments, closures, an object's state.
"""

import functools
import hashlib
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ray import cloudpickle

from orchestrator.runtime.jobs.usermodules import UserModules, is_ours

_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def pipeline_code(pipeline: object, here: Path) -> tuple[str, str]:
    """A name for a pipeline function, and a digest of everything that it consists of.

    ``here`` is the working directory: see UserModules.
    """
    described = _Description(UserModules(here.resolve()))
    state = described.of(pipeline)
    files = sorted(described.modules.digests.items())
    return _name(pipeline), _digest("\n".join([state, *map(" ".join, files)]))


def _name(pipeline: object) -> str:
    while isinstance(pipeline, functools.partial):
        pipeline = pipeline.func
    code = pipeline if inspect.isroutine(pipeline) else type(pipeline)
    return f"{code.__module__}:{code.__qualname__}"


class _Description:
    """Describes values by text that is the same in every process; files are in ``modules``."""

    def __init__(self, modules: UserModules) -> None:
        self.modules = modules
        self._told: dict[int, tuple[object, str]] = {}  # with the value, so that its number lasts
        self._kinds: tuple[tuple[type | tuple[type, ...], Callable[[Any], str]], ...] = (
            (types.ModuleType, self._module),
            (type, self._class),
            (functools.partial, lambda one: self.of([one.func, one.args, one.keywords])),
            (types.MethodType, lambda one: f"{one.__name__} of {self.of(one.__self__)}"),
            (types.FunctionType, self._function),
            (Mapping, self._mapping),
            ((list, tuple), lambda one: f"[{', '.join(map(self.of, one))}]"),
            # in the order of a hash that differs from process to process
            ((set, frozenset), lambda one: f"set {sorted(map(self.of, one))}"),
            (object, self._object),
        )

    def of(self, value: object) -> str:
        """What a value is."""
        if isinstance(value, _PLAIN):
            return repr(value)
        if id(value) not in self._told:
            self._told[id(value)] = value, "itself"
            text = next(tell(value) for kind, tell in self._kinds if isinstance(value, kind))
            self._told[id(value)] = value, _digest(text)
        return self._told[id(value)][1]

    def _module(self, module: types.ModuleType) -> str:
        self.modules.follow(module.__name__)
        return f"module {module.__name__}"

    def _mapping(self, mapping: Mapping[object, object]) -> str:
        return f"{{{', '.join(f'{self.of(k)}: {self.of(v)}' for k, v in mapping.items())}}}"

    def _object(self, value: object) -> str:
        kind = type(value)
        name = f"{kind.__module__}:{kind.__qualname__} {self.of(kind)}"
        if isinstance(value, np.ndarray) and value.dtype != object:
            return f"{name} {value.dtype} {value.shape} {_digest(value.tobytes())}"
        if kind.__module__ == "__main__" or self.modules.follow(kind.__module__):
            return f"{name} {self.of(_state(value))}"
        if is_ours(kind.__module__):  # models, and what leads to them
            return name
        try:
            return f"{name} {_digest(cloudpickle.dumps(value))}"  # type: ignore[no-untyped-call]
        except Exception:  # a lock, a file, whatever a library refuses: nothing of it lasts
            return name

    def _class(self, kind: type) -> str:
        name = f"class {kind.__module__}:{kind.__qualname__}"
        if self.modules.follow(kind.__module__) or kind.__module__ != "__main__":
            return name
        return f"{name} {self.of([one for one in vars(kind).values() if inspect.isroutine(one)])}"

    def _function(self, function: types.FunctionType) -> str:
        closed = [_content(cell) for cell in function.__closure__ or ()]
        bound = self.of([function.__defaults__, function.__kwdefaults__, closed])
        name = f"{function.__module__}:{function.__qualname__} {bound}"
        if self.modules.follow(function.__module__, alone=True):
            return name
        around = function.__globals__
        names = sorted(set(_names(function.__code__)) & around.keys())
        return f"{name} {_text(function)} {self.of({one: around[one] for one in names})}"


def _state(value: object) -> dict[str, object]:
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    found = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    return {**found, **getattr(value, "__dict__", {})}


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _names(inner)


def _text(function: types.FunctionType) -> str:
    try:
        return _digest(inspect.getsource(function))
    except (OSError, TypeError):  # typed in where nobody keeps what is typed
        return _digest(_bytecode(function.__code__))


def _bytecode(code: types.CodeType) -> str:
    inner = [
        _bytecode(one)
        if isinstance(one, types.CodeType)
        else repr(sorted(one, key=repr) if isinstance(one, frozenset) else one)
        for one in code.co_consts
    ]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {inner}"


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _digest(data: str | bytes) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()
