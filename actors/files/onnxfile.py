"""What an ONNX file says of itself, read without the onnx package: inputs, outputs, weight bytes.

Field numbers are those of onnx.proto3. Weights are the initializers of the graph and of its
subgraphs, and the tensors of Constant nodes, which engines turn into initializers: elements times
element size, wherever the data lies (in the file or in external data).
"""

import math
import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from actors.files.protobuf import Message, Span
from actors.shapes import OPEN, TensorSpec

T = TypeVar("T")

#: TensorProto.DataType -> (numpy name, bits of one element)
_TYPES = {
    1: ("float32", 32),
    2: ("uint8", 8),
    3: ("int8", 8),
    4: ("uint16", 16),
    5: ("int16", 16),
    6: ("int32", 32),
    7: ("int64", 64),
    9: ("bool", 8),
    10: ("float16", 16),
    11: ("float64", 64),
    12: ("uint32", 32),
    13: ("uint64", 64),
    14: ("complex64", 64),
    15: ("complex128", 128),
    16: ("bfloat16", 16),
    17: ("float8", 8),
    18: ("float8", 8),
    19: ("float8", 8),
    20: ("float8", 8),
    21: ("uint4", 4),
    22: ("int4", 4),
}
#: Operators whose ``strides`` the library's engine wants to be told.
_STRIDED = ("Conv", "ConvTranspose")


class NotAModelError(ValueError):
    """The file is no ONNX model."""


