"""What a compiled model, an OM, says of itself: read without CANN, and without its weights.

An OM is a header of 256 bytes, a table of partitions, and the partitions one after the other.
``MODEL_DEF`` is a protobuf of ge_ir.proto, ``TASK_INFO`` one of task.proto. Layout, field numbers
and names of attributes are GraphEngine's (types.h, om_file_helper.cc, ge_attr_define.cc); bytes of
weights and of workspace are found as its ``GetModelMemAndWeightSize`` finds them, which pyACL's
``acl.mdl.query_size_from_mem`` answers from, and gears as its ``model_introduction.cc`` does.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from actors.files.protobuf import Message, Span
from actors.shapes import OPEN, Shape

_MAGIC = b"IMOD"
#: magic, version, is_encrypt, model_num, model_length, is_unknow_model of ``ModelFileHeader``.
_HEADER = struct.Struct("<4s4xI68xB75xI24xQxB62x")
#: Only from this version on the header has a number of models; before, other things lay there.
_VERSION_2 = 0x20000000
#: An entry of the table: type, offset, bytes. Where ``model_length`` is 0, both have 32 bits.
_WIDE, _NARROW = struct.Struct("<IxxxxQQ"), struct.Struct("<III")
_MODEL_DEF, _WEIGHTS_DATA, _TASK_INFO = 0, 1, 2
_MOST_PARTITIONS = 4096
#: How the values of a gear are meant, on the node that chooses one (``DynamicInputType``).
_DYNAMIC_BATCH, _DYNAMIC_IMAGE, _DYNAMIC_DIMS = 1, 2, 3
_DATA_TYPES = ("Data", "AippData", "AnnData", "RefData")
#: The input that GraphEngine adds to a model with gears: the library fills it, nobody else sees it.
_CHOICE = "ascend_mbatch_shape_data"


@dataclass(frozen=True)
class OMFile:
    """What is read of an OM. Bytes are before rounding.

    ``soc``: the hardware that it was compiled for, ``Ascend310P3``; None where it does not tell.
    ``workspace`` is 0 where its shapes are open (``dynamic``): it then depends on what it runs.
    ``streams``: hardware streams of one loaded copy; 0 where it does not tell. ``gears``: the
    shapes of all inputs, in their order, for each gear; empty without gears.
    """

    soc: str | None
    weights: int
    workspace: int
    streams: int
    dynamic: bool
    gears: tuple[tuple[Shape, ...], ...]


def parse_om(file: Message, span: Span) -> OMFile:
    """Read the OM that lies in ``span`` of a file.

    Raises:
        ValueError, IndexError: it is no OM, encrypted, cut off, or laid out in another way.
    """
    dynamic, models = _models(file, span)
    graph, attributes = _definition(file, models[0])
    return OMFile(
        soc=_text(file, attributes, "soc_version") or None,
        weights=sum(stop - start for model in models for start, stop in _of(model, _WEIGHTS_DATA)),
        workspace=0 if dynamic else sum(file.number(s, 11) for s in _of(models[0], _TASK_INFO)),
        streams=0 if dynamic else _whole(file, attributes, "stream_num"),
        dynamic=dynamic,
        gears=tuple(_gears(file, graph)),
    )


#: Type and place of each partition of one model.
_Partitions = list[tuple[int, Span]]


def _models(file: Message, span: Span) -> tuple[bool, list[_Partitions]]:
    """Whether shapes are open, and the partitions of each model; more than one if they are."""
    start, end = span
    header = bytes(file.data[start : min(start + _HEADER.size, end)])
    if len(header) < _HEADER.size:
        raise ValueError(f"an OM has a header of {_HEADER.size} bytes and this has {len(header)}")
    magic, version, encrypted, count, length, unknown = _HEADER.unpack(header)
    if magic != _MAGIC:
        raise ValueError(f"an OM begins with {_MAGIC.decode()} and this with {magic!r}")
    if encrypted:
        raise ValueError("the OM is encrypted")
    dynamic = version >= _VERSION_2 and (count > 1 or unknown == 1)
    models, pos = [], start + _HEADER.size
    for _ in range(max(count, 1) if dynamic else 1):
        partitions, pos = _table(file, pos, end, _WIDE if length else _NARROW)
        models.append(partitions)
    return dynamic, models


def _table(file: Message, pos: int, end: int, entry: struct.Struct) -> tuple[_Partitions, int]:
    """The partitions whose table lies at ``pos``, and where they end.

    Places are counted up from the end of the table, as the runtime does; it reads no offsets.
    """
    number = int.from_bytes(file.data[pos : pos + 4], "little")
    first = pos + (8 if entry is _WIDE else 4)
    if not 0 < number <= _MOST_PARTITIONS or first + number * entry.size > end:
        raise ValueError(f"a table of {number} partitions at byte {pos} of {end}")
    found, place = [], first + number * entry.size
    for index in range(number):
        at = first + index * entry.size
        kind, _, size = entry.unpack(bytes(file.data[at : at + entry.size]))
        if place + size > end:
            raise ValueError(f"partition {kind} at byte {place} wants {size} bytes of {end}")
        found.append((kind, (place, place + size)))
        place += size
    return found, place


def _of(partitions: _Partitions, kind: int) -> list[Span]:
    return [span for found, span in partitions if found == kind][:1]


def _definition(file: Message, partitions: _Partitions) -> tuple[Span, Mapping[str, Span]]:
    """The main graph of a ``ModelDef``, and the model's attributes."""
    for model in _of(partitions, _MODEL_DEF):
        for graph in file.spans(model, 7):
            return graph, _attributes(file, model, 11)
    raise ValueError("the OM holds no graph")


