"""What a sink of results is."""

from collections.abc import Mapping
from typing import Protocol

import pyarrow as pa

from orchestrator.jobs import Finished, Job, PartEntry, Reject, WrittenPart
from orchestrator.runtime.io.begun import Beginning
from orchestrator.runtime.io.draft import Drafts, Place


class Sink(Protocol):
    """Where parts go. Every method raises JobError when it cannot write."""

    @property
    def job(self) -> Job:
        """The job that it was prepared for."""

    @property
    def done(self) -> Mapping[int, PartEntry]:
        """The parts that are there, from runs before this one and from this one."""

    @property
    def begun(self) -> Mapping[int, PartEntry]:
        """The parts that a run was stopped in; what is there of them."""

    def beginnings(self) -> Mapping[int, Beginning]:
        """The same for whoever goes on with them."""

    def rejects(self, most: int) -> tuple[Reject, ...]:
        """What was set aside of all these: the first, as many as may be."""

    def parts(self) -> tuple[WrittenPart, ...]:
        """The part files that are there, in order."""

    @property
    def place(self) -> Place:
        """Where drafts of parts are written."""

    @property
    def schema(self) -> pa.Schema | None:
        """The columns of every part; None until one is there."""

    def accept(self, finished: Finished, drafts: Drafts | None) -> PartEntry:
        """Make a part's files appear; without drafts it has no records."""

    def write_summary(self, text: str, complete: bool) -> None:
        """Make the run summary appear, whole; when the job is complete, mark it as such."""
