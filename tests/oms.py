"""OM files for tests, laid out as GraphEngine writes them: small ones, without anything to run."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mindirs import FLOAT32, field, write_mindir

Gears = Sequence[Mapping[str, Sequence[int]]]
#: ``DynamicInputType``: how the values of gears are meant.
BATCH, IMAGE, DIMS = 1, 2, 3
_MODEL_DEF, _WEIGHTS_DATA, _TASK_INFO = 0, 1, 2


@dataclass(frozen=True)
class _OM:
    """An OM of these inputs (-1: open) and gears; without gears an open one takes any shape.

    ``order``: in which the values of a gear go to the inputs. ``narrow``: a header and a table with
    32 bits a number, as older releases write them.
    """

    inputs: Mapping[str, Sequence[int]]
    soc: str = "Ascend310P3"
    weights: int = 64
    workspace: int = 4096
    streams: int = 2
    gears: Gears = ()
    meaning: int = DIMS
    order: Sequence[str] = ()
    name: bytes = b"model"
    narrow: bool = False
    encrypted: bool = False


def write_om(inputs: Mapping[str, Sequence[int]], **compiled: Any) -> bytes:
    """The bytes of an OM; ``compiled`` is whatever else an ``_OM`` has."""
    om = _OM(inputs, **compiled)
    opened = not om.gears and any(dim < 0 for shape in inputs.values() for dim in shape)
    definition = field(1, om.name) + field(7, _graph(om)) + _numbers(om)
    tasks = field(10, b"") + field(11, om.workspace) + field(12, om.streams)
    first = [(_MODEL_DEF, definition), (_WEIGHTS_DATA, bytes(om.weights)), (_TASK_INFO, tasks)]
    second = [(_MODEL_DEF, definition), (_WEIGHTS_DATA, b"more")]
    models = [first, second] if opened else [first]
    body = b"".join(_table(one, om.narrow) for one in models)
    return _header(om, len(body), len(models)) + body


def _graph(om: _OM) -> bytes:
    ops = [_data(n, key, shape, om.gears) for n, (key, shape) in enumerate(om.inputs.items())]
    if om.gears:
        ops.append(_case(om))
        ops.insert(0, _data(len(ops), "ascend_mbatch_shape_data", [len(om.inputs)], ()))
    ops.append(field(1, b"Node_Output") + field(2, b"NetOutput"))
    return field(1, b"graph") + b"".join(field(6, op) for op in ops)


def _numbers(om: _OM) -> bytes:
    """Attributes of the model."""
    wholes = {"stream_num": om.streams, "memory_size": om.workspace, "weight_size": om.weights}
    found = b"".join(_attribute(11, key, field(3, n)) for key, n in wholes.items())
    return found + (_attribute(11, "soc_version", field(2, om.soc.encode())) if om.soc else b"")


def write_compiled(
    path: Path,
    inputs: Mapping[str, Sequence[int]],
    *,
    dtype: int = FLOAT32,
    beside: str | None = None,
    outputs: int = 1,
    **compiled: Any,
) -> Path:
    """A MindIR that was converted for Ascend; ``compiled`` as in ``write_om``."""
    om = write_om(inputs, **compiled)
    return write_mindir(path, inputs, dtype=dtype, om=om, beside=beside, outputs=outputs)


def _header(om: _OM, size: int, models: int) -> bytes:
    """``ModelFileHeader``: without the number of models and with other fields in older releases."""
    version = 0x10000000 if om.narrow else 0x20000000
    head = struct.pack("<4sII64sIB3x32sI32sI", b"IMOD", 256, version, bytes(64), size,
                       om.encrypted, om.name, 0, bytes(32), 2)  # fmt: skip
    if om.narrow:
        rest = struct.pack("<20sB", b"3.20.T100.0.B356", 0)
    else:
        rest = struct.pack("<I20sB3xQBB", models, b"8.1.RC1", 0, size, 0, models > 1)
    return (head + rest).ljust(256, b"\0")


def _table(partitions: Sequence[tuple[int, bytes]], narrow: bool) -> bytes:
    entry, head = ("<III", "<I") if narrow else ("<IxxxxQQ", "<Ixxxx")
    table, offset = struct.pack(head, len(partitions)), 0
    for kind, data in partitions:
        table += struct.pack(entry, kind, offset, len(data))
        offset += len(data)
    return table + b"".join(data for _, data in partitions)


def _data(index: int, name: str, shape: Sequence[int], gears: Gears) -> bytes:
    """A node that stands for an input; with gears its descriptor has the largest shape."""
    largest = (
        [max(gear[name][axis] for gear in gears) for axis in range(len(shape))] if gears else shape
    )
    described = field(3, b"".join(field(1, dim) for dim in largest))
    op = field(1, name.encode()) + field(2, b"Data") + field(33, described)
    op += _attribute(10, "index", field(3, index))
    if gears:
        op += _attribute(10, "_mbatch_origin_input_dims", _list(shape))
    return op


def _case(om: _OM) -> bytes:
    """The node that chooses a gear, by the values of its open dimensions."""
    order = om.order or list(om.inputs)
    op = field(1, b"ascend_mbatch_shape_case") + field(2, b"Case")
    op += _attribute(10, "_batch_num", field(3, len(om.gears)))
    op += _attribute(10, "mbatch_dynamic_type", field(3, om.meaning))
    names = b"".join(field(2, name.encode()) for name in order)
    op += _attribute(10, "user_designate_shape_order", field(1, names))
    for number, gear in enumerate(om.gears):
        values = [
            [dim for dim, opened in zip(gear[name], om.inputs[name], strict=True) if opened < 0]
            for name in order
        ]
        shared = next(dims for dims in values if dims)
        taken = [one for dims in values for one in dims] if om.meaning == DIMS else shared
        op += _attribute(10, f"_pred_value_{number}", _list(taken))
    return op


def _list(numbers: Sequence[int]) -> bytes:
    return field(1, b"".join(field(3, number) for number in numbers) + field(20, 2))


def _attribute(number: int, name: str, value: bytes) -> bytes:
    return field(number, field(1, name.encode()) + field(2, value))
