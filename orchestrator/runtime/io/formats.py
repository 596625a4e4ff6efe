"""How a part is written: Parquet, JSON lines or NumPy."""

import datetime
import decimal
import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from typing import IO, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.errors import JobError
from orchestrator.runtime.io.columns import Array, to_columns

#: Rows, and bytes of them, that become text at once.
_ROWS, _TEXT_BYTES = 1024, 4 << 20
#: Rows, and bytes of them, in a row group: the writer holds one of them.
_GROUP_ROWS, _GROUP_BYTES = 1 << 20, 64 << 20


class Format(Protocol):
    """A kind of file that holds a table. Equal tables give equal bytes."""

    @property
    def suffix(self) -> str:
        """The ending of its files."""

    def write(self, table: pa.Table, file: IO[bytes]) -> None:
        """Write a table; raises ValueError when the format cannot hold it."""

    def read(self, file: IO[bytes]) -> pa.Table | None:
        """What was written before; None where a file does not keep the types of its columns."""

    def schema(self, file: IO[bytes]) -> pa.Schema | None:
        """The columns of what was written before; None as for ``read``."""


class Parquet:
    """Any columns, with their types."""

    suffix = ".parquet"

    def write(self, table: pa.Table, file: IO[bytes]) -> None:
        """One row group or more; only what may repeat has a dictionary, which floats do not."""
        rows = _at_once(table, _GROUP_ROWS, _GROUP_BYTES)
        repeating = [path for field in table.schema for path in _repeating(field.name, field.type)]
        pq.write_table(table, file, row_group_size=rows, use_dictionary=repeating)

    def read(self, file: IO[bytes]) -> pa.Table:
        """All of it."""
        return pq.read_table(file)

    def schema(self, file: IO[bytes]) -> pa.Schema:
        """From the footer."""
        return pq.read_schema(file)


class JsonText:
    """A line of JSON for each row; NaN and infinities, which JSON does not have, become null."""

    suffix = ".jsonl"

    def write(self, table: pa.Table, file: IO[bytes]) -> None:
        """All rows; raises ValueError for bytes."""
        for batch in table.to_batches(max_chunksize=_at_once(table, _ROWS, _TEXT_BYTES)):
            file.write("".join(_line(row) for row in batch.to_pylist()).encode())

    def read(self, file: IO[bytes]) -> None:
        """JSON does not keep types."""

    def schema(self, file: IO[bytes]) -> None:
        """JSON does not keep types."""


class NumpyArchive:
    """An .npz file with one array for each column: numbers and text."""

    suffix = ".npz"

    def write(self, table: pa.Table, file: IO[bytes]) -> None:
        """All columns; raises ValueError for lists that differ in length, and missing values."""
        with zipfile.ZipFile(file, "w") as archive:
            for name in table.column_names:
                array = _numbers(name, to_columns(table.select([name]))[name])
                # As numpy.savez does, but with any name and without the time of day.
                member = zipfile.ZipInfo(f"{name}.npy")
                with archive.open(member, "w", force_zip64=True) as to:
                    np.save(to, array, allow_pickle=False)

    def read(self, file: IO[bytes]) -> None:
        """Text is as wide as each file's longest, so that types tell nothing."""

    def schema(self, file: IO[bytes]) -> None:
        """See ``read``."""


class ArrowStream:
    """Any columns as they are in memory: for what a later run goes on with."""

    suffix = ".arrow"

    def write(self, table: pa.Table, file: IO[bytes]) -> None:
        """All of it."""
        with pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)

    def read(self, file: IO[bytes]) -> pa.Table:
        """All of it."""
        with pa.ipc.open_stream(file) as stream:
            return stream.read_all()

    def schema(self, file: IO[bytes]) -> pa.Schema:
        """From the beginning."""
        with pa.ipc.open_stream(file) as stream:
            return stream.schema


FORMATS: Mapping[str, Format] = {
    "parquet": Parquet(),
    "jsonl": JsonText(),
    "numpy": NumpyArchive(),
}


def format_of(name: str) -> Format:
    """The format of that name.

    Raises:
        JobError: there is none.
    """
    if name not in FORMATS:
        raise JobError(name, f"no such output format, there are: {', '.join(FORMATS)}")
    return FORMATS[name]


def _at_once(table: pa.Table, rows: int, nbytes: int) -> int:
    """So many rows, or fewer where they are large."""
    fitting = nbytes * int(table.num_rows) // max(int(table.nbytes), 1)
    return max(min(rows, fitting), 1)


def _repeating(path: str, kind: pa.DataType) -> Iterator[str]:
    """What Parquet calls the values of a column, its lists and its records that are no floats."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _repeating(f"{path}.list.element", kind.value_type)
    elif pa.types.is_map(kind):
        yield from _repeating(f"{path}.key_value.key", kind.key_type)
        yield from _repeating(f"{path}.key_value.value", kind.item_type)
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _repeating(f"{path}.{field.name}", field.type)
    elif not pa.types.is_floating(kind):
        yield path


def _line(row: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False, default=_text)
    except ValueError:
        text = json.dumps(_finite(row), ensure_ascii=False, default=_text)
    return text + "\n"


def _text(value: object) -> str:
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    raise ValueError(f"JSON has no {type(value).__name__}; Parquet has")


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(name: str, array: Array) -> Array:
    if array.dtype != object:
        return array
    if all(isinstance(value, str) for value in array.flat):
        return array.astype(np.str_)
    raise ValueError(
        f"column {name} is not only numbers or text of one shape, as a NumPy file needs; "
        "Parquet takes it"
    )
