"""A batch job from its input to its output: what the command line and ``orc.run`` share."""

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from actors.queue import Priority
from actors.shapes import Signature
from orchestrator.config import Deployment
from orchestrator.errors import JobError, NotServingError
from orchestrator.jobs import Job, JobSummary, Progress
from orchestrator.placement import DeploymentPlan
from orchestrator.runtime.calls.following import Following, Lender
from orchestrator.runtime.deployments.accounts import card_documents
from orchestrator.runtime.deployments.status import Status
from orchestrator.runtime.io.dataset import DatasetRows
from orchestrator.runtime.io.inputs import open_source, part_size_of
from orchestrator.runtime.io.output import OutputFolder
from orchestrator.runtime.jobs.crew import Crew
from orchestrator.runtime.jobs.facts import job_facts
from orchestrator.runtime.jobs.jobspec import JobSpec, keep_apart, refuse_resume
from orchestrator.runtime.jobs.known import known_signature, pipeline_of, require_choice
from orchestrator.runtime.jobs.runner import Here, JobHooks, run_job
from orchestrator.runtime.jobs.staffing import driver_suffices
from orchestrator.runtime.jobs.through import Model, ThroughModel
from orchestrator.runtime.jobs.work import Task
from orchestrator.runtime.jobs.worker import WorkOrder

_log = logging.getLogger(__name__)
_HOOKS = JobHooks()
_PERHAPS_A_RECORD = "if a record ends the driver, 1 worker or more would find it"


class Models(Protocol):
    """Models by name."""

    def __getitem__(self, name: str) -> Model: ...


class Serving(Protocol):
    """What a job asks of the deployment that it runs on."""

    @property
    def plan(self) -> DeploymentPlan:
        """The plan that runs."""

    def models_for(self, priority: Priority) -> Models:
        """All models, for calls of this priority."""

    def status(self) -> Status:
        """Cards and models, as of now."""

    @property
    def lender(self) -> Lender:
        """How processes of a job reach the cards."""

    def expect(self, settled: int, total: int | None) -> None:
        """So many records of so many are settled; None: the job is over."""

    def models_of(self, priority: Priority) -> Callable[[Following], object]:
        """Makes ``models_for`` in such a process."""


class PreparedJob:
    """A job whose input is known and whose output is its own, until ``close``.

    ``signatures``: what cards said of models that they have loaded.

    Raises:
        JobError: input or output cannot be used, or the spec contradicts itself.
        DeploymentError: there is no such model.
    """

    def __init__(
        self,
        spec: JobSpec,
        wanted: Deployment | DeploymentPlan,
        signatures: Mapping[str, Signature] | None = None,
    ) -> None:
        deployment = wanted.deployment if isinstance(wanted, DeploymentPlan) else wanted
        self.spec, self._tolerance, self._wanted = spec, spec.tolerance(), wanted
        require_choice(spec, deployment)
        refuse_resume(spec)
        self.sink = OutputFolder(spec.output, spec.output_format)
        self.source = open_source(spec.input, spec.input_format, spec.id_column)
        keep_apart(spec)
        self.pipeline = pipeline_of(spec, deployment, self.source)
        self.require_suited(signatures or {})
        part_size = part_size_of(self.source, spec.part_size)
        facts = job_facts(spec, self.source, wanted)
        by_id = self.source if isinstance(self.source, DatasetRows) and spec.id_column else None
        job = Job.of(
            self.source.pieces(part_size),
            self.source.stamp,
            part_size,
            facts,
            None if by_id is None else by_id.input_of,
        )
        try:
            self.sink.prepare(
                job,
                resume=spec.resume,
                accept_changes=spec.accept_changes,
                rejoined=None if by_id is None else partial(by_id.rejoined, size=part_size),
            )
            self.job = self.sink.job
        except BaseException:
            self.sink.close()
            raise

    def require_suited(self, signatures: Mapping[str, Signature]) -> None:
        """See that input and model go together, as far as somebody knows what the model takes.

        Raises:
            JobError: they do not.
        """
        if not isinstance(self.pipeline, ThroughModel):
            return
        name, deployment = self.pipeline.name, self._wanted
        if isinstance(deployment, DeploymentPlan):
            deployment = deployment.deployment
        signature = signatures.get(name) or known_signature(name, self._wanted)
        if signature is not None:
            padded = bool(deployment.model(name).batching.padding)
            self.pipeline.check(signature, self.source.columns, padded=padded)

    @property
    def finished(self) -> bool:
        """Whether a run before this one came to the end."""
        return self.sink.complete and self.sink.closed

    def close(self) -> None:
        """Let another run have the output."""
        self.sink.close()

    def run(
        self,
        serving: Serving | None,
        hooks: JobHooks = _HOOKS,
        stop: threading.Event | None = None,
    ) -> JobSummary:
        """Do what is missing; nobody needs to serve when nothing but the end mark is.

        What the summary says of the deployment is asked of it.

        Raises:
            OrchestratorError: see ``run_job``.
        """
        spec, on_progress = self.spec, hooks.on_progress
        task = Task(
            self.source, self.pipeline, spec.batch_size or self.source.batch_size, spec.in_flight
        )
        if serving is None:
            return run_job(Here(task, None), self.sink, hooks, self._tolerance, stop)
        if isinstance(self.pipeline, ThroughModel):
            name = self.pipeline.name
            self.require_suited({name: serving.models_for(spec.priority)[name].signature})

        def told(progress: Progress) -> None:
            serving.expect(progress.settled, progress.expected)
            on_progress(progress)

        hooks = replace(hooks, on_progress=told)
        try:
            if (count := self._workers(serving.plan)) == 0:
                models = serving.models_for(spec.priority)
                hands = Here(task, models, serving.lender.unserved)
                hooks = replace(hooks, describe=lambda: describe(serving, {}))
                return run_job(hands, self.sink, hooks, self._tolerance, stop)
            crew = Crew(self._order(task, serving), serving.lender, count)
            hooks = replace(hooks, describe=lambda: describe(serving, crew.answered))
            with closing(crew):
                return run_job(crew, self.sink, hooks, self._tolerance, stop)
        finally:
            with suppress(NotServingError):  # closed under the job, which has told that
                serving.expect(0, None)

    def _workers(self, plan: DeploymentPlan) -> int | None:
        """How many do the work: none but this process, so many, or as many as suit the cluster."""
        if self.sink.complete:
            return 0
        if self.spec.workers == 0 and self.sink.crashed:
            _log.warning("the run before this one ended without a word: %s", _PERHAPS_A_RECORD)
        if self.spec.workers is not None:
            return self.spec.workers
        # If a record ended the driver, it ends a worker now, and that is found out.
        return 0 if driver_suffices(plan) and not self.sink.crashed else None

    def _order(self, task: Task, serving: Serving) -> WorkOrder:
        place = self.sink.place
        models_of = serving.models_of(self.spec.priority)
        seen, options = serving.lender.seen(), serving.lender.options
        return WorkOrder(task, place, place.store.owner(), models_of, seen, options)


