"""Files of rows that know how many they have: Parquet and NumPy."""

import math
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.errors import JobError
from orchestrator.jobs import Part, Piece, Unit, ranges
from orchestrator.runtime.io.columns import Array, Holds, holds, to_table
from orchestrator.runtime.io.files import InputFiles
from orchestrator.runtime.io.source import (
    Load,
    Rows,
    batches_of,
    nothing_in,
    rows_at_once,
)
from orchestrator.sources import reason

#: Files whose heads are read at once: behind a URL each takes a round trip.
_HEADS = 16


@dataclass(frozen=True)
class Head:
    """What a file says of itself: columns by name with what they hold, and rows of each block."""

    columns: tuple[tuple[str, Holds], ...]
    blocks: tuple[int, ...]


class RowFiles:
    """Files whose rows have numbers, all with the same columns. Heads are read at once.

    Raises:
        JobError: there is none, one is not whole, columns differ, or there is no row.
    """

    what: str
    suffixes: tuple[str, ...]
    part_size = 16384
    batch_size = 64
    unit = Unit.ROW

    def __init__(self, files: InputFiles) -> None:
        self._files = files
        names = files.only(self.suffixes)
        self.ignored = len(files.names) - len(names)
        if not names:
            raise nothing_in(files.where, self.what, self.ignored, self.suffixes)
        with ThreadPoolExecutor(_HEADS) as pool:
            self._heads = dict(zip(names, pool.map(self._opened_head, names), strict=True))
        first = self._heads[names[0]]
        for name, head in self._heads.items():
            if head.columns != first.columns:
                raise JobError(name, f"has other columns than {names[0]}: {_other(head, first)}")
        if not any(sum(head.blocks) for head in self._heads.values()):
            raise JobError(files.where, "holds no rows")
        self.columns = dict(first.columns)

    def pieces(self, size: int) -> list[Piece]:
        """The blocks of every file."""
        found = []
        for name, head in self._heads.items():
            at = 0
            for rows in head.blocks:
                found += [Piece(name, at, at + rows, self.unit)] if rows else []
                at += rows
        return found

    def stamp(self, file: str) -> str:
        """Size and time of change."""
        return self._files.stamp(file)

    def seen_from_here(self) -> bool:
        """Whether this process can read the files."""
        return self._files.seen_from_here()

    def read(self, part: Part, rows: int) -> Iterator[Load]:
        """Batches over rows and files."""
        return batches_of(self._rows(part, rows), rows)

    def _rows(self, part: Part, rows: int) -> Iterator[Rows]:
        for piece in part.pieces:
            at, prefix = piece.start, piece.prefix
            with self._files.open(piece.file) as file:
                for table in _whole(piece, self.tables(piece, file, rows)):
                    stop = at + table.num_rows
                    yield Rows(table, [f"{prefix}{row}" for row in range(at, stop)])
                    at = stop
            if at != piece.stop:
                raise JobError(str(piece), f"gave {at - piece.start} rows of {piece.size}")

    def _opened_head(self, name: str) -> Head:
        with self._files.open(name) as file:
            return self.head(name, file)

    def head(self, name: str, file: IO[bytes]) -> Head:
        """Read what the file says of itself."""
        raise NotImplementedError

    def tables(self, piece: Piece, file: IO[bytes], rows: int) -> Iterator[pa.Table]:
        """The rows of a piece, for a batch of ``rows`` or more at a time."""
        raise NotImplementedError


