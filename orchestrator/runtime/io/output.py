"""An output that becomes one data set, part by part.

Part files lie directly in it and everything else has a name that starts with an underscore, so that
any reader of such files takes the folder as it is. A file appears whole or not at all.
"""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from orchestrator.errors import JobError
from orchestrator.jobs import Begun, Finished, Job, Listed, Part, PartEntry, Reject, WrittenPart
from orchestrator.runtime.io.begun import Beginning, begun_name, reject_of, rejects_name
from orchestrator.runtime.io.draft import Draft, Drafts, Place, write_draft
from orchestrator.runtime.io.formats import Format, format_of
from orchestrator.runtime.io.local import LocalStore
from orchestrator.runtime.io.record import JobRecord, Rejoined
from orchestrator.runtime.io.remote import RemoteStore
from orchestrator.runtime.io.schemas import says_less, unified
from orchestrator.runtime.io.store import PARTS, SUCCESS, SUMMARY, Store, explained, is_draft
from orchestrator.sources import SourceError, file_system, is_url

#: Part files whose columns are read at once.
_READS = 8
#: Bytes of a file of rejects that are read to name some.
_NAMED_BYTES = 1 << 20


def store_at(where: Path | str) -> Store:
    """The folder of a path or of a ``file://`` URL; the object store of any other.

    Raises:
        JobError: the URL is none.
    """
    if not is_url(str(where)):
        return LocalStore.at(where)
    if not str(where).startswith("file://"):
        return RemoteStore(str(where))
    try:
        return LocalStore(str(where), Path(file_system(str(where))[1]))
    except SourceError as error:
        raise JobError(str(where), str(error)) from error