class BatchJob:
    """A job that runs beside the caller, on a thread of its own. Made by ``Orchestrator.run``."""

    def __init__(self, prepared: PreparedJob, serving: Serving) -> None:
        self._prepared, self._serving = prepared, serving
        self._stop, self._ended = threading.Event(), threading.Event()
        self._summary: JobSummary | None = None
        self._problem: BaseException | None = None
        job, done = prepared.job, prepared.sink.done
        entries = (*done.values(), *prepared.sink.begun.values())
        self._progress = Progress(
            job.total,
            sum(entry.records for entry in entries),
            sum(entry.set_aside for entry in entries),
            len(job.parts),
            len(done),
        )
        threading.Thread(target=self._run, name="batch job", daemon=True).start()

    @property
    def progress(self) -> Progress:
        """How far it is, as of now."""
        return self._progress

    @property
    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._ended.is_set()

    def cancel(self) -> None:
        """Read no further; what is in flight is finished and saved, and can be resumed."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> JobSummary:
        """Wait for the end and give the summary. Ctrl-C cancels the job and waits on.

        Raises:
            TimeoutError: it has not ended within so many seconds; it goes on.
            OrchestratorError: what stopped it; see ``run_job``.
        """
        try:
            ended = self._ended.wait(timeout)
        except KeyboardInterrupt:
            self.cancel()
            ended = self._ended.wait(timeout)
        if not ended:
            raise TimeoutError(f"the job has not ended within {timeout} s")
        return self.report()

    def report(self) -> JobSummary:
        """The summary of a job that has ended.

        Raises:
            JobError: it has not.
            OrchestratorError: what stopped it; see ``run_job``.
        """
        if self._problem is not None:
            raise self._problem
        if self._summary is None:
            raise JobError(str(self._prepared.spec.output), "the job has not ended: wait for it")
        return self._summary

    def _run(self) -> None:
        try:
            self._summary = self._prepared.run(self._serving, JobHooks(self._told), self._stop)
        except BaseException as error:  # for whoever waits
            self._problem = error
        finally:
            self._prepared.close()
            self._ended.set()

    def _told(self, progress: Progress) -> None:
        self._progress = progress


def describe(serving: Serving, by_workers: Mapping[str, int]) -> dict[str, Any]:
    """Plan and cards for the run summary; requests that others had answered count too."""
    plan, status = serving.plan, serving.status()
    return {
        "deployment": plan.deployment.name,
        "models": {
            model.name: {"path": model.path, "version": model.version}
            for model in plan.deployment.models
        },
        "plan": plan.plan.to_dict(),
        "cards": card_documents(plan, status),
        "autoscale": status.scaling.to_dict() if status.scaling else None,
        "answered": {
            model.model: model.answered + by_workers.get(model.model, 0) for model in status.models
        },
        "set_aside_requests": list(status.set_aside),
    }
