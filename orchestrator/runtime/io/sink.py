"""What a sink of results is."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import pyarrow as pa

from orchestrator.jobs import Finished, Job, PartEntry, Reject, WrittenPart
from orchestrator.runtime.io.draft import Draft, Place


class Sink(Protocol):
    """Where parts go. Every method raises JobError when it cannot write."""

    @property
    def job(self) -> Job:
        """The job that it was prepared for."""

    @property
    def done(self) -> Mapping[int, PartEntry]:
        """The parts that are there, from runs before this one and from this one."""

    def parts(self) -> tuple[WrittenPart, ...]:
        """The part files that are there, in order."""

    @property
    def place(self) -> Place:
        """Where drafts of parts are written."""

    @property
    def schema(self) -> pa.Schema | None:
        """The columns of every part; None until one is there."""

    def accept(self, finished: Finished, draft: Draft | None) -> None:
        """Make a part's file appear; without a draft it has no records."""

    def write_rejects(self, rejects: Sequence[Reject]) -> None:
        """Name the records that were set aside anew: work was lost and is done again."""

    def write_reject(self, reject: Reject) -> None:
        """Name a record that was set aside, at once."""

    def write_summary(self, text: str, complete: bool) -> None:
        """Make the run summary appear, whole; when the job is complete, mark it as such."""