class OutputFolder:
    """The output of a job, as Parquet unless told otherwise. Nothing is touched before ``prepare``.

    Raises:
        JobError: there is no such format, or it is a URL that says nothing.
    """

    def __init__(self, folder: Path | str, format: str = "parquet") -> None:
        self.store = store_at(folder)
        self.where = self.store.where
        self.format: Format = format_of(format)
        self.place = Place(self.store, self.format)
        self.job: Job
        self.done: dict[int, PartEntry] = {}
        self.begun: dict[int, PartEntry] = {}
        self.schema: pa.Schema | None = None
        self._record = JobRecord(self.store)
        self._listing = threading.Lock()

    def prepare(
        self,
        job: Job,
        *,
        resume: bool = False,
        accept_changes: bool = False,
        rejoined: Rejoined | None = None,
    ) -> None:
        """Make the folder if need be, try a write, and begin the job or go on with it.

        With ``resume`` an empty folder begins the job, so that one command line does for all runs.
        ``rejoined`` makes another job of this one and the parts that are there, for an input that
        does not come in the same stretches each time.

        Raises:
            JobError: it is a file, is not empty, or cannot be written to; or, with ``resume``, it
                holds no job or another one, or a run that has not ended writes to it.
        """
        self.job = job
        try:
            with explained(self.where, "cannot be written to"):
                fresh = self._record.own(resume)
                if fresh:
                    self._record.begin(job)
                else:
                    resumed = self._record.resume(job, accept_changes, rejoined)
                    self.job, self.done, self.begun = resumed
                self._remove_orphans()
                if not fresh:
                    self._take_up()
        except BaseException:
            self.close()
            raise

    @cached_property
    def _inputs(self) -> dict[int, str]:
        pairs = zip(self.job.parts, self.job.inputs, strict=True)
        return {part.index: digest for part, digest in pairs}

    @property
    def complete(self) -> bool:
        """Whether every part of the job is there."""
        return len(self.done) == len(self.job.parts)

    @property
    def closed(self) -> bool:
        """Whether the mark is there that a job sets at its very end."""
        return SUCCESS in self.store.names()

    @property
    def crashed(self) -> bool:
        """Whether the run before this one ended without a word, whatever ended it."""
        return self._record.crashed

    def close(self) -> None:
        """Let another run have the folder."""
        self._record.close()

    def parts(self) -> tuple[WrittenPart, ...]:
        """The part files that are there, in order."""
        return tuple(
            WrittenPart(entry.file, entry.records, entry.rows, entry.bytes)
            for _, entry in sorted(self.done.items())
            if entry.file is not None
        )

    def beginnings(self) -> dict[int, Beginning]:
        """How parts begin that an earlier run left open, by number."""
        return {index: Beginning(self.store, entry) for index, entry in self.begun.items()}

    def rejects(self, most: int) -> tuple[Reject, ...]:
        """What was set aside of the parts that are listed: the first, as many as may be.

        Raises:
            JobError: a file cannot be read.
        """
        found: list[Reject] = []
        for _, entry in sorted({**self.begun, **self.done}.items()):
            if entry.rejects is not None and len(found) < most:
                name = entry.rejects.file
                with explained(self.where, f"cannot be read ({name})"), self.store.open(name) as of:
                    lines = of.read(_NAMED_BYTES).splitlines(keepends=True)
                found += [reject_of(line) for line in lines if line.endswith(b"\n")]
        return tuple(found[:most])

    def accept(self, finished: Finished, drafts: Drafts | None) -> PartEntry:
        """Make a part's files appear and list them; without drafts it has no records. Thread-safe.

        Raises:
            JobError: the folder cannot be written to, or is another run's by now.
        """
        part, drafts = finished.part, drafts or Drafts(None, None, 0)
        begun = None if finished.batches is None else Begun(finished.batches, drafts.batch)
        entry = PartEntry(
            index=part.index,
            input=self._inputs[part.index],
            file=None,
            records=finished.records,
            rows=0,
            bytes=0,
            sha256="",
            rejected=dict(finished.rejected),
            facts=self.job.facts_digest,
            begun=begun,
        )
        with self._listing:
            rows, rejects = drafts.rows, drafts.rejects
            if rejects is not None:
                name = self._publish(rejects, rejects_name(part))
                entry = replace(entry, rejects=Listed(name, rejects.bytes, rejects.sha256))
            if rows is None:
                return self._list(entry)
            typed = rows if begun else self._typed(entry, rows)
            return self._appear(replace(entry, rows=rows.rows), typed)

    def _appear(self, entry: PartEntry, draft: Draft) -> PartEntry:
        name = self._publish(draft, self._name(entry))
        return self._list(replace(entry, file=name, bytes=draft.bytes, sha256=draft.sha256))

    def _publish(self, draft: Draft, name: str) -> str:
        with explained(self.where, f"cannot be written to ({name})"):
            self._record.check()
            return self.store.publish(draft.hidden, name)

    def _list(self, entry: PartEntry) -> PartEntry:
        with explained(self.where, "cannot be written to (the manifest)"):
            self._record.add(entry)
        before = self.begun.pop(entry.index, None)
        (self.done if entry.begun is None else self.begun)[entry.index] = entry
        if before is not None:
            gone = {one.file for one in before.files} - {one.file for one in entry.files}
            for name in gone:
                with contextlib.suppress(OSError):  # the end of the job removes it
                    self.store.delete(name)
        return entry

    def _name(self, entry: PartEntry) -> str:
        part = Part(entry.index, ())
        return part.name + self.format.suffix if entry.begun is None else begun_name(part)

    def _typed(self, entry: PartEntry, draft: Draft) -> Draft:
        """A draft with the types that all parts have, which it may be the first to say."""
        if self.schema is None:
            self.schema = draft.schema
            return draft
        try:
            common = unified([self.schema, draft.schema])
        except ValueError as error:
            told = f"{self._name(entry)} has other columns than before: {error}"
            raise JobError(self.where, told) from error
        if common != self.schema:
            self.schema = common
            self._retype()
        again = self._again(entry, draft.hidden) if says_less(draft.schema, common) else None
        return again or draft

    def _retype(self) -> None:
        """Give parts that are there the types which they did not know."""
        for entry in list(self.done.values()):
            schema = None if entry.file is None else self._schema(entry.file)
            if entry.file is None or schema is None or not says_less(schema, self.schema):
                continue
            if draft := self._again(entry, entry.file):
                self._appear(entry, draft)

    def _again(self, entry: PartEntry, file: str) -> Draft | None:
        """A file written anew with all types; None where its format keeps none."""
        with explained(self.where, f"cannot be read ({file})"), self.store.open(file) as there:
            table = self.format.read(there)
        if table is None:
            return None
        return write_draft(self.place, Part(entry.index, ()).name, [table], self.schema)

    def _remove_orphans(self) -> None:
        """What a run left that is no finished part."""
        listed = (*self.done.values(), *self.begun.values())
        known = {one.file for entry in listed for one in entry.files}
        for name in self.store.names():
            if is_draft(name) or (name.startswith(PARTS) and name not in known):
                self.store.delete(name)

    def _take_up(self) -> None:
        """The columns that the parts have."""
        entries = [entry for _, entry in sorted(self.done.items())]
        with ThreadPoolExecutor(_READS) as pool:
            found = pool.map(self._schema, (entry.file for entry in entries if entry.file))
            schemas = [schema for schema in found if schema is not None]
        if schemas:
            self.schema = unified(schemas)
            self._retype()

    def _schema(self, file: str) -> pa.Schema | None:
        with self.store.open(file) as there:
            return self.format.schema(there)

    def write_summary(self, text: str, complete: bool) -> None:
        """Write the run summary, and when the job is complete the mark that says so.

        Raises:
            JobError: the write failed, or the folder is another run's by now.
        """
        with explained(self.where, f"cannot be written to ({SUMMARY})"):
            self._record.check()
            self.store.put(SUMMARY, text.encode())
        if complete:
            with explained(self.where, "cannot be written to (the end mark)"):
                self._remove_orphans()
                self._record.finish()
