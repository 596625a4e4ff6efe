"""MindIR files for tests, written field by field as the converter lays them out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

FLOAT32, UINT8, INT32 = 1, 2, 6


def write_mindir(
    path: Path,
    inputs: Mapping[str, Sequence[int]],
    *,
    dtype: int = FLOAT32,
    om: bytes | None = None,
    beside: str | None = None,
    outputs: int = 1,
    constants: Mapping[str, bytes] | None = None,
) -> Path:
    """A model of these inputs (-1: open). With ``om`` one converted for Ascend, else not.

    ``beside`` names, relative to the model, the file that its one parameter lies in; it is not
    written. ``constants`` are parameters beside that one.
    """
    held = bytes(512) if om is None else om
    parameter = field(1, len(held)) + field(2, FLOAT32 if om is None else UINT8) + field(7, b"p")
    place = field(1, (beside or "").encode()) + field(2, 0) + field(3, len(held))
    parameter += field(12, place) if beside else field(9, held)
    kind = "MatMulFusion" if om is None else "Custom"
    nodes = [(kind, [*(f"i{n}" for n in range(len(inputs))), "p"])]
    if outputs > 1:
        nodes += [("TupleGetItem", ["n0"]) for _ in range(outputs)]
        nodes += [("MakeTuple", [f"n{n + 1}" for n in range(outputs)])]
    graph = b"".join(
        field(1, _node(f"REF::{kind}:{n}", taken, f"n{n}")) for n, (kind, taken) in enumerate(nodes)
    )
    graph += field(2, b"graph") + field(3, parameter)
    for name, data in (constants or {}).items():
        one = field(1, len(data)) + field(2, UINT8) + field(7, name.encode()) + field(9, data)
        graph += field(3, one)
    graph += b"".join(
        field(5, _value_info(f"i{n}", name, shape, dtype))
        for n, (name, shape) in enumerate(inputs.items())
    )
    graph += field(6, field(1, f"n{len(nodes) - 1}".encode()))
    model = field(1, b"0.1.1") + field(2, b"MindSpore") + field(5, b"2.7.0") + field(7, graph)
    for n, (kind, _) in enumerate(nodes):
        model += field(12, field(1, f"{kind}:{n}".encode()) + field(2, kind.encode()))
    path.write_bytes(model)
    return path


def _value_info(node: str, name: str, shape: Sequence[int], dtype: int) -> bytes:
    dims = b"".join(field(1, dim) for dim in shape)
    return field(1, node.encode()) + field(2, dims + field(2, dtype) + field(7, name.encode()))


def _node(kind: str, inputs: Sequence[str], output: str) -> bytes:
    taken = b"".join(field(1, name.encode()) for name in inputs)
    return taken + field(2, output.encode()) + field(3, b"Default/op") + field(4, kind.encode())


def field(number: int, value: int | bytes) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value % (1 << 64))
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
