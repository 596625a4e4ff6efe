"""Batch jobs as bookkeeping: parts, what is done, what was set aside, the summary. Pure."""

from orchestrator.jobs.job import IN_FLIGHT, PART_SIZE, Job
from orchestrator.jobs.ledger import Finished, Ledger
from orchestrator.jobs.manifest import (
    PartEntry,
    changes,
    header_line,
    manifest_text,
    read_manifest,
)
from orchestrator.jobs.parts import Part, cut
from orchestrator.jobs.rejects import Reject, Stage
from orchestrator.jobs.summary import JobSummary, Outcome, Progress, WrittenPart

__all__ = [
    "IN_FLIGHT",
    "PART_SIZE",
    "Finished",
    "Job",
    "JobSummary",
    "Ledger",
    "Outcome",
    "Part",
    "PartEntry",
    "Progress",
    "Reject",
    "Stage",
    "WrittenPart",
    "changes",
    "cut",
    "header_line",
    "manifest_text",
    "read_manifest",
]