def _whole(piece: Piece, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The tables of a piece.

    Raises:
        JobError: they are damaged: how many records that costs is not known.
    """
    try:
        yield from tables
    except (OSError, JobError):
        raise  # told by whoever has opened the file
    except Exception as error:  # as many kinds as there are formats within formats
        told = str(error).partition("\n")[0]
        problem = f"is damaged: {type(error).__name__}: {told}"
        raise JobError(str(piece), problem) from error


def _other(head: Head, first: Head) -> str:
    mine, theirs = dict(head.columns), dict(first.columns)
    for name in [*mine, *theirs]:
        if mine.get(name) != theirs.get(name):
            return f"{name} is {mine.get(name, 'missing')}, not {theirs.get(name, 'there')}"
    return "their order"


class ParquetRows(RowFiles):
    """Parquet: a block is a row group, which is read a batch at a time."""

    what = "Parquet file"
    suffixes = (".parquet", ".pq")

    def head(self, name: str, file: IO[bytes]) -> Head:
        """Schema and row groups, from the footer."""
        try:
            known = pq.ParquetFile(file)
        except (pa.ArrowException, OSError) as error:
            raise JobError(name, f"is no whole Parquet file: {reason(error)}") from error
        groups = (known.metadata.row_group(at) for at in range(known.num_row_groups))
        columns = tuple((field.name, holds(field.type)) for field in known.schema_arrow)
        names = [column for column, _ in columns]
        if len(set(names)) < len(names):
            raise JobError(name, f"names a column twice: {', '.join(names)}")
        return Head(columns, tuple(group.num_rows for group in groups))

    def tables(self, piece: Piece, file: IO[bytes], rows: int) -> Iterator[pa.Table]:
        """The rows of one row group."""
        known = pq.ParquetFile(file)
        at = group = 0
        while at < piece.start:
            at += known.metadata.row_group(group).num_rows
            group += 1
        while known.metadata.row_group(group).num_rows == 0:
            group += 1
        about = known.metadata.row_group(group)
        rows = rows_at_once(rows, about.total_byte_size / about.num_rows)
        for batch in known.iter_batches(rows, row_groups=[group], use_threads=False):
            yield pa.Table.from_batches([batch])


class NumpyRows(RowFiles):
    """NumPy: rows on axis 0 of the column ``data`` (.npy), or of each array of an .npz file.

    An .npy file is read a batch at a time and cut anywhere; an .npz file is read as a whole.
    """

    what = "NumPy file"
    suffixes = (".npy", ".npz")

    def pieces(self, size: int) -> list[Piece]:
        """Rows of .npy files in pieces of ``size``; .npz files whole."""
        found = []
        for piece in super().pieces(size):
            whole = piece.file.lower().endswith(".npz")
            found += [piece] if whole else ranges(piece.file, piece.stop, size, self.unit)
        return found

    def head(self, name: str, file: IO[bytes]) -> Head:
        """Names, types and row counts, from the headers of the arrays."""
        try:
            headers = {key: _header(member) for key, member in _members(name, file)}
            arrays = {key: header[:2] for key, header in headers.items()}
            if not name.lower().endswith(".npz"):
                self._check_length(name, *headers["data"])
        except JobError:
            raise
        except Exception as error:  # of headers that are damaged, NumPy and zipfile say anything
            raise JobError(name, f"is no whole NumPy file: {error or type(error)}") from error
        rows = {key: shape[0] if shape else -1 for key, (shape, _) in arrays.items()}
        if len(set(rows.values())) != 1 or -1 in rows.values():
            raise JobError(name, f"its arrays have no common count of rows: {rows}")
        columns = ((key, _holds(shape[1:], dtype)) for key, (shape, dtype) in arrays.items())
        return Head(tuple(columns), (next(iter(rows.values())),))

    def _check_length(
        self, name: str, shape: tuple[int, ...], dtype: "np.dtype[Any]", begin: int
    ) -> None:
        wanted, found = begin + math.prod(shape) * dtype.itemsize, self._files.size(name)
        if found < wanted:
            raise ValueError(f"it has {found} bytes, and its header says {wanted}")

    def tables(self, piece: Piece, file: IO[bytes], rows: int) -> Iterator[pa.Table]:
        """The rows of a piece."""
        if piece.file.lower().endswith(".npz"):
            with np.load(file, allow_pickle=False) as arrays:
                yield to_table({key: arrays[key] for key in arrays.files})
            return
        shape, dtype, begin = _header(file)
        row = np.dtype((dtype, shape[1:])).itemsize
        file.seek(begin + piece.start * row)
        rows = rows_at_once(rows, row)
        for at in range(piece.start, piece.stop, rows):
            count = min(rows, piece.stop - at)
            values: Array = np.frombuffer(file.read(count * row), dtype)
            yield to_table({"data": values.reshape(-1, *shape[1:])})


def _holds(row: tuple[int, ...], dtype: "np.dtype[Any]") -> Holds:
    return Holds(f"{dtype}{list(row)}", dtype.kind in "biuf", row)


def _members(name: str, file: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    if not name.lower().endswith(".npz"):
        yield "data", file
        return
    with zipfile.ZipFile(file) as archive:
        for member in archive.namelist():
            with archive.open(member) as array:
                yield member.removesuffix(".npy"), array


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], "np.dtype[Any]", int]:
    """Shape, dtype, and where the values begin.

    Raises:
        ValueError: it is no array, or one that cannot be read in stretches.
    """
    npy: Any = np.lib.format  # numpy 2.2, the last one for Python 3.10, gives it no types
    first = npy.read_magic(file) == (1, 0)
    read = npy.read_array_header_1_0 if first else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject or dtype.names:
        raise ValueError(f"holds {dtype}, and not numbers or text")
    if fortran and len(shape) > 1:
        raise ValueError("is in Fortran order: save it in C order")
    if 0 in shape[1:]:
        raise ValueError(f"its rows hold no values: its shape is {shape}")
    try:
        pa.from_numpy_dtype(dtype.newbyteorder("="))
    except pa.ArrowException as error:
        raise ValueError(f"holds {dtype}, which no column can: save it as another type") from error
    return shape, dtype, file.tell()
