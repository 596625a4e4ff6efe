"""What a job says about itself, while it runs and at its end. Pure."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from orchestrator.jobs.rejects import Reject

#: Rejects that a summary names; the rejects files have all of them.
LISTED = 100


class Outcome(str, Enum):
    """How a job ended."""

    COMPLETE = "complete"
    """Every record was read or set aside."""
    INTERRUPTED = "interrupted"
    """Stopped by the user; what was in flight was finished and saved."""
    FAILED = "failed"
    """Stopped by a problem; the parts that are listed are whole."""


@dataclass(frozen=True)
class Progress:
    """How far a running job is. ``total`` is None while nobody has counted the records."""

    total: int | None
    read: int
    rejected: int
    parts: int
    parts_done: int

    @property
    def settled(self) -> int:
        """Records that are read or set aside."""
        return self.read + self.rejected

    @property
    def expected(self) -> int | None:
        """Records of the whole job: counted, or else reckoned from the parts that are done."""
        if self.total is not None or not self.parts_done:
            return self.total
        return self.settled * self.parts // self.parts_done

    @property
    def complete(self) -> bool:
        """Whether there is nothing left."""
        return self.parts_done == self.parts


@dataclass(frozen=True)
class WrittenPart:
    """A part file that is whole."""

    file: str
    records: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class JobSummary:
    """The run summary. ``deployment`` is whatever the caller knows of plan and cards, as JSON.

    Counts are those of the job; of its records ``resumed`` were settled by runs before this one.
    ``rejected`` counts what was set aside by stage, ``rejects`` are the first ``LISTED`` of it, and
    of a job that failed also some that are set aside anew when it goes on.
    ``total`` is None when the job stopped before all records were counted.
    """

    outcome: Outcome
    total: int | None
    read: int
    rejected: Mapping[str, int]
    rejects: tuple[Reject, ...]
    ignored_files: int
    parts: tuple[WrittenPart, ...]
    seconds: float
    resumed: int = 0
    problem: str | None = None
    deployment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def set_aside(self) -> int:
        """How many records were."""
        return sum(self.rejected.values())

    @property
    def records_per_second(self) -> float:
        """Records settled in a second of this run, from the first to the last part written."""
        settled = self.read + self.set_aside - self.resumed
        return settled / self.seconds if self.seconds > 0 else 0.0

    @property
    def rows(self) -> int:
        """Rows of output."""
        return sum(part.rows for part in self.parts)

    def to_json(self) -> str:
        """The document that is written beside the parts."""
        document = {
            "outcome": self.outcome.value,
            "problem": self.problem,
            "records": {
                "total": self.total,
                "read": self.read,
                "rejected": self.set_aside,
                "resumed": self.resumed,
            },
            "rows": self.rows,
            "seconds": round(self.seconds, 3),
            "records_per_second": round(self.records_per_second, 3),
            "ignored_files": self.ignored_files,
            "rejected_by_stage": dict(self.rejected),
            "rejects": [asdict(reject) for reject in self.rejects],
            "parts": [asdict(part) for part in self.parts],
            **self.deployment,
        }
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
