"""A folder that becomes one Parquet data set, part by part.

Part files lie in the folder itself and everything else has a name that starts with an underscore,
so that any Parquet reader takes the folder as it is. A file appears whole or not at all: it is
written under a hidden name, flushed to disk and renamed.
"""

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.errors import JobError
from orchestrator.jobs import Finished, Reject, WrittenPart

SUMMARY, REJECTS = "_summary.json", "_rejects.jsonl"

Array = npt.NDArray[Any]


class ParquetFolder:
    """The output of a job. Nothing is touched before ``prepare``."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._schema: pa.Schema | None = None
        self._columns = threading.Lock()

    def prepare(self) -> None:
        """Make the folder if need be and try a write.

        Raises:
            JobError: it is a file, is not empty, or cannot be written to.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise JobError(str(self.folder), "is a file; the output is a folder")
        with self._explained("cannot be written to"):
            self.folder.mkdir(parents=True, exist_ok=True)
            if any(self.folder.iterdir()):
                raise JobError(
                    str(self.folder),
                    "is not empty, and finished work is never written over: name a new folder",
                )
            with tempfile.TemporaryFile(dir=self.folder) as probe:
                probe.write(bytes(4096))
                probe.flush()
                os.fsync(probe.fileno())

    def write_part(self, finished: Finished[pa.Table]) -> WrittenPart:
        """Write a part's tables, one after the other, as its file. Thread-safe.

        Raises:
            JobError: its columns differ from those of the parts before, or the write failed.
        """
        with self._columns:
            table = self._joined(finished)
        name = finished.part.file
        with self._explained(f"cannot be written to ({name})"), self._whole_file(name) as file:
            pq.write_table(table, file)
        size = (self.folder / name).stat().st_size
        return WrittenPart(name, len(finished.results), table.num_rows, size)

    def write_reject(self, reject: Reject) -> None:
        """Add a line to the rejects file.

        Raises:
            JobError: the write failed.
        """
        with (
            self._explained(f"cannot be written to ({REJECTS})"),
            (self.folder / REJECTS).open("a", encoding="utf-8") as file,
        ):
            file.write(reject.line())

    def write_summary(self, text: str) -> None:
        """Write the run summary.

        Raises:
            JobError: the write failed.
        """
        with (
            self._explained(f"cannot be written to ({SUMMARY})"),
            self._whole_file(SUMMARY) as file,
        ):
            file.write(text.encode())

    def _joined(self, finished: Finished[pa.Table]) -> pa.Table:
        try:
            table = pa.concat_tables(finished.results, promote_options="default")
            table = table if self._schema is None else table.cast(self._schema)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
            raise JobError(
                str(self.folder), f"{finished.part.file} has other columns than before: {error}"
            ) from error
        self._schema = table.schema
        return table

    @contextlib.contextmanager
    def _explained(self, problem: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise JobError(str(self.folder), f"{problem}: {reason}") from error

    @contextlib.contextmanager
    def _whole_file(self, name: str) -> Iterator[IO[bytes]]:
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=f".{name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(self.folder / name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


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
    if array.dtype == object:
        return pa.array(list(array))
    column = pa.array(array.reshape(-1))
    for size in reversed(array.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column
