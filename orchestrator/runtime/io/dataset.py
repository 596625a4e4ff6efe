"""Any Ray Data dataset as the input of a job.

The dataset is executed once, into Ray's object store (which spills to disk), and its blocks are the
pieces of the job: whoever does a part fetches the blocks that it needs. Rows that Ray Data makes
have no names of their own; with a column that names each of them a job can be resumed, because the
dataset is executed anew then, and what comes out is known again by its ids.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import ray

from orchestrator.errors import JobError
from orchestrator.jobs import Job, Part, PartEntry, Piece, Unit, cut, ranges
from orchestrator.runtime.io.columns import Array, Columns, Holds, holds, to_columns, to_table
from orchestrator.runtime.io.source import Load, Rows, batches_of

if TYPE_CHECKING:
    from ray.data import Dataset

_WHERE = "the dataset"
#: Rows that are taken from a block at once.
_AT_ONCE = 4096


class DatasetRows:
    """The rows of blocks, of which each comes with a reference to it.

    They are called ``block-00000#17``, or by their ``id_column``.

    Raises:
        JobError: it has no such column, no rows, or two rows of one id.
    """

    part_size = 16384
    batch_size = 64
    unit = Unit.ROW
    ignored = 0

    def __init__(self, blocks: Sequence[tuple[Any, "Block"]], id_column: str | None) -> None:
        self._id_column = id_column
        blocks = [(ref, block) for ref, block in blocks if block.rows]
        if not blocks:
            raise JobError(_WHERE, "holds no rows")
        names = [f"block-{number:05d}" for number in range(len(blocks))]
        self._refs = {name: ref for name, (ref, _) in zip(names, blocks, strict=True)}
        self._blocks = {name: block for name, (_, block) in zip(names, blocks, strict=True)}
        self.columns = blocks[0][1].columns
        if id_column is not None and id_column not in self.columns:
            told = ", ".join(self.columns)
            raise JobError(_WHERE, f"has no column {id_column!r}, there are: {told}")
        ids = np.concatenate([block.ids for _, block in blocks])
        if id_column is not None and len(np.unique(ids)) < len(ids):
            raise JobError(_WHERE, f"column {id_column!r} names rows that are not there once only")
        nothing = np.zeros(0, np.uint64)
        self._blocks = {name: replace(one, ids=nothing) for name, one in self._blocks.items()}
        #: Of each block, the rows that are to be done; all of one that is not in it.
        self._left: dict[str, Array] = {}
        #: The same whatever order the rows come in.
        contents = np.sort(np.concatenate([block.contents for _, block in blocks]))
        self.digest = f"{sum(block.rows for _, block in blocks)} rows, {_digest(contents)}"

    @staticmethod
    def of(dataset: "Dataset", id_column: str | None) -> "DatasetRows":
        """Execute a dataset, and look at its blocks where they lie."""
        refs = dataset.materialize().to_arrow_refs()
        look = ray.remote(num_cpus=0)(Block.of)
        found = ray.get([look.remote(ref, id_column) for ref in refs])
        return DatasetRows(list(zip(refs, found, strict=True)), id_column)

    def __getstate__(self) -> dict[str, Any]:
        """Whoever reads parts needs nothing of each row."""
        return {**self.__dict__, "_blocks": {}}

    def pieces(self, size: int) -> list[Piece]:
        """What is to be done of its blocks, in pieces of ``size``."""
        counts = {name: block.rows for name, block in self._blocks.items()}
        counts |= {name: len(rows) for name, rows in self._left.items()}
        found = counts.items()
        return [piece for name, rows in found for piece in ranges(name, rows, size, self.unit)]

    def input_of(self, part: Part) -> str:
        """What tells the rows of a part: a number for each, of its id and all that it holds."""
        found = [self._contents(piece.file)[piece.start : piece.stop] for piece in part.pieces]
        return base64.b64encode(np.concatenate(found).tobytes()).decode()

    def rejoined(self, job: Job, entries: Sequence[PartEntry], size: int) -> Job:
        """The job with the parts that are there, as far as their rows are, and all other rows anew.

        Parts that are there keep their numbers; the others are of ``size`` and have those between.
        """
        here = np.concatenate([block.contents for block in self._blocks.values()])
        known = {entry.index: _numbers_in(entry.input) for entry in entries}
        kept = {at: rows for at, rows in known.items() if len(rows) and np.isin(rows, here).all()}
        done = np.concatenate([np.zeros(0, np.uint64), *kept.values()])
        self._left = {
            name: np.flatnonzero(~np.isin(block.contents, done))
            for name, block in self._blocks.items()
        }
        free = (index for index in count() if index not in kept)
        parts = [replace(part, index=next(free)) for part in cut(self.pieces(size), size)]
        inputs = {part.index: self.input_of(part) for part in parts}
        inputs |= {entry.index: entry.input for entry in entries if entry.index in kept}
        there = [
            Part(index, (Piece("rows that are done", 0, len(rows), self.unit),))
            for index, rows in kept.items()
        ]
        ordered = sorted([*parts, *there], key=lambda part: part.index)
        return Job(tuple(ordered), tuple(inputs[part.index] for part in ordered), job.facts)

    def _contents(self, file: str) -> Array:
        rows = self._blocks[file].contents
        return rows[self._left[file]] if file in self._left else rows

    def stamp(self, file: str) -> str:
        """Rows of a block: without ids there is no more to tell."""
        return str(self._blocks[file].rows)

    def seen_from_here(self) -> bool:
        """Blocks are fetched wherever they are needed."""
        return True

    def read(self, part: Part, rows: int) -> Iterator[Load]:
        """Batches over blocks."""
        return batches_of(self._stretches(part), rows)

    def _stretches(self, part: Part) -> Iterator[Rows]:
        for piece in part.pieces:
            block: pa.Table = ray.get(self._refs[piece.file])
            for at in range(piece.start, piece.stop, _AT_ONCE):
                stop = min(at + _AT_ONCE, piece.stop)
                left = self._left.get(piece.file)
                table = block.slice(at, stop - at) if left is None else block.take(left[at:stop])
                yield Rows(_plain(table), self._names(table, piece, at))

    def _names(self, table: pa.Table, piece: Piece, start: int) -> list[str]:
        if self._id_column is None:
            return [piece.record(at) for at in range(start, start + table.num_rows)]
        return [str(value) for value in table.column(self._id_column).to_pylist()]


@dataclass(frozen=True)
class Block:
    """What must be known of a block: numbers for its rows' ids, and for all that they hold."""

    rows: int
    columns: Mapping[str, Holds]
    ids: Array
    contents: Array

    @staticmethod
    def of(table: pa.Table, id_column: str | None) -> "Block":
        """Look at a block, where it lies."""
        schema, none = _plain(table.slice(0, 1)).schema, np.zeros(0, np.uint64)
        columns = {field.name: holds(field.type) for field in schema}
        if id_column is None or id_column not in columns:
            return Block(table.num_rows, columns, none, none)
        ids: list[Array] = [none]
        contents: list[Array] = [none]
        for at in range(0, table.num_rows, _AT_ONCE):
            found = to_columns(_plain(table.slice(at, _AT_ONCE)))
            ids.append(_numbers({id_column: found[id_column]}))
            contents.append(_numbers(found))
        return Block(table.num_rows, columns, np.concatenate(ids), np.concatenate(contents))


