"""What an output knows of its job: the manifest, whose it is, the end mark.

A part exists when the manifest lists it. Everything else in the output that looks like a part is
what a run left behind that did not get so far, and the next run removes it.
"""

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from orchestrator.errors import JobError
from orchestrator.jobs import (
    INPUT,
    Job,
    Listed,
    Manifest,
    PartEntry,
    changes,
    file_changes,
    manifest_text,
    read_manifest,
)
from orchestrator.runtime.io.store import (
    LOCK,
    RESUME,
    SUCCESS,
    SUMMARY,
    Journal,
    Lease,
    Store,
    checksum,
    is_draft,
)

#: Part files that are read at once to see whether they are whole.
_READS = 8
#: What a job becomes whose input knows these parts again.
Rejoined = Callable[[Job, Sequence[PartEntry]], Job]
_DAMAGED = (ValueError, KeyError, TypeError, AttributeError)


class JobRecord:
    """Of one owner at a time: taken by ``own``, then opened by ``begin`` or ``resume``.

    ``crashed``: a run before this one ended without a summary.
    """

    def __init__(self, store: Store) -> None:
        self.crashed = False
        self._store = store
        self._lease: Lease
        self._journal: Journal
        self._held = contextlib.ExitStack()

    def own(self, resume: bool) -> bool:
        """Make the output if need be, take it, and tell whether a new job begins in it.

        Raises:
            JobError: it is none; a run that has not ended has it; it holds what no job wrote; or
                it holds a job, and ``resume`` is not said.
        """
        self._store.make()
        if self._is_foreign():  # nothing is left in a folder that is none of ours
            raise self._refusal(resume)
        self._lease = self._store.own()
        self._held.callback(self._lease.close)
        self._journal = self._store.journal(self._lease)
        self._held.callback(self._journal.close)
        names = self._store.names()
        self.crashed = self._store.manifest in names and SUMMARY not in names
        fresh = self._is_untouched()  # only now: whoever had it may have ended just before
        if not fresh and (not resume or self._is_foreign()):
            raise self._refusal(resume)
        return fresh

    def begin(self, job: Job) -> None:
        """Start the record of a new job."""
        self._journal.begin(manifest_text(job.facts, (), self._lease.nonce, job.files))

    def resume(
        self, job: Job, accept_changes: bool, rejoined: Rejoined | None = None
    ) -> tuple[Job, dict[int, PartEntry], dict[int, PartEntry]]:
        """The job, the parts of an earlier run that stay as they are, and those that it began.

        Those stay whose records are the same and whose files are as the manifest says; of a job
        that has changed only what is finished. ``rejoined``:
        see OutputFolder.

        Raises:
            JobError: the output holds a damaged manifest, or another job and the changes are not
                accepted.
        """
        known = self._read()
        differ = changes(known.facts, job.facts)
        if differ and not accept_changes:
            raise JobError(
                self._store.where,
                f"its job began with another state of {', '.join(_told(differ, known, job))}: "
                "accept_changes=True goes on all the same, redoing the parts whose records differ; "
                "or name a new folder",
                {"accept_changes=True": "--accept-changes"},
            )
        with ThreadPoolExecutor(_READS) as pool:
            entries = list(known.entries.values())
            found = pool.map(self._is_whole, entries)
            whole = [one for one, is_whole in zip(entries, found, strict=True) if is_whole]
        finished = [one for one in whole if one.begun is None]
        if rejoined is not None:
            job = rejoined(job, finished)
        inputs = {part.index: digest for part, digest in zip(job.parts, job.inputs, strict=True)}
        same = {one.index: one for one in whole if inputs.get(one.index) == one.input}
        kept = {index: one for index, one in same.items() if one.begun is None}
        begun = {} if differ else {index: one for index, one in same.items() if one.begun}
        if differ or len(kept) < len(job.parts):  # what they say of the job is no longer so
            self._store.delete(SUCCESS)
            self._store.delete(SUMMARY)
        lines = [entry for _, entry in sorted({**kept, **begun}.items())]
        self._journal.begin(manifest_text(job.facts, lines, self._lease.nonce, job.files))
        return job, kept, begun

    def check(self) -> None:
        """See that the output is still this run's.

        Raises:
            JobError: another run has taken it.
        """
        self._lease.check()
        self._journal.check()

    def add(self, entry: PartEntry) -> None:
        """List a part whose file is there.

        Raises:
            JobError: another run has taken the output.
        """
        self.check()
        self._journal.add(entry.line())

    def finish(self) -> None:
        """Say that every part is there.

        Raises:
            JobError: another run has taken the output.
        """
        self.check()
        self._store.put(SUCCESS, b"")

    def close(self) -> None:
        """Let others have the output."""
        self._held.close()

    def _read(self) -> Manifest:
        try:
            return read_manifest(self._journal.read() or "")
        except _DAMAGED as error:
            told = f"{self._store.manifest} cannot be relied on: {error}; name a new folder"
            raise JobError(self._store.where, told) from error

    def _is_whole(self, entry: PartEntry) -> bool:
        return all(map(self._is_there, entry.files))

    def _is_there(self, listed: Listed) -> bool:
        with contextlib.suppress(OSError), self._store.open(listed.file) as file:
            return checksum(file) == (listed.bytes, listed.sha256)
        return False

    def _is_untouched(self) -> bool:
        """Whether a new job may begin: no files, or those of a job that finished no part."""
        beside = _beside_drafts(self._store.names())
        if beside == {self._store.manifest}:
            with contextlib.suppress(*_DAMAGED):
                text = self._journal.read()
                return text is None or not read_manifest(text).entries
        return not beside

    def _is_foreign(self) -> bool:
        """Whether somebody wrote there who is no job."""
        beside = _beside_drafts(self._store.names())
        return bool(beside) and self._store.manifest not in beside

    def _refusal(self, resume: bool) -> JobError:
        names, where, manifest = self._store.names(), self._store.where, self._store.manifest
        if self._is_foreign() and resume:
            return JobError(where, f"has no {manifest}, so there is no job in it to resume")
        if SUCCESS in names:
            return JobError(where, "holds a job that is complete: name a new folder")
        if manifest in names:
            told = "holds a job that is not complete: resume=True goes on with it"
            return JobError(where, told, RESUME)
        told = "is not empty, and finished work is never written over: name a new folder"
        return JobError(where, told)


def _told(differ: Sequence[str], known: Manifest, job: Job) -> list[str]:
    """What differs as a message says it: of the input the files, where the manifest has them."""
    if INPUT not in differ or not known.files or not job.files:
        return list(differ)
    files = file_changes(known.files, job.files)
    if not files:  # it was cut in other parts, which is a fact of its own
        return [name for name in differ if name != INPUT] or [INPUT]
    return [f"{INPUT} ({files})" if name == INPUT else name for name in differ]


def _beside_drafts(names: set[str]) -> set[str]:
    return {name for name in names if not is_draft(name)} - {LOCK}
