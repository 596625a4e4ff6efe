"""What a sink of results is."""

from collections.abc import Mapping
from typing import Protocol

import pyarrow as pa

from orchestrator.jobs import Finished, Job, PartEntry, Reject, WrittenPart


class Sink(Protocol):
    """Where parts go. Every method raises JobError when it cannot write."""

    @property
    def job(self) -> Job:
        """The job that it was prepared for."""

    @property
    def done(self) -> Mapping[int, PartEntry]:
        """The parts that are there, from runs before this one and from this one."""

    def parts(self) -> tuple[WrittenPart, ...]:
        """The part files that are there, in order, those of unfinished parts included."""

    def write_part(self, finished: Finished[pa.Table]) -> None:
        """Make a part's file appear, whole."""

    def write_reject(self, reject: Reject) -> None:
        """Name a record that was set aside, at once."""

    def write_summary(self, text: str, complete: bool) -> None:
        """Make the run summary appear, whole; when the job is complete, mark it as such."""
