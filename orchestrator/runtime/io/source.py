"""What a source of records is, and the batches that it gives."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from orchestrator.errors import JobError
from orchestrator.jobs import RECORD_ID, Part, Piece, Reject, Stage, Unit
from orchestrator.runtime.io.columns import Columns, Holds, nbytes_of, to_columns

#: Bytes that a source of rows reads and decodes at once.
_AT_ONCE = 1 << 20
#: What values that are none raise: UnicodeDecodeError and OverflowError are among these.
_UNREADABLE = (pa.ArrowException, ValueError, ArithmeticError)


@dataclass(frozen=True)
class Batch:
    """Records on their way: their ids, and columns with one row for each.

    ``rejects`` are records of this batch that could not be read, and have no row.
    """

    ids: tuple[str, ...]
    columns: Columns
    rejects: tuple[Reject, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Bytes of all values, about."""
        return sum(map(nbytes_of, self.columns.values()))

    def rows(self, rows: slice) -> "Batch":
        """Some of the records, without the rejects."""
        return Batch(self.ids[rows], {name: array[rows] for name, array in self.columns.items()})


@dataclass(frozen=True)
class Load:
    """A batch before it is decoded; calling it does that, on any thread, and anew each time.

    ``held``: bytes that it holds in memory already; 0 where it reads them when it is called. Raises
    JobError when the whole input is at fault.
    """

    decode: Callable[[], Batch]
    held: int = 0

    def __call__(self) -> Batch:
        """Decode it."""
        return self.decode()

    def rows(self, rows: slice) -> "Load":
        """Some of its records, without the rejects."""
        return Load(partial(_some, self.decode, rows), self.held)


class Source(Protocol):
    """Where records come from.

    Pieces, ids and columns are the same each time as long as the input is. A record that cannot be
    read is a reject of its batch; a file that cannot be read is a JobError, because how many
    records it would have cost is not known. A source may be sent to other processes.
    """

    @property
    def ignored(self) -> int:
        """Files that lie there and are no records."""

    @property
    def columns(self) -> Mapping[str, Holds]:
        """The columns of its batches, without the record's id, and what they hold."""

    @property
    def part_size(self) -> int:
        """What suits a part: records, or bytes of lines."""

    @property
    def batch_size(self) -> int:
        """Records that suit a batch."""

    @property
    def unit(self) -> Unit:
        """What its pieces count."""

    def pieces(self, size: int) -> list[Piece]:
        """All of the input, in order; where a file may be cut anywhere, in pieces of ``size``."""

    def stamp(self, file: str) -> str:
        """What changes when the bytes of a file do."""

    def seen_from_here(self) -> bool:
        """Whether this process, wherever it runs, can read the input."""

    def read(self, part: Part, rows: int) -> Iterator[Load]:
        """Batches of at most ``rows`` records, in order. One thread at a time may step it."""


def unreadable(record: str, error: JobError) -> Reject:
    """The reject of a record that could not be read."""
    return Reject(record, Stage.READ, error.problem)


@dataclass(frozen=True)
class Rows:
    """Rows on their way into batches, with their ids, and what could not be read among them."""

    table: pa.Table
    ids: list[str]
    rejects: tuple[Reject, ...] = ()

    def cut(self, rows: int) -> tuple["Rows", "Rows"]:
        """The first rows, and the rest."""
        first = Rows(self.table.slice(0, rows), self.ids[:rows], self.rejects)
        return first, Rows(self.table.slice(rows), self.ids[rows:])


def batches_of(stream: Iterator[Rows], rows: int) -> Iterator[Load]:
    """Rows of any pieces as batches of exactly ``rows``; the last may be smaller."""
    held: list[Rows] = []
    room = rows
    for some in stream:
        while some.table.num_rows >= room:
            first, some = some.cut(room)  # noqa: PLW2901 - what is left of it
            yield _load([*held, first])
            held, room = [], rows
        if some.table.num_rows or some.rejects:
            held.append(some)
            room -= some.table.num_rows
    if held:
        yield _load(held)


def rows_at_once(rows: int, nbytes: float) -> int:
    """Rows of so many bytes to read at once: for one batch at least, for many if they are small."""
    return max(rows, int(_AT_ONCE // max(nbytes, 1)))


def _some(decode: Callable[[], Batch], rows: slice) -> Batch:
    return decode().rows(rows)


def _load(pieces: list[Rows]) -> Load:
    return Load(partial(_batch, pieces), max(sum(some.table.nbytes for some in pieces), 1))


def _batch(pieces: list[Rows]) -> Batch:
    table = pa.concat_tables([some.table for some in pieces])
    ids = [name for some in pieces for name in some.ids]
    rejects = [reject for some in pieces for reject in some.rejects]
    try:
        columns = to_columns(table)
    except _UNREADABLE:  # text that is no UTF-8, which only shows when it becomes values
        table, ids = _readable(table, ids, rejects)
        columns = to_columns(table)
    columns.setdefault(RECORD_ID, np.array(ids, dtype=object))
    return Batch(tuple(ids), columns, tuple(rejects))


def _readable(
    table: pa.Table, ids: Sequence[str], rejects: list[Reject]
) -> tuple[pa.Table, list[str]]:
    """The rows whose values can be read; the others are ``rejects``."""
    good = []
    for row, name in enumerate(ids):
        try:
            to_columns(table.slice(row, 1))
        except _UNREADABLE as error:
            reason = f"cannot be read: {str(error).splitlines()[0]}"
            rejects.append(Reject(name, Stage.READ, reason))
        else:
            good.append(row)
    return table.take(good), [ids[row] for row in good]


def nothing_in(where: str | Path, what: str, ignored: int, endings: Sequence[str]) -> JobError:
    """The refusal of an input without a file of its kind."""
    beside = f" ({ignored} other files)" if ignored else ""
    ends = f"; {what}s end in {', '.join(endings)}" if endings else ""
    return JobError(str(where), f"there is no {what} in it{beside}{ends}")
