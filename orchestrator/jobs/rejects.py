"""Records that a job set aside instead of reading. Pure."""

import json
from dataclasses import asdict, dataclass
from enum import Enum


class Stage(str, Enum):
    """Where a record failed."""

    READ = "read"
    """It could not be opened or decoded."""
    PIPELINE = "pipeline"
    """The pipeline function, or a model that it called, failed on it."""


@dataclass(frozen=True)
class Reject:
    """One record that was set aside, and why."""

    record: str
    stage: Stage
    reason: str

    def line(self) -> str:
        """One line of the rejects file: JSON with ``record``, ``stage`` and ``reason``."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"
