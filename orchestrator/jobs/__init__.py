"""Batch jobs as bookkeeping: parts, what is done, what was set aside, the summary. Pure."""

from orchestrator.jobs.ledger import Finished, Ledger
from orchestrator.jobs.options import JobOptions
from orchestrator.jobs.parts import Part, cut
from orchestrator.jobs.rejects import Reject, Stage
from orchestrator.jobs.summary import JobSummary, Outcome, Progress, WrittenPart

__all__ = [
    "Finished",
    "JobOptions",
    "JobSummary",
    "Ledger",
    "Outcome",
    "Part",
    "Progress",
    "Reject",
    "Stage",
    "WrittenPart",
    "cut",
]
