"""Copies of fixed models at other input shapes: the engine takes no shape but the file's own.

The library's CPU engine resizes a fixed model (executed with release 2.0.0); ACL does not.
"""

import hashlib
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from actors.files.onnxfile import read_onnx
from actors.files.protobuf import Message, Span
from actors.shapes import Shape


def copy_at(onnx: Path, shapes: Mapping[str, Shape]) -> Path:
    """The same model with these input shapes; gone with this process.

    Raises:
        NotAModelError: not an ONNX file.
        OSError: a file cannot be read or written.
    """
    name = hashlib.sha256(f"{onnx.resolve()} {sorted(shapes.items())}".encode()).hexdigest()
    target = Path(_folder().name, name[:16], onnx.name)
    target.parent.mkdir(exist_ok=True)
    for beside in read_onnx(onnx).external_data:
        link = target.parent / beside
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(onnx.parent.resolve() / beside)
    data = onnx.read_bytes()
    for name, shape in shapes.items():
        data = _with_shape(data, name, shape)
    target.write_bytes(data)
    return target


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="ascend-reshaped-")


def _with_shape(data: bytes, name: str, shape: Shape) -> bytes:
    """Replace ``graph.input[name].type.tensor_type.shape`` (fields 7, 11, 2, 1 and 2)."""
    file = Message(data)
    dims = b"".join(_field(1, _varint(1 << 3) + _varint(dim)) for dim in shape)
    for graph in file.spans(file.span, 7):
        for info in file.spans(graph, 11):
            if file.text(info, 1) != name:
                continue
            for kind in file.spans(info, 2):
                for tensor in file.spans(kind, 1):
                    for old in file.spans(tensor, 2):
                        around = [(7, graph), (11, info), (2, kind), (1, tensor), (2, old)]
                        return _replaced(data, around, dims)
    return data


def _replaced(data: bytes, around: list[tuple[int, Span]], new: bytes) -> bytes:
    """Put ``new`` in the place of the innermost of these nested messages."""
    outer = [(0, len(data)), *(span for _, span in around)]
    for (number, (start, stop)), (first, last) in reversed(list(zip(around, outer, strict=False))):
        head = len(_field(number, data[start:stop])) - (stop - start)
        new = data[first : start - head] + _field(number, new) + data[stop:last]
    return new


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
