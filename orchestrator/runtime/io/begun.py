"""What a job keeps of a part beside its rows: what was set aside of it, and how it begins.

A run that is stopped keeps what it has of the parts that are open, and the next one goes on behind
that. Both are written and read by whoever does the part.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import IO

import pyarrow as pa

from orchestrator.jobs import Part, PartEntry, Reject, Stage
from orchestrator.runtime.io.draft import Draft, Place, write_draft
from orchestrator.runtime.io.formats import ArrowStream, JsonText
from orchestrator.runtime.io.store import BEGUN, PART, REJECTS, RESUME, Store, explained

#: The formats of rejects and of beginnings, whatever that of the output is.
REJECTS_FORMAT, BEGUN_FORMAT = JsonText(), ArrowStream()
_REJECTS = pa.schema([(name, pa.string()) for name in ("record", "stage", "reason", "card")])


def rejects_name(part: Part) -> str:
    """The file of what was set aside of a part."""
    return part.name.replace(PART, REJECTS) + REJECTS_FORMAT.suffix


def begun_name(part: Part) -> str:
    """The file of a part's beginning."""
    return part.name.replace(PART, BEGUN) + BEGUN_FORMAT.suffix


def rejects_table(rejects: Sequence[Reject]) -> pa.Table:
    """Rejects as the rows that their file has."""
    return pa.Table.from_pylist([asdict(reject) for reject in rejects], _REJECTS)


def reject_of(line: bytes) -> Reject:
    """The inverse: a reject of a line of its file."""
    document = json.loads(line)
    return Reject(**{**document, "stage": Stage(document["stage"])})


def write_rejects(place: Place, part: Part, tables: Sequence[pa.Table]) -> Draft:
    """Write what was set aside of a part.

    Raises:
        JobError: the write failed.
    """
    stem = rejects_name(part).removesuffix(REJECTS_FORMAT.suffix)
    return write_draft(Place(place.store, REJECTS_FORMAT), stem, tables, _REJECTS)


def write_begun(
    place: Place, part: Part, tables: Sequence[pa.Table], schema: pa.Schema | None
) -> Draft:
    """Write how a part begins.

    Raises:
        JobError: the write failed.
    """
    stem = begun_name(part).removesuffix(BEGUN_FORMAT.suffix)
    return write_draft(Place(place.store, BEGUN_FORMAT), stem, tables, schema)


@dataclass(frozen=True)
class Beginning:
    """How a part begins, as an earlier run left it. May be sent to others."""

    store: Store
    entry: PartEntry

    @property
    def batches(self) -> int:
        """So many are done."""
        assert self.entry.begun is not None, "of a part that was begun"
        return self.entry.begun.batches

    @property
    def batch(self) -> int:
        """Records of its batches."""
        assert self.entry.begun is not None, "of a part that was begun"
        return self.entry.begun.rows

    def rows(self) -> tuple[pa.Table, ...]:
        """Its results: a table, or none.

        Raises:
            JobError: they cannot be read any more.
        """
        if self.entry.file is None:
            return ()
        with self._opened(self.entry.file) as file:
            return (BEGUN_FORMAT.read(file),)

    def rejects(self) -> tuple[pa.Table, ...]:
        """What was set aside: a table, or none.

        Raises:
            JobError: it cannot be read any more.
        """
        if self.entry.rejects is None:
            return ()
        with self._opened(self.entry.rejects.file) as file:
            return (rejects_table([reject_of(line) for line in file.read().splitlines()]),)

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        told = f"cannot be read any more ({name}): resume=True does without it"
        with explained(self.store.where, told, RESUME), self.store.open(name) as file:
            yield file
