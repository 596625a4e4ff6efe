"""A batch job as it is shown: progress, how it ended, and what the summary says of the cards."""

import inspect
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.config import Deployment
from orchestrator.errors import DeploymentError
from orchestrator.facade import Orchestrator
from orchestrator.jobs import IN_FLIGHT, JobSummary, Outcome
from orchestrator.placement import DeploymentPlan
from orchestrator.profiles import ProfileCache, profile_key
from orchestrator.report.memory import card_documents
from orchestrator.report.progress import job_progress
from orchestrator.runtime.io.images import ImageFolder
from orchestrator.runtime.io.parquet import REJECTS, ParquetFolder
from orchestrator.runtime.io.record import checksum
from orchestrator.runtime.measure import measure_missing
from orchestrator.runtime.runner import JobHooks, Pipeline, run_job

#: Rejects named on the screen; the rejects file has all of them.
_NAMED = 10


def measure_shown(wanted: Deployment | DeploymentPlan, console: Console) -> None:
    """Measure what a deployment needs and nobody has measured, with a line for each model.

    Raises:
        OrchestratorError: see ``measure_missing``.
    """
    if isinstance(wanted, Deployment):
        measure_missing(wanted, ProfileCache(), lambda line: console.print(line, markup=False))


def facts_of(wanted: Deployment | DeploymentPlan, name: str, pipeline: Pipeline) -> dict[str, str]:
    """What a job's output depends on beside its input: each model's file and options, the code."""
    deployment = wanted.deployment if isinstance(wanted, DeploymentPlan) else wanted
    source = inspect.getsourcefile(pipeline)
    facts = {f"the pipeline {name}": checksum(Path(source)) if source else ""}
    for order in deployment.orders():
        try:
            key = profile_key(order, deployment.cards.kind, None)
        except DeploymentError:  # with a plan the files need to be on the cards' nodes only
            key = {"model": order.path, "options": "", "kind": deployment.cards.kind}
        facts[f"model {order.name}"] = f"{key['model']} {key['options']} {key['kind']}"
    return facts


def run_shown(
    running: Orchestrator,
    pipeline: Pipeline,
    source: ImageFolder,
    sink: ParquetFolder,
    console: Console,
    in_flight: int = IN_FLIGHT,
) -> JobSummary:
    """Run a job on a deployment that runs, show its progress, and say how it ended.

    Raises:
        OrchestratorError: see ``run_job``.
    """
    with job_progress(console) as on_progress:
        hooks = JobHooks(on_progress, lambda: unserved(running), lambda: describe(running))
        summary = run_job(source, pipeline, running.models, sink, hooks, in_flight)
    for line in outcome_lines(summary, sink.folder):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return summary


def outcome_lines(summary: JobSummary, folder: Path) -> list[str]:
    """What a run ends with, for people."""
    rate = f"{summary.seconds:.1f} s, {summary.records_per_second:.2f} records/s"
    if summary.resumed:
        rate += f", {summary.resumed} of them by runs before"
    lines = [f"{summary.read} of {summary.total} records read into {folder} in {rate}"]
    if summary.outcome is Outcome.INTERRUPTED:
        lines[0] = f"interrupted: {lines[0]}"
        lines.append("the same command with --resume goes on from here")
    if summary.rejects:
        lines.append(f"{len(summary.rejects)} set aside, see {folder / REJECTS}:")
        lines += [f"  {reject.record}: {reject.reason}" for reject in summary.rejects[:_NAMED]]
    if summary.ignored_files:
        files = "1 file" if summary.ignored_files == 1 else f"{summary.ignored_files} files"
        lines.append(f"not taken for images: {files} of the input")
    return lines


def unserved(running: Orchestrator) -> str:
    """Which models have no card left, and why; empty while all have one."""
    models = running.status().models
    return "; ".join(model.unserved for model in models if model.unserved)


def describe(running: Orchestrator) -> dict[str, Any]:
    """Plan and cards for the run summary."""
    plan, status = running.plan, running.status()
    return {
        "deployment": plan.deployment.name,
        "models": {
            model.name: {"path": model.path, "version": model.version}
            for model in plan.deployment.models
        },
        "plan": plan.plan.to_dict(),
        "cards": card_documents(plan, status),
        "answered": {model.model: model.answered for model in status.models},
        "set_aside_requests": list(status.set_aside),
    }
