"""Files of the output before they are part of it: written by whoever has the rows.

A file is written under a hidden name, whole and flushed to disk; it appears under its own when the
owner of the output folder renames it. So a writer that dies leaves nothing that anybody reads.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa

from orchestrator.errors import JobError
from orchestrator.runtime.io.formats import format_of
from orchestrator.runtime.io.record import checksum


@dataclass(frozen=True)
class Place:
    """Where parts are written: a folder, and the name of the format. May be sent to others."""

    folder: Path
    format: str


@dataclass(frozen=True)
class Draft:
    """A part's file under its ``hidden`` name. ``schema``: its columns, as all parts have them."""

    hidden: str
    rows: int
    bytes: int
    sha256: str
    schema: pa.Schema


def write_draft(
    place: Place, part: str, tables: Sequence[pa.Table], schema: pa.Schema | None
) -> Draft:
    """Write a part's tables, one after the other; ``schema`` is that of the parts before, if any.

    Raises:
        JobError: its columns differ from those of the parts before, the format cannot hold them,
            or the write failed.
    """
    folder, format = place.folder, format_of(place.format)
    name = part + format.suffix
    table = _joined(folder, name, tables, schema)
    with explained(folder, f"cannot be written to ({name})"):
        with hidden_file(folder, name) as (file, hidden):
            try:
                format.write(table, file)
            except ValueError as error:
                raise JobError(str(folder), f"{name} cannot be made: {error}") from error
        size = hidden.stat().st_size
        return Draft(hidden.name, table.num_rows, size, checksum(hidden), table.schema)


@contextlib.contextmanager
def explained(folder: Path, problem: str) -> Iterator[None]:
    """OSError within comes out as JobError about the folder."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise JobError(str(folder), f"{problem}: {reason}") from error


@contextlib.contextmanager
def hidden_file(folder: Path, name: str) -> Iterator[tuple[IO[bytes], Path]]:
    """A file to write that ends up whole under its hidden path, or not at all."""
    handle, path = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file, Path(path)
            file.flush()
            os.fsync(file.fileno())
        Path(path).chmod(0o644)
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise


def _joined(
    folder: Path, name: str, tables: Sequence[pa.Table], schema: pa.Schema | None
) -> pa.Table:
    try:
        table = pa.concat_tables(tables, promote_options="default")
        return table if schema is None else table.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise JobError(str(folder), f"{name} has other columns than before: {error}") from error
