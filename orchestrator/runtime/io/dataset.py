"""Any Ray Data dataset as the input of a job.

The dataset is executed once, into Ray's object store (which spills to disk), and its blocks are the
pieces of the job: whoever does a part fetches the blocks that it needs. Rows that Ray Data makes
have no names of their own; with a column that names each of them a job can be resumed, because the
dataset is executed anew then, and what comes out is known again by its ids.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import ray

from orchestrator.errors import JobError
from orchestrator.jobs import Part, Piece, Unit, ranges
from orchestrator.runtime.io.columns import Array, to_table
from orchestrator.runtime.io.source import Load, Rows, batches_of

if TYPE_CHECKING:
    from ray.data import Dataset

_WHERE = "the dataset"
#: Rows that are taken from a block at once.
_AT_ONCE = 4096


class DatasetRows:
    """The rows of a dataset's blocks, called ``block-00000#17``, or by their ``id_column``.

    Raises:
        JobError: it has no such column, no rows, or two rows of one id.
    """

    part_size = 16384
    batch_size = 64
    unit = Unit.ROW
    ignored = 0

    def __init__(self, dataset: "Dataset", id_column: str | None) -> None:
        self._id_column = id_column
        refs = dataset.materialize().to_arrow_refs()
        look = ray.remote(num_cpus=0)(_Block.of)
        found = zip(refs, ray.get([look.remote(ref, id_column) for ref in refs]), strict=True)
        blocks = [(ref, block) for ref, block in found if block.rows]
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
        #: The same whatever order the rows come in.
        self.digest = f"{sum(block.rows for _, block in blocks)} rows, {_digest(np.sort(ids))}"

    def pieces(self, size: int) -> list[Piece]:
        """Its blocks, in pieces of ``size``."""
        found = ((name, block.rows) for name, block in self._blocks.items())
        return [piece for name, rows in found for piece in ranges(name, rows, size, self.unit)]

    def stamp(self, file: str) -> str:
        """The ids of a block."""
        return _digest(self._blocks[file].ids)

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
                table = block.slice(at, min(_AT_ONCE, piece.stop - at))
                yield Rows(_plain(table), self._names(table, piece, at))

    def _names(self, table: pa.Table, piece: Piece, start: int) -> list[str]:
        if self._id_column is None:
            return [piece.record(at) for at in range(start, start + table.num_rows)]
        return [str(value) for value in table.column(self._id_column).to_pylist()]


@dataclass(frozen=True)
class _Block:
    """What must be known of a block: ``ids`` are numbers that stand for its rows' ids."""

    rows: int
    columns: tuple[str, ...]
    ids: Array

    @staticmethod
    def of(table: pa.Table, id_column: str | None) -> "_Block":
        """Look at a block, where it lies."""
        columns = tuple(table.column_names)
        if id_column not in columns:
            return _Block(table.num_rows, columns, np.zeros(0, np.uint64))
        values = table.column(id_column).to_pylist()
        return _Block(
            table.num_rows, columns, np.array([_number(one) for one in values], np.uint64)
        )


def _number(value: object) -> int:
    return int.from_bytes(hashlib.sha256(str(value).encode()).digest()[:8], "big")


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
