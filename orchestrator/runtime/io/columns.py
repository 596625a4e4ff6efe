"""Columns as NumPy arrays, which pipelines see, and as Arrow tables, which files hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from actors.shapes import OPEN, Shape

Array = npt.NDArray[Any]
Columns = dict[str, Array]


@dataclass(frozen=True)
class Holds:
    """What a column holds, as messages name it; whether that may be numbers, and a row's shape.

    The shape is None where nothing tells it before rows are read.
    """

    kind: str
    numbers: bool
    shape: Shape | None = None

    def __str__(self) -> str:
        return self.kind


TEXT = Holds("text", numbers=False)


def holds(kind: pa.DataType) -> Holds:
    """What ``to_columns`` makes of a column of this type."""
    shape, inner = [], kind
    while True:
        if _is_list(inner):
            shape.append(inner.list_size if pa.types.is_fixed_size_list(inner) else OPEN)
            inner = inner.value_type
        elif pa.types.is_dictionary(inner):
            inner = inner.value_type
        elif isinstance(inner, pa.BaseExtensionType):
            inner = inner.storage_type
        else:
            break
    numbers = _is_number(inner) or pa.types.is_boolean(inner) or pa.types.is_null(inner)
    return Holds(str(kind), numbers, None if pa.types.is_null(inner) else tuple(shape))


def to_table(columns: Mapping[str, Array]) -> pa.Table:
    """Columns of equal length as a table; further axes become lists of fixed size.

    Raises:
        ValueError: not a mapping of names to arrays with one row count, or values of a kind that
            Parquet has no type for.
    """
    if not isinstance(columns, Mapping) or not columns:
        raise ValueError(f"a pipeline returns a dict of arrays, not {type(columns).__name__}")
    arrays = {str(name): np.asarray(values) for name, values in columns.items()}
    rows = {name: len(array) if array.ndim else -1 for name, array in arrays.items()}
    if len(set(rows.values())) > 1 or -1 in rows.values():
        raise ValueError(f"columns of a pipeline's result differ in rows: {rows}")
    try:
        return pa.table({name: _column(array) for name, array in arrays.items()})
    except pa.ArrowException as error:
        raise ValueError(f"no Parquet column for this: {error}") from error


def _column(array: Array) -> pa.Array:
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    # Types are named where they are known: Arrow takes 10 to 40 times as long to find one out.
    if array.dtype == object:
        if array.ndim == 1 and all(type(value) is str for value in array):
            return _text(array.tolist())
        return pa.array([_nested(value) for value in array])
    column = _flat(array.reshape(-1))
    for size in reversed(array.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column


def _flat(array: Array) -> pa.Array:
    if array.dtype.kind == "U":
        return _text(array.tolist())
    if array.dtype.kind not in "iuf":
        return pa.array(array, pa.from_numpy_dtype(array.dtype))
    # The same memory, without Arrow's look at what else it could be: for that it imports pandas
    # where there is one, which costs the first job of a process a second.
    buffers = [None, pa.py_buffer(array)]
    return pa.Array.from_buffers(pa.from_numpy_dtype(array.dtype), len(array), buffers)


def _text(values: list[str]) -> pa.Array:
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)])
    if ends[-1] > np.iinfo(np.int32).max:
        return pa.array(values, pa.string())
    offsets = pa.py_buffer(ends.astype(np.int32))
    return pa.StringArray.from_buffers(len(values), offsets, pa.py_buffer(b"".join(encoded)))


def _nested(value: object) -> object:
    """Arrow takes arrays of one axis as lists, and no others."""
    if isinstance(value, np.ndarray) and value.ndim > 1:
        return [_nested(inner) for inner in value]
    return value


def nbytes_of(column: Array) -> int:
    """Bytes of its values; of objects those of text, bytes and arrays are counted."""
    if column.dtype != object:
        return column.nbytes
    sizes = (
        len(one) if isinstance(one, bytes | str) else getattr(one, "nbytes", 0) for one in column
    )
    return sum(sizes)


def to_columns(table: pa.Table) -> Columns:
    """The inverse of ``to_table``: lists that are equally long become further axes.

    What has no place in such an array comes as an array of objects: text, bytes, lists that differ
    in length, and columns with missing values (None), except that a missing float is NaN.
    """
    return {name: _array(_whole(table.column(name))) for name in table.column_names}


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def _array(column: pa.Array) -> Array:
    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        return _array(column.storage)
    if pa.types.is_dictionary(kind):
        return _array(column.dictionary_decode())
    if _is_list(kind):
        return _stacked(column)
    if column.null_count and not pa.types.is_floating(kind):
        return _objects(column.to_pylist())
    if len(column) and not column.null_count and _is_number(kind):
        return _numbers(column)
    plain: Array = column.to_numpy(zero_copy_only=False)
    return plain if plain.flags.writeable else plain.copy()


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _numbers(column: pa.Array) -> Array:
    """What ``to_numpy`` gives, without importing pandas where there is one."""
    kind = column.type
    letter = "f" if pa.types.is_floating(kind) else "iu"[pa.types.is_unsigned_integer(kind)]
    dtype = np.dtype(f"{letter}{kind.bit_width // 8}")
    begin = column.offset * dtype.itemsize
    numbers: Array = np.frombuffer(column.buffers()[1], dtype, len(column), begin).copy()
    return numbers


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _stacked(column: pa.Array) -> Array:
    if column.null_count:
        return _objects(column.to_pylist())
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(lengths) != 1:
        return _objects([_array(column.slice(row, 1).flatten()) for row in range(len(column))])
    inner = _array(column.flatten())
    return inner.reshape(len(column), lengths[0], *inner.shape[1:])


def _objects(values: list[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):  # in one go NumPy would look inside
        array[row] = value
    return array
