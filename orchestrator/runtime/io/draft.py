"""Files of the output before they are part of it: written by whoever has the rows.

A draft is whole and flushed to disk, and nobody takes it for a part until the owner of the output
makes it appear and lists it. So a writer that dies leaves nothing that anybody reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from orchestrator.errors import JobError
from orchestrator.runtime.io.formats import Format
from orchestrator.runtime.io.schemas import as_schema, unified
from orchestrator.runtime.io.store import Store, explained


@dataclass(frozen=True)
class Place:
    """Where parts are written, and the name of the format. May be sent to others."""

    store: Store
    format: Format


@dataclass(frozen=True)
class Draft:
    """A file under its ``hidden`` name. ``schema``: its columns, as all parts have them."""

    hidden: str
    rows: int
    bytes: int
    sha256: str
    schema: pa.Schema


@dataclass(frozen=True)
class Drafts:
    """Files of a part: rows, and records that were set aside; None where there are none.

    ``batch``: records of its batches.
    """

    rows: Draft | None
    rejects: Draft | None
    batch: int


def write_draft(
    place: Place, stem: str, tables: Sequence[pa.Table], schema: pa.Schema | None
) -> Draft:
    """Write a part's tables, one after the other; ``schema`` is that of the parts before, if any.

    Raises:
        JobError: its columns differ from those of the parts before, the format cannot hold them,
            or the write failed.
    """
    where, format = place.store.where, place.format
    name = stem + format.suffix
    table = _joined(where, name, tables, schema)
    with explained(where, f"cannot be written to ({name})"):
        try:
            written = place.store.draft(name, partial(format.write, table))
        except ValueError as error:
            raise JobError(where, f"{name} cannot be made: {error}") from error
    return Draft(written.name, table.num_rows, written.bytes, written.sha256, table.schema)


def _joined(
    where: str, name: str, tables: Sequence[pa.Table], schema: pa.Schema | None
) -> pa.Table:
    schemas = [table.schema for table in tables]
    try:
        common = unified(schemas if schema is None else [schema, *schemas])
        return pa.concat_tables([as_schema(table, common) for table in tables])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise JobError(where, f"{name} has other columns than before: {error}") from error
