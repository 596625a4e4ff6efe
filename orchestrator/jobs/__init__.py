"""Batch jobs as bookkeeping: parts, what is done, what was set aside, the summary. Pure."""

from orchestrator.jobs.job import IN_FLIGHT, INPUT, Job
from orchestrator.jobs.ledger import Finished, Ledger, Settled
from orchestrator.jobs.manifest import (
    Begun,
    Listed,
    Manifest,
    PartEntry,
    changes,
    file_changes,
    manifest_text,
    read_manifest,
)
from orchestrator.jobs.parts import RECORD_ID, Part, Piece, Unit, cut, ranges
from orchestrator.jobs.rejects import OnError, Reject, Stage, Tolerance, by_stage
from orchestrator.jobs.summary import LISTED, JobSummary, Outcome, Progress, WrittenPart

__all__ = [
    "INPUT",
    "IN_FLIGHT",
    "LISTED",
    "RECORD_ID",
    "Begun",
    "Finished",
    "Job",
    "JobSummary",
    "Ledger",
    "Listed",
    "Manifest",
    "OnError",
    "Outcome",
    "Part",
    "PartEntry",
    "Piece",
    "Progress",
    "Reject",
    "Settled",
    "Stage",
    "Tolerance",
    "Unit",
    "WrittenPart",
    "by_stage",
    "changes",
    "cut",
    "file_changes",
    "manifest_text",
    "ranges",
    "read_manifest",
]
