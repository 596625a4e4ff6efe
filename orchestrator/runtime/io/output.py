"""A folder that becomes one data set, part by part.

Part files lie in the folder itself and everything else has a name that starts with an underscore,
so that any reader of such files takes the folder as it is. A file appears whole or not at all.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from orchestrator.errors import JobError
from orchestrator.jobs import Finished, Job, PartEntry, Reject, WrittenPart
from orchestrator.runtime.io.draft import Draft, Place, explained, hidden_file
from orchestrator.runtime.io.formats import Format, format_of
from orchestrator.runtime.io.record import (
    REJECTS,
    SUMMARY,
    JobRecord,
    finished_job,
    has_job,
    is_untouched,
    part_files,
)


class OutputFolder:
    """The output of a job, as Parquet unless told otherwise. Nothing is touched before ``prepare``.

    Raises:
        JobError: it is a URL, or there is no such format.
    """

    def __init__(self, folder: Path | str, format: str = "parquet") -> None:
        if "://" in str(folder):
            raise JobError(
                str(folder), "is a URL; the output is a folder of this machine, or mounted there"
            )
        self.folder = Path(folder)
        self.format: Format = format_of(format)
        self.place = Place(self.folder.absolute(), format)
        self.job: Job
        self.done: dict[int, PartEntry] = {}
        self._record = JobRecord(self.folder)
        self._leftovers: dict[int, WrittenPart] = {}
        self.schema: pa.Schema | None = None

    def prepare(self, job: Job, *, resume: bool = False, accept_changes: bool = False) -> None:
        """Make the folder if need be, try a write, and begin the job or go on with it.

        With ``resume`` an empty folder begins the job, so that one command line does for all runs.

        Raises:
            JobError: it is a file, is not empty, or cannot be written to; or, with ``resume``, it
                holds no job or another one, or a run that has not ended writes to it.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise JobError(str(self.folder), "is a file; the output is a folder")
        self.job = job
        with explained(self.folder, "cannot be written to"):
            self.folder.mkdir(parents=True, exist_ok=True)
            fresh = is_untouched(self.folder)
            if not fresh and not resume:
                raise JobError(str(self.folder), self._why_not_empty())
            with tempfile.TemporaryFile(dir=self.folder) as probe:
                probe.write(bytes(4096))
                probe.flush()
                os.fsync(probe.fileno())
            try:
                self._open(fresh, accept_changes)
            except BaseException:
                self.close()
                raise

    def _open(self, fresh: bool, accept_changes: bool) -> None:
        if fresh:
            self._record.begin(self.job)
        else:
            self.done = self._record.resume(self.job, accept_changes)
            self._remove_orphans()

    @property
    def complete(self) -> bool:
        """Whether every part of the job is there."""
        return len(self.done) == len(self.job.parts)

    @property
    def closed(self) -> bool:
        """Whether the mark is there that a job sets at its very end."""
        return finished_job(self.folder)

    def close(self) -> None:
        """Let another run have the folder."""
        self._record.close()

    def parts(self) -> tuple[WrittenPart, ...]:
        """The part files that are there, in order, those of unfinished parts included."""
        whole = {
            index: WrittenPart(entry.file, entry.records, entry.rows, entry.bytes)
            for index, entry in self.done.items()
            if entry.file is not None
        }
        return tuple(part for _, part in sorted({**whole, **self._leftovers}.items()))

    def accept(self, finished: Finished, draft: Draft | None) -> None:
        """Make a part's file appear and list it; without a draft it has no records. Thread-safe.

        Raises:
            JobError: the folder cannot be written to.
        """
        index, written = finished.part.index, None
        if draft is not None:
            self.schema = self.schema or draft.schema
            name = finished.part.name + self.format.suffix
            with explained(self.folder, f"cannot be written to ({name})"):
                (self.folder / draft.hidden).replace(self.folder / name)
            written = WrittenPart(name, finished.records, draft.rows, draft.bytes)
        if not finished.whole:  # not listed: the next run does it anew
            if written is not None:
                self._leftovers[index] = written
            return
        entry = PartEntry(
            index,
            self.job.inputs[index],
            None if written is None else written.file,
            finished.records,
            0 if written is None else written.rows,
            0 if written is None else written.bytes,
            "" if draft is None else draft.sha256,
            finished.rejects,
        )
        with explained(self.folder, "cannot be written to (the manifest)"):
            self._record.add(entry)
        self.done[index] = entry

    def _why_not_empty(self) -> str:
        if finished_job(self.folder):
            return "holds a job that is complete: name a new folder"
        if has_job(self.folder):
            return "holds a job that is not complete: --resume goes on with it"
        return "is not empty, and finished work is never written over: name a new folder"

    def _remove_orphans(self) -> None:
        """What a run left that is no finished part; and the rejects file as the parts tell it."""
        known = part_files(self.done)
        for path in self.folder.iterdir():
            if path.name.startswith("part-") and path.name not in known:
                path.unlink()
        self._remove_drafts()
        self.write_rejects(
            [reject for _, entry in sorted(self.done.items()) for reject in entry.rejects]
        )
        if known:
            self.schema = self.format.schema(self.folder / min(known))

    def _remove_drafts(self) -> None:
        """Hidden files of writers that died."""
        for path in self.folder.iterdir():
            if path.name.startswith((".part-", f".{SUMMARY}")):
                path.unlink(missing_ok=True)

    def write_rejects(self, rejects: Sequence[Reject]) -> None:
        """Write the rejects file anew.

        Raises:
            JobError: the write failed.
        """
        path = self.folder / REJECTS
        with explained(self.folder, f"cannot be written to ({REJECTS})"):
            path.unlink(missing_ok=True)
            if rejects:
                path.write_text("".join(one.line() for one in rejects), encoding="utf-8")

    def write_reject(self, reject: Reject) -> None:
        """Add a line to the rejects file.

        Raises:
            JobError: the write failed.
        """
        with (
            explained(self.folder, f"cannot be written to ({REJECTS})"),
            (self.folder / REJECTS).open("a", encoding="utf-8") as file,
        ):
            file.write(reject.line())

    def write_summary(self, text: str, complete: bool) -> None:
        """Write the run summary, and when the job is complete the mark that says so.

        Raises:
            JobError: the write failed.
        """
        with explained(self.folder, f"cannot be written to ({SUMMARY})"):
            with hidden_file(self.folder, SUMMARY) as (file, hidden):
                file.write(text.encode())
            hidden.replace(self.folder / SUMMARY)
        if complete:
            with explained(self.folder, "cannot be written to (the end mark)"):
                self._remove_drafts()
                self._record.finish()
