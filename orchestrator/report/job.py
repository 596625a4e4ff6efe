"""A batch job as it is shown: progress, and how it ended."""

from rich.console import Console

from orchestrator.config import Deployment
from orchestrator.elsewhere import ForJobs
from orchestrator.facade import Orchestrator
from orchestrator.jobs import JobSummary, Outcome
from orchestrator.placement import DeploymentPlan
from orchestrator.profiles import ProfileCache
from orchestrator.report.progress import job_progress
from orchestrator.runtime.cluster.measure import measure_missing
from orchestrator.runtime.io.store import REJECTS
from orchestrator.runtime.jobs.batch import PreparedJob
from orchestrator.runtime.jobs.runner import JobHooks

#: Rejects named on the screen; the rejects files have all of them.
_NAMED = 10
_INTERRUPTED = "Ctrl-C: finishing what is on the cards and saving it; Ctrl-C again stops at once"


def measure_shown(wanted: Deployment | DeploymentPlan, console: Console) -> None:
    """Measure what a deployment needs and nobody has measured, with a line for each model.

    Raises:
        OrchestratorError: see ``measure_missing``.
    """
    if isinstance(wanted, Deployment):
        measure_missing(wanted, ProfileCache(), console.print)


def run_shown(prepared: PreparedJob, running: Orchestrator | None, console: Console) -> JobSummary:
    """Run a job on a deployment that runs, show its progress, and say how it ended.

    Raises:
        OrchestratorError: see ``PreparedJob.run``.
    """
    with job_progress(console) as on_progress:
        hooks = JobHooks(on_progress, lambda: console.print(_INTERRUPTED, soft_wrap=True))
        summary = prepared.run(None if running is None else ForJobs(running), hooks)
    for line in outcome_lines(summary, prepared.sink.where):
        console.print(line, soft_wrap=True)
    return summary


def outcome_lines(summary: JobSummary, where: str) -> list[str]:
    """What a run ends with, for people."""
    rate = f"{summary.seconds:.1f} s, {summary.records_per_second:.2f} records/s"
    if summary.resumed:
        rate += f", {summary.resumed} of them by runs before"
    of = "" if summary.total is None else f" of {summary.total}"
    lines = [f"{summary.read}{of} records read into {where} in {rate}"]
    if summary.outcome is Outcome.INTERRUPTED:
        lines[0] = f"interrupted: {lines[0]}"
        lines.append("the same command with --resume goes on from here")
    if summary.rejects:
        lines.append(f"{summary.set_aside} set aside, see {where}/{REJECTS}*.jsonl:")
        lines += [f"  {reject.record}: {reject.reason}" for reject in summary.rejects[:_NAMED]]
    if summary.ignored_files:
        files = "1 file" if summary.ignored_files == 1 else f"{summary.ignored_files} files"
        lines.append(f"left alone: {files} of the input of another kind")
    return lines