def _numbers(columns: Columns) -> Array:
    """One for each row, of all that it holds."""
    hashes = [hashlib.blake2b(digest_size=8) for _ in next(iter(columns.values()))]
    for name, array in sorted(columns.items()):
        for row, value in zip(hashes, array, strict=True):
            data = _bytes(value)
            row.update(f"{name} {len(data)} ".encode())
            row.update(data)
    return np.frombuffer(b"".join(row.digest() for row in hashes), np.uint64)


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        return value.tobytes()
    return repr(value.tolist() if isinstance(value, np.ndarray) else value).encode()


def _numbers_in(text: str) -> Array:
    """The inverse of ``input_of``; none where it is no such text."""
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), np.uint64)
    except ValueError:
        return np.zeros(0, np.uint64)


def _digest(ids: Array) -> str:
    return hashlib.sha256(ids.tobytes()).hexdigest()[:32]


def _plain(table: pa.Table) -> pa.Table:
    """Ray's columns of tensors as lists of lists, which is what files hold."""
    for at, name in enumerate(table.column_names):
        column = table.column(name)
        if isinstance(column.type, pa.ExtensionType):
            arrays = [chunk.to_numpy(zero_copy_only=False) for chunk in column.chunks]
            table = table.set_column(at, name, to_table({name: np.concatenate(arrays)}).column(0))
    return table