@dataclass(frozen=True)
class OnnxFile:
    """Inputs, outputs and weights. -1 is open; a tensor of unknown rank has shape ``(-1,)``."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weight_bytes: int
    external_data: tuple[str, ...]

    @property
    def is_open(self) -> bool:
        """Whether any input has an open dimension."""
        return any(OPEN in spec.shape for spec in self.inputs)


def read_onnx(path: Path) -> OnnxFile:
    """Read the graph's signature and count its weights.

    Raises:
        NotAModelError: not an ONNX file, or one that is cut off.
        OSError: the file cannot be read.
    """
    if path.stat().st_size == 0:
        raise NotAModelError(f"{path} is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _Reader(data).model()
        except (ValueError, IndexError, UnicodeDecodeError) as error:
            raise NotAModelError(f"{path} is not an ONNX model: {error}") from None


@dataclass(frozen=True)
class Constant:
    """A named weight as raw bytes. ``kind``: TensorProto.DataType.

    ``file``: where the bytes lie, seen from the model's folder; empty: in the model itself.
    """

    name: str
    kind: int
    dims: tuple[int, ...]
    offset: int
    nbytes: int
    file: str = ""


def read_constants(path: Path) -> tuple[Constant, ...]:
    """The graph's initializers that are raw bytes, in the file or beside it; others are left out.

    Raises:
        NotAModelError: not an ONNX file, or one that is cut off.
        OSError: the file cannot be read.
    """
    return _all(path, _Reader.constants)


def without_strides(path: Path) -> tuple[str, ...]:
    """Convolutions that leave ``strides`` to its default, by name or by what they compute.

    The engine of release 2.0 builds no model with one, though it is converted (executed).

    Raises:
        NotAModelError: not an ONNX file, or one that is cut off.
        OSError: the file cannot be read.
    """
    return _all(path, _Reader.without_strides)


class _Reader:
    """Reads one mapped file."""

    def __init__(self, data: mmap.mmap) -> None:
        self._file = Message(data)
        self._external: list[str] = []

    def model(self) -> OnnxFile:
        """Field 7 of ModelProto is the graph."""
        graphs = list(self._file.spans(self._file.span, 7))
        if len(graphs) != 1:
            raise ValueError("it holds no graph")
        graph = graphs[0]
        names: set[str] = set()
        weights = self._graph_weights(graph, names)
        inputs = [self._value_info(span) for span in self._file.spans(graph, 11)]
        outputs = [self._value_info(span) for span in self._file.spans(graph, 12)]
        if not outputs:
            raise ValueError("its graph has no outputs")
        return OnnxFile(
            tuple(spec for spec in inputs if spec.name not in names),
            tuple(outputs),
            weights,
            tuple(dict.fromkeys(self._external)),
        )

    def constants(self) -> Iterator[Constant]:
        """Initializers (field 5 of the graph): raw bytes in field 9, or elsewhere, as 13 says."""
        for graph in self._file.spans(self._file.span, 7):
            for tensor in self._file.spans(graph, 5):
                kind, dims = self._kind_and_dims(tensor)
                name = self._file.text(tensor, 8)
                for start, stop in self._file.spans(tensor, 9):
                    yield Constant(name, kind, tuple(dims), start, stop - start)
                where = dict(map(self._entry, self._file.spans(tensor, 13)))
                if where:
                    nbytes, offset = self._tensor_bytes(tensor), int(where.get("offset", 0))
                    yield Constant(name, kind, tuple(dims), offset, nbytes, where["location"])

    def without_strides(self) -> Iterator[str]:
        """Of a node (field 1 of the graph): outputs 2, name 3, type 4, attributes 5."""
        file = self._file
        for graph in file.spans(file.span, 7):
            for node in file.spans(graph, 1):
                given = [file.text(attribute, 1) for attribute in file.spans(node, 5)]
                if file.text(node, 4) in _STRIDED and "strides" not in given:
                    yield file.text(node, 3) or file.text(node, 2)

    def _graph_weights(self, graph: Span, names: set[str]) -> int:
        file, total = self._file, 0
        for tensor in file.spans(graph, 5):
            names.add(file.text(tensor, 8))
            total += self._tensor_bytes(tensor)
        for sparse in file.spans(graph, 15):
            total += sum(self._tensor_bytes(t) for n in (1, 2) for t in file.spans(sparse, n))
        for node in file.spans(graph, 1):
            constant = file.text(node, 4) == "Constant"
            for attribute in file.spans(node, 5):
                if constant:
                    total += sum(self._tensor_bytes(t) for t in file.spans(attribute, 5))
                for number in (6, 11):
                    total += sum(
                        self._graph_weights(sub, set()) for sub in file.spans(attribute, number)
                    )
        return total

    def _tensor_bytes(self, tensor: Span) -> int:
        kind, dims = self._kind_and_dims(tensor)
        for entry in self._file.spans(tensor, 13):
            key, value = self._entry(entry)
            if key == "location":
                self._external.append(value)
        bits = _TYPES.get(kind, ("", 0))[1]
        return -(-math.prod(dims) * bits // 8)

    def _kind_and_dims(self, tensor: Span) -> tuple[int, list[int]]:
        return self._file.number(tensor, 2), self._file.numbers(tensor, 1)

    def _entry(self, entry: Span) -> tuple[str, str]:
        """A StringStringEntryProto."""
        return self._file.text(entry, 1), self._file.text(entry, 2)

    def _value_info(self, span: Span) -> TensorSpec:
        name, dtype, dims = self._file.text(span, 1), "", None
        for kind in self._file.spans(span, 2):
            for tensor in self._file.spans(kind, 1):
                for number, value in self._file.fields(tensor):
                    if number == 1 and isinstance(value, int):
                        dtype = _TYPES.get(value, (f"onnx type {value}", 0))[0]
                    elif number == 2 and not isinstance(value, int):
                        dims = tuple(self._dim(dim) for dim in self._file.spans(value, 1))
        return TensorSpec(name, dtype, (OPEN,) if dims is None else dims)

    def _dim(self, span: Span) -> int:
        size = self._file.number(span, 1)
        return size if 0 < size < 1 << 40 else OPEN


def _all(path: Path, read: Callable[[_Reader], Iterator[T]]) -> tuple[T, ...]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return tuple(read(_Reader(data)))
        except (LookupError, ValueError) as error:
            raise NotAModelError(f"{path} is not an ONNX model: {error}") from None
