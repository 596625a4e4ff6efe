"""MindIR files for tests, written field by field as the converter lays them out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

FLOAT32, UINT8, INT32 = 1, 2, 6


def write_mindir(
    path: Path,
    inputs: Mapping[str, Sequence[int]],
    *,
    dtype: int = FLOAT32,
    soc: str | None = None,
    om_bytes: int = 512,
    beside: str | None = None,
    outputs: int = 1,
) -> Path:
    """A model of these inputs (-1: open). With ``soc`` converted for that hardware, else not.

    ``beside`` names, relative to the model, the file that its one parameter lies in; it is not
    written.
    """
    held = _om(soc, om_bytes) if soc else bytes(om_bytes)
    parameter = _field(1, om_bytes) + _field(2, UINT8 if soc else FLOAT32) + _field(7, b"p")
    place = _field(1, (beside or "").encode()) + _field(2, 0) + _field(3, om_bytes)
    parameter += _field(12, place) if beside else _field(9, held)
    nodes = [("Custom" if soc else "MatMulFusion", [*(f"i{n}" for n in range(len(inputs))), "p"])]
    if outputs > 1:
        nodes += [("TupleGetItem", ["n0"]) for _ in range(outputs)]
        nodes += [("MakeTuple", [f"n{n + 1}" for n in range(outputs)])]
    graph = b"".join(
        _field(1, _node(f"REF::{kind}:{n}", taken, f"n{n}"))
        for n, (kind, taken) in enumerate(nodes)
    )
    graph += _field(2, b"graph") + _field(3, parameter)
    graph += b"".join(
        _field(5, _value_info(f"i{n}", name, shape, dtype))
        for n, (name, shape) in enumerate(inputs.items())
    )
    graph += _field(6, _field(1, f"n{len(nodes) - 1}".encode()))
    model = _field(1, b"0.1.1") + _field(2, b"MindSpore") + _field(5, b"2.7.0") + _field(7, graph)
    for n, (kind, _) in enumerate(nodes):
        model += _field(12, _field(1, f"{kind}:{n}".encode()) + _field(2, kind.encode()))
    path.write_bytes(model)
    return path


def _om(soc: str, size: int) -> bytes:
    """Not an OM: the two things that are looked for in one, among other bytes."""
    text = b"IMOD" + bytes(60) + b"soc_version\x12\x0d\x0a\x0b" + soc.encode() + b"\x00Ascend000"
    return text.ljust(size, b"\x00")


def _value_info(node: str, name: str, shape: Sequence[int], dtype: int) -> bytes:
    dims = b"".join(_field(1, dim) for dim in shape)
    return _field(1, node.encode()) + _field(2, dims + _field(2, dtype) + _field(7, name.encode()))


def _node(kind: str, inputs: Sequence[str], output: str) -> bytes:
    taken = b"".join(_field(1, name.encode()) for name in inputs)
    return taken + _field(2, output.encode()) + _field(3, b"Default/op") + _field(4, kind.encode())


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value % (1 << 64))
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
