"""What a MindIR file says of itself, read without any library: its inputs, and what it is for.

Field numbers are those of mind_ir.proto. A model that was converted for Ascend is one Custom node
whose last input is a parameter of bytes, the compiled OM; beside it there may only be nodes that
unpack several outputs (custom_ascend_utils.cc of MindSpore Lite 2.7). A file that was not is
compiled on the card at every build. One too large for a protobuf keeps its bytes in files beside it
(``NAME_variables/data_0``).
"""

import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from actors.files.om import OMFile, parse_om
from actors.files.protobuf import Message, Span
from actors.shapes import OPEN, Gear, TensorSpec

T = TypeVar("T")

#: TensorProto.DataType -> numpy name
_TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    17: "float64",
}
_BYTES = 2
_UNPACKING = ("MakeTuple", "TupleGetItem", "Return")
#: How a node refers to a primitive, which the file lists once for all nodes.
_REFERENCE = "REF::"


class NotAMindIRError(ValueError):
    """The file is no MindIR."""


@dataclass(frozen=True)
class MindIRFile:
    """What is read of a MindIR. -1 is an open dimension of an input.

    ``converted``: whether it holds a model compiled for Ascend, of ``om_bytes`` bytes. ``om`` is
    what that says of itself; None with ``om_problem`` where it cannot be read. ``external_data``:
    files beside it that hold its weights.
    """

    inputs: tuple[TensorSpec, ...]
    converted: bool
    om: OMFile | None
    om_problem: str
    om_bytes: int
    external_data: tuple[str, ...]

    @property
    def gears(self) -> tuple[Gear, ...]:
        """What it was compiled for, by the names of its inputs; empty if for one shape or any."""
        names = [spec.name for spec in self.inputs]
        gears = self.om.gears if self.om else ()
        if any(len(shapes) != len(names) for shapes in gears):
            return ()  # other inputs than the model has: not to be told apart
        return tuple(Gear(tuple(zip(names, shapes, strict=True))) for shapes in gears)


def read_mindir(path: Path) -> MindIRFile:
    """Read a MindIR's signature; its weights are not read.

    Raises:
        NotAMindIRError: not a MindIR, or one that is cut off.
        OSError: the file cannot be read.
    """
    return _mapped(path, lambda file: _read(file, path.parent))


def read_om(path: Path) -> bytes:
    """The compiled model that a MindIR holds, or has in a file beside it.

    Raises:
        NotAMindIRError: not a MindIR, or not one that was converted for Ascend.
        OSError: a file cannot be read.
    """
    om = _mapped(path, lambda file: _om_bytes(file, path.parent))
    if not om:
        raise NotAMindIRError(f"{path} was not converted for Ascend")
    return om


def _mapped(path: Path, read: Callable[[Message], T]) -> T:
    if path.stat().st_size == 0:
        raise NotAMindIRError(f"{path} is empty")
    with _opened(path) as file:
        try:
            return read(file)
        except IndexError:
            raise NotAMindIRError(f"{path} is not a MindIR model: it ends too early") from None
        except ValueError as error:  # UnicodeDecodeError is one
            raise NotAMindIRError(f"{path} is not a MindIR model: {error}") from None


def _graph(file: Message) -> tuple[Span, list[Span]]:
    """The graph and its parameters."""
    graphs = list(file.spans(file.span, 7))
    if len(graphs) != 1:
        raise ValueError("it holds no graph")
    if not any(True for _ in file.spans(graphs[0], 6)):
        raise ValueError("its graph has no outputs")
    return graphs[0], list(file.spans(graphs[0], 3))


def _om_bytes(file: Message, folder: Path) -> bytes:
    graph, parameters = _graph(file)
    om = _om(file, graph, parameters)
    if om is None:
        return b""
    with _held(file, om, folder) as (holder, (start, stop)):
        return holder.data[start:stop]


@contextmanager
def _held(file: Message, parameter: Span, folder: Path) -> Iterator[tuple[Message, Span]]:
    """Where the bytes of a parameter are: in the model's own file, or in one beside it."""
    for span in file.spans(parameter, 9):
        yield file, span
        return
    for place in file.spans(parameter, 12):
        with _opened(folder / file.text(place, 1)) as beside:
            start, length = file.number(place, 2), file.number(place, 3)
            yield beside, (start, start + length if length else len(beside.data))
        return
    raise ValueError("a parameter without data")


@contextmanager
def _opened(path: Path) -> Iterator[Message]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield Message(data)


def _read(file: Message, folder: Path) -> MindIRFile:
    graph, parameters = _graph(file)
    external = [file.text(place, 1) for span in parameters for place in file.spans(span, 12)]
    om = _om(file, graph, parameters)
    parsed, problem = (None, "") if om is None else _parsed(file, om, folder)
    return MindIRFile(
        inputs=tuple(_input(file, span) for span in file.spans(graph, 5)),
        converted=om is not None,
        om=parsed,
        om_problem=problem,
        om_bytes=0 if om is None else file.number(om, 1),
        external_data=tuple(dict.fromkeys(external)),
    )


def _input(file: Message, span: Span) -> TensorSpec:
    """``ValueInfoProto``: its tensor (2) carries the name (7) by which the model is called."""
    for tensor in file.spans(span, 2):
        kind = file.number(tensor, 2)
        dims = tuple(dim if 0 < dim < 1 << 40 else OPEN for dim in file.numbers(tensor, 1))
        name = file.text(tensor, 7) or file.text(span, 1)
        return TensorSpec(name, _TYPES.get(kind, f"mindir type {kind}"), dims)
    raise ValueError(f"input {file.text(span, 1)} is no tensor")


def _om(file: Message, graph: Span, parameters: list[Span]) -> Span | None:
    """The parameter that holds the OM: the last input of the graph's one Custom node."""
    primitives = {file.text(p, 1): file.text(p, 2) for p in file.spans(file.span, 12)}
    custom: list[Span] = []
    for node in file.spans(graph, 1):
        name = file.text(node, 4)
        kind = primitives.get(name.removeprefix(_REFERENCE), name)
        if kind == "Custom":
            custom.append(node)
        elif not kind.endswith(_UNPACKING):
            return None
    if len(custom) != 1:
        return None
    inputs = [file.data[start:stop].decode() for start, stop in file.spans(custom[0], 1)]
    for span in parameters:
        if inputs and file.text(span, 7) == inputs[-1]:
            is_bytes = file.number(span, 2) == _BYTES and len(file.numbers(span, 1)) == 1
            return span if is_bytes else None
    return None


def _parsed(file: Message, om: Span, folder: Path) -> tuple[OMFile | None, str]:
    """What the OM says of itself, or why it cannot be read."""
    try:
        with _held(file, om, folder) as (holder, span):
            return parse_om(holder, span), ""
    except OSError as error:
        return None, f"{error.filename}: {error.strerror}"
    except (ValueError, IndexError) as error:
        return None, f"its OM cannot be read: {error}"