def _gears(file: Message, graph: Span) -> Iterator[tuple[Shape, ...]]:
    """The shapes of every gear, each as its values close the open dimensions."""
    inputs, choice = _inputs_and_choice(file, graph)
    meaning = _whole(file, choice, "mbatch_dynamic_type")
    order = _texts(file, choice, "user_designate_shape_order")
    for number in range(_whole(file, choice, "_batch_num")):
        if f"_pred_value_{number}" not in choice:
            raise ValueError(f"there is no gear {number}")
        values = _wholes(file, choice[f"_pred_value_{number}"])
        if meaning == _DYNAMIC_DIMS:
            yield _by_dimension(inputs, order, values)
        elif meaning in (_DYNAMIC_BATCH, _DYNAMIC_IMAGE):
            yield tuple(_closed(shape, values) for _, shape in inputs)
        else:
            raise ValueError(f"gears of type {meaning}")


#: Names and shapes of inputs, in the order of their index.
_Inputs = list[tuple[str, Shape]]


def _inputs_and_choice(file: Message, graph: Span) -> tuple[_Inputs, Mapping[str, Span]]:
    """The inputs, and the attributes of the node that chooses a gear; none without gears."""
    found: dict[int, tuple[str, Shape]] = {}
    choice: Mapping[str, Span] = {}
    for op in file.spans(graph, 6):
        kind = file.text(op, 2)
        if kind in _DATA_TYPES and file.text(op, 1) != _CHOICE:
            attributes = _attributes(file, op, 10)
            index = _whole(file, attributes, "index") if "index" in attributes else len(found)
            found[index] = file.text(op, 1), _input_shape(file, op, attributes)
        elif kind == "Case":
            attributes = _attributes(file, op, 10)
            choice = attributes if "_batch_num" in attributes else choice
    return [found[index] for index in sorted(found)], choice


def _input_shape(file: Message, op: Span, attributes: Mapping[str, Span]) -> Shape:
    """As it was before gears were made of it, else as its descriptor has it."""
    if "_mbatch_origin_input_dims" in attributes:
        dims = _wholes(file, attributes["_mbatch_origin_input_dims"])
    else:
        shapes = [s for desc in file.spans(op, 33) for s in file.spans(desc, 3)][:1]
        dims = [_signed(dim) for shape in shapes for dim in file.numbers(shape, 1)]
    return tuple(OPEN if dim < 0 else dim for dim in dims)


def _by_dimension(inputs: _Inputs, order: list[str], values: list[int]) -> tuple[Shape, ...]:
    """Values go to the open dimensions of the inputs, one input after the other, as named."""
    place = {name: index for index, name in enumerate(order)}
    turns = sorted(range(len(inputs)), key=lambda turn: place.get(inputs[turn][0], len(order)))
    left, closed = list(values), [shape for _, shape in inputs]
    for turn in turns:
        wants = closed[turn].count(OPEN)
        closed[turn] = _closed(closed[turn], left[:wants])
        del left[:wants]
    if left:
        raise ValueError(f"a gear has {len(left)} values more than there are open dimensions")
    return tuple(closed)


def _closed(shape: Shape, values: list[int]) -> Shape:
    if shape.count(OPEN) not in (0, len(values)):
        raise ValueError(f"a gear has {len(values)} values for {shape.count(OPEN)} open dimensions")
    left = iter(values)
    return tuple(next(left) if dim == OPEN else dim for dim in shape)


def _attributes(file: Message, span: Span, number: int) -> Mapping[str, Span]:
    """A ``map<string, AttrDef>``: each name with the place of its value."""
    found = {}
    for entry in file.spans(span, number):
        for value in file.spans(entry, 2):
            found[file.text(entry, 1)] = value
    return found


def _whole(file: Message, attributes: Mapping[str, Span], name: str) -> int:
    return _signed(file.number(attributes[name], 3)) if name in attributes else 0


def _text(file: Message, attributes: Mapping[str, Span], name: str) -> str:
    return file.text(attributes[name], 2) if name in attributes else ""


def _wholes(file: Message, value: Span) -> list[int]:
    """``AttrDef.ListValue``, numbers."""
    return [_signed(one) for held in file.spans(value, 1) for one in file.numbers(held, 3)]


def _texts(file: Message, attributes: Mapping[str, Span], name: str) -> list[str]:
    value = attributes.get(name)
    spans = [] if value is None else [t for h in file.spans(value, 1) for t in file.spans(h, 2)]
    return [bytes(file.data[start:stop]).decode() for start, stop in spans]


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
