"""A batch job from its input to its output: what the command line and ``orc.run`` share."""

import inspect
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from actors.queue import PRIORITIES, Priority
from orchestrator.config import Deployment
from orchestrator.errors import DeploymentError, JobError
from orchestrator.jobs import IN_FLIGHT, RECORD_ID, Job, JobSummary, OnError, Progress, Tolerance
from orchestrator.placement import DeploymentPlan
from orchestrator.profiles import profile_key
from orchestrator.runtime.accounts import card_documents
from orchestrator.runtime.io.inputs import open_source, part_size_of
from orchestrator.runtime.io.output import OutputFolder
from orchestrator.runtime.io.record import checksum
from orchestrator.runtime.runner import JobHooks, Pace, Pipeline, run_job
from orchestrator.runtime.status import Status
from orchestrator.runtime.through import Model, ThroughModel


class Models(Protocol):
    """Models by name."""

    def __getitem__(self, name: str) -> Model: ...


class Serving(Protocol):
    """What a job asks of the deployment that it runs on."""

    @property
    def plan(self) -> DeploymentPlan:
        """The plan that runs."""

    @property
    def models(self) -> Models:
        """All models."""

    def models_for(self, priority: Priority) -> Models:
        """All models, for calls of this priority."""

    def status(self) -> Status:
        """Cards and models, as of now."""

    def expect(self, settled: int, total: int | None) -> None:
        """So many records of so many are settled; None: the job is over."""


@dataclass(frozen=True)
class JobSpec:
    """What a job does: records of ``input`` through ``pipeline``, or one ``model``, to ``output``.

    ``columns`` gives the input's column for an input of the model that is named otherwise, ``ids``
    the columns that stand beside the model's outputs. Formats and sizes that are None are inferred,
    or those that suit the input. ``on_error`` and ``max_errors``: see Tolerance; ``resume`` and
    ``accept_changes``: see OutputFolder. ``priority``: that of its calls.
    """

    input: str | Path
    output: str | Path
    pipeline: Pipeline | None = None
    model: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    ids: tuple[str, ...] = (RECORD_ID,)
    input_format: str | None = None
    output_format: str = "parquet"
    part_size: int | str | None = None
    batch_size: int | None = None
    in_flight: int = IN_FLIGHT
    on_error: str = OnError.SKIP.value
    max_errors: int | str | None = None
    resume: bool = False
    accept_changes: bool = False
    priority: Priority = "batch"

    def pace(self) -> Pace:
        """How it is run.

        Raises:
            JobError: not a way to deal with errors, or not a limit; a size below 1; no priority.
        """
        if self.priority not in PRIORITIES:
            raise JobError(f"priority {self.priority}", f"is none of {', '.join(PRIORITIES)}")
        for name, size in (("batch size", self.batch_size), ("in flight", self.in_flight)):
            if size is not None and size < 1:
                raise JobError(f"{name} {size}", "must be at least 1")
        try:
            tolerance = Tolerance.of(self.on_error, self.max_errors)
        except ValueError as error:
            raise JobError("bad records", str(error)) from error
        return Pace(self.batch_size, self.in_flight, tolerance)


class PreparedJob:
    """A job whose input is known and whose output is its own, until ``close``.

    Raises:
        JobError: input or output cannot be used, or the spec contradicts itself.
        DeploymentError: there is no such model.
    """

    def __init__(self, spec: JobSpec, wanted: Deployment | DeploymentPlan) -> None:
        deployment = wanted.deployment if isinstance(wanted, DeploymentPlan) else wanted
        self.spec, self._pace = spec, spec.pace()
        self.source = open_source(spec.input, spec.input_format)
        self.pipeline = self._pipeline(deployment)
        self.sink = OutputFolder(spec.output, spec.output_format)
        _keep_apart(spec)
        part_size = part_size_of(self.source, spec.part_size)
        self.job = Job.of(
            self.source.pieces(part_size), self.source.stamp, part_size, self._facts(deployment)
        )
        try:
            self.sink.prepare(self.job, resume=spec.resume, accept_changes=spec.accept_changes)
        except BaseException:
            self.sink.close()
            raise

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
        on_progress: Callable[[Progress], None] = lambda progress: None,
        stop: threading.Event | None = None,
    ) -> JobSummary:
        """Do what is missing; nobody needs to serve when nothing but the end mark is.

        Raises:
            OrchestratorError: see ``run_job``.
        """
        if serving is None:
            hooks = JobHooks(on_progress)
            return run_job(self.source, self.pipeline, None, self.sink, hooks, self._pace, stop)
        if isinstance(self.pipeline, ThroughModel):
            signature = serving.models[self.pipeline.name].signature
            self.pipeline.check(signature, self.source.columns)

        def told(progress: Progress) -> None:
            serving.expect(progress.settled, progress.expected)
            on_progress(progress)

        hooks = JobHooks(told, lambda: unserved(serving), lambda: describe(serving))
        models = serving.models_for(self.spec.priority)
        try:
            return run_job(self.source, self.pipeline, models, self.sink, hooks, self._pace, stop)
        finally:
            serving.expect(0, None)

    def _pipeline(self, deployment: Deployment) -> Pipeline:
        spec = self.spec
        if (spec.pipeline is None) == (spec.model is None):
            raise JobError(str(spec.input), "a job has a model or a pipeline, one of the two")
        if spec.pipeline is not None:
            if spec.columns or spec.ids != (RECORD_ID,):
                raise JobError(
                    str(spec.input),
                    "--column and --id go with --model; a pipeline sees all columns",
                )
            return spec.pipeline
        assert spec.model is not None
        axis = deployment.model(spec.model).batching.axis
        known = (*self.source.columns, RECORD_ID)
        for column in (*spec.columns.values(), *spec.ids):
            if column not in known:
                raise JobError(
                    str(spec.input), f"has no column {column!r}, there are: {', '.join(known)}"
                )
        return ThroughModel(spec.model, spec.columns, spec.ids, None if axis == "none" else axis)

    def _facts(self, deployment: Deployment) -> dict[str, str]:
        """What the output depends on beside the input: models' files and options, the code."""
        spec, facts = self.spec, {"the output format": self.spec.output_format}
        if spec.pipeline is not None:
            name, digest = _code_of(spec.pipeline)
            facts[f"the pipeline {name}"] = digest
        else:
            named = [f"{name}={column}" for name, column in sorted(spec.columns.items())]
            facts["the model that is run"] = str(spec.model)
            facts["the columns"] = ", ".join([*named, *spec.ids])
        for order in deployment.orders():
            try:
                key = profile_key(order, deployment.cards.kind, None)
            except DeploymentError:  # with a plan the files need to be on the cards' nodes only
                key = {"model": order.path, "options": "", "kind": deployment.cards.kind}
            facts[f"model {order.name}"] = f"{key['model']} {key['options']} {key['kind']}"
        return facts


class BatchJob:
    """A job that runs beside the caller, on a thread of its own. Made by ``Orchestrator.run``."""

    def __init__(self, prepared: PreparedJob, serving: Serving) -> None:
        self._prepared, self._serving = prepared, serving
        self._stop, self._ended = threading.Event(), threading.Event()
        self._summary: JobSummary | None = None
        self._problem: BaseException | None = None
        job, done = prepared.job, prepared.sink.done
        self._progress = Progress(
            job.total,
            sum(entry.records for entry in done.values()),
            sum(len(entry.rejects) for entry in done.values()),
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
            self._summary = self._prepared.run(self._serving, self._told, self._stop)
        except BaseException as error:  # for whoever waits
            self._problem = error
        finally:
            self._prepared.close()
            self._ended.set()

    def _told(self, progress: Progress) -> None:
        self._progress = progress


def unserved(serving: Serving) -> str:
    """Which models have no card left, and why; empty while all have one."""
    return "; ".join(model.unserved for model in serving.status().models if model.unserved)


def describe(serving: Serving) -> dict[str, Any]:
    """Plan and cards for the run summary."""
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
        "answered": {model.model: model.answered for model in status.models},
        "set_aside_requests": list(status.set_aside),
    }


def _code_of(pipeline: Pipeline) -> tuple[str, str]:
    """Name of a pipeline function, and checksum of its file; of one that was typed in, nothing."""
    code = pipeline if inspect.isroutine(pipeline) else type(pipeline)
    name = f"{code.__module__}:{code.__qualname__}"
    try:
        return name, checksum(Path(inspect.getsourcefile(code) or ""))
    except (OSError, TypeError):
        return name, ""


def _keep_apart(spec: JobSpec) -> None:
    """An output below its input would become input of the next run."""
    if "://" in str(spec.input):
        return
    above, below = Path(spec.input).resolve(), Path(spec.output).resolve()
    if above in below.parents:
        raise JobError(
            str(spec.output), f"lies inside the input {spec.input}: name a folder elsewhere"
        )
