"""The driver's API: ``Orchestrator``, a deployment of its own or a named one that it joins."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from actors.queue import Priority
from orchestrator.arguments import (
    known_model,
    known_priority,
    require_deployment,
    require_options,
)
from orchestrator.config import Deployment
from orchestrator.dispatch import RetryRules
from orchestrator.errors import NotServingError
from orchestrator.handle import ModelHandle, Models
from orchestrator.jobs import IN_FLIGHT, RECORD_ID
from orchestrator.placement import DeploymentPlan
from orchestrator.runtime.options import Options

if TYPE_CHECKING:  # planning and reading deployments work without importing Ray
    from orchestrator.runtime.calls.traffic import Traffic
    from orchestrator.runtime.deployments.joined import Joined
    from orchestrator.runtime.deployments.running import Running
    from orchestrator.runtime.deployments.status import Status
    from orchestrator.runtime.io.inputs import Input
    from orchestrator.runtime.jobs.batch import BatchJob
    from orchestrator.runtime.jobs.work import Pipeline

_DRAIN_SECONDS = 60.0
_STATUS_SECONDS = 5.0


class Orchestrator:
    """A deployment that runs for as long as a ``with`` block, or one that runs anyway: ``connect``.

    Entering connects to Ray, plans (or takes a plan that was made before), starts one process per
    card and returns when all of them serve. Leaving normally finishes what is in flight; leaving by
    an exception, Ctrl-C included, does not wait. Either way nothing stays behind.

    Args:
        deployment: what to run, or a plan that was made of it; a name is that of one to join.
            ``load_deployment`` reads a file.
        address: ``local`` starts a Ray of its own; ``auto`` or ``host:port`` join a cluster. By
            default: the Ray that this process is connected to, else ``RAY_ADDRESS``, else
            ``local``.
        batch: plan for a job, which may fill the cards, instead of a rate, which needs slack.
        patience_seconds: how long a request waits while no card serves its model.
        progress: gets a line about each slow step of the start: measuring, connecting, loading.
        max_in_flight: requests of one model and priority that this driver holds at most; past that
            calls wait, or raise OverloadedError with ``wait=False``.
        max_bytes_in_flight: bytes of their inputs at most, likewise.
        object_store_bytes: shared memory for a Ray of its own; by default at most half of what is
            free, and at most 1 GiB.

    Raises:
        DeploymentError: a file is named in place of a deployment, or an option is none.
    """

    def __init__(  # noqa: PLR0913 - all but the first are options
        self,
        deployment: Deployment | DeploymentPlan | str,
        *,
        address: str | None = None,
        batch: bool = False,
        patience_seconds: float = 120.0,
        max_in_flight: int = 1024,
        max_bytes_in_flight: int = 1 << 30,
        progress: Callable[[str], None] | None = None,
        object_store_bytes: int | None = None,
    ) -> None:
        require_deployment(deployment)
        require_options(
            address=address,
            patience_seconds=patience_seconds,
            max_in_flight=max_in_flight,
            max_bytes_in_flight=max_bytes_in_flight,
            object_store_bytes=object_store_bytes,
        )
        self._deployment = deployment
        self._options = Options(
            address=address,
            object_store_bytes=object_store_bytes,
            batch=batch,
            max_in_flight=max_in_flight,
            max_bytes_in_flight=max_bytes_in_flight,
            progress=progress or (lambda line: None),
            retry=RetryRules(patience=patience_seconds),
        )
        self._running: Running | Joined | None = None
        self._by_itself = False
        self._closed = False
        self._starting = threading.Lock()

    @classmethod
    def connect(
        cls,
        name: str,
        *,
        address: str | None = None,
        patience_seconds: float = 120.0,
        max_in_flight: int = 1024,
        max_bytes_in_flight: int = 1 << 30,
    ) -> "Orchestrator":
        """Join a deployment that ``orchestrator up`` started; any number of drivers may.

        Its handles may be sent to Ray tasks and actors. ``close``, or leaving a ``with`` block,
        leaves the deployment as it is.

        Args:
            name: the deployment's.
            address: of its cluster, ``auto`` or ``host:port``. By default: the Ray that this
                process is connected to, else ``RAY_ADDRESS``, else the one of this machine.
            patience_seconds: see the class.
            max_in_flight: see the class.
            max_bytes_in_flight: see the class.

        Raises:
            ClusterError: the cluster cannot be joined, or the controller does not answer.
            NoSuchDeploymentError: nothing of that name runs there.
            LoadError, DoesNotFitError, CardLostError: it is being started, and fails.
        """
        joined = cls(
            name,
            address=address,
            patience_seconds=patience_seconds,
            max_in_flight=max_in_flight,
            max_bytes_in_flight=max_bytes_in_flight,
        )
        joined.start()
        return joined

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process of the same Ray, such as a task or an actor, its models can be called.

        A named deployment is found by its name; one that this process owns, for as long as it runs.

        Raises:
            NotServingError: it is this process's own, and does not run.
        """
        from orchestrator import elsewhere

        if isinstance(self._deployment, str):
            return elsewhere.attached, (self._deployment,)
        from orchestrator.runtime.deployments.running import Running

        running = self._require()
        assert isinstance(running, Running)  # one without a name is nowhere else
        board = running.lend()
        elsewhere.owners[board] = self
        return elsewhere.borrowed, (board, running.plan.deployment.name)

    def __repr__(self) -> str:
        return f"<Orchestrator of {self._name}>"

    def __enter__(self) -> "Orchestrator":
        """``start``."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """``close``; without waiting for requests in flight when the block failed."""
        self.close(drain_seconds=_DRAIN_SECONDS if kind is None else 0.0)

    def start(self) -> None:
        """Start everything; when this raises, nothing is left running.

        Raises:
            ClusterError: Ray could not be started or joined.
            CardsUnavailableError: the cluster has fewer cards than the deployment names.
            DeploymentError, PlanRefusedError: it cannot be measured or planned.
            LoadError, DoesNotFitError, CardLostError: a card could not load its models.
        """
        with self._starting:
            if self._running is None:
                self._running = self._started()

    def _started(self) -> "Running | Joined":
        if isinstance(self._deployment, str):
            from orchestrator.runtime.deployments.joined import Joined

            joined = Joined(self._deployment, self._options)
            joined.start()
            return joined
        from orchestrator.runtime.deployments.running import Running

        running = Running(self._options)
        running.start(self._deployment)
        return running

    def close(self, drain_seconds: float = 0.0) -> None:
        """Give requests in flight so long, then stop the cards and leave Ray, or end our own.

        A named deployment's cards go on.
        """
        running, self._running = self._running, None
        if running is not None:
            self._closed = True
            running.close(drain_seconds)

    @property
    def plan(self) -> DeploymentPlan:
        """The plan that runs; ``print(orc.plan.explain())`` shows its reasons."""
        return self._require().plan

    @property
    def models(self) -> "Models":
        """All models, by attribute or by key: ``orc.models.det``, ``orc.models["det"]``."""
        return Models(self)

    def model(self, name: str, *, priority: Priority = "online") -> "ModelHandle":
        """The handle of one model, and the priority of calls that name none.

        Raises:
            InvalidRequestError: there is no such model, or no such priority.
            NotServingError: it does not run.
        """
        known = known_model(name, list(self.models))
        return ModelHandle(self, known, known_priority(known, priority))

    def run(  # noqa: PLR0913 - as many options as `orchestrator run` has
        self,
        input: "Input",
        output: str | Path,
        *,
        model: str | None = None,
        pipeline: "Pipeline | None" = None,
        columns: Mapping[str, str] | None = None,
        ids: Sequence[str] = (RECORD_ID,),
        input_format: str | None = None,
        id_column: str | None = None,
        output_format: str = "parquet",
        batch_size: int | None = None,
        in_flight: int = IN_FLIGHT,
        workers: int | None = None,
        part_size: int | str | None = None,
        on_error: str = "skip",
        max_errors: int | str | None = None,
        resume: bool = False,
        accept_changes: bool = False,
        priority: Priority = "batch",
    ) -> "BatchJob":
        """Begin a batch job, ``orchestrator run`` from Python, and return while it runs.

        Args:
            input: a file, a folder or the URL of one; or a dataset of Ray Data.
            output: a new or empty folder or its URL; with ``resume`` that of the job to go on with.
            model: the model to run on every record; or
            pipeline: ``async def f(batch, models)``, columns of records in and of rows out.
            columns: the column for each input of the model that is named otherwise.
            ids: the columns, or the one, to write beside the model's outputs.
            input_format: images, parquet, jsonl, csv, numpy or binary, where endings do not say.
            id_column: of a dataset, the column that names each row: needed to resume.
            output_format: parquet, jsonl or numpy.
            batch_size: records in one call; by default 1 file, or 64 rows or lines.
            in_flight: batches between input and output at once, for each worker.
            workers: processes of the cluster that read, run the pipeline and write; 0: this one.
                By default 2 for each card as far as CPUs are free, 1 on one small machine, and 0 in
                a Ray of its own there.
            part_size: records behind one file of the output, or bytes of lines (``"4MiB"``).
            on_error: ``skip`` sets bad records aside, ``fail`` stops at the first.
            max_errors: most records to set aside, a count or a share (``"1%"``).
            resume: go on with the job that the output holds, if it holds one.
            accept_changes: resume although input, models or pipeline are not what they were.
            priority: of its calls: ``batch`` leaves the cards to online calls of others.

        Raises:
            JobError: input or output cannot be used, or an option is none.
            DeploymentError: there is no such model.
        """
        from orchestrator.elsewhere import ForJobs
        from orchestrator.runtime.jobs.batch import BatchJob
        from orchestrator.runtime.jobs.jobspec import JobSpec

        spec = JobSpec(
            input,
            output,
            pipeline=pipeline,
            model=model,
            columns={} if columns is None else columns,
            ids=(ids,) if isinstance(ids, str) else tuple(ids),
            input_format=input_format,
            id_column=id_column,
            output_format=output_format,
            part_size=part_size,
            batch_size=batch_size,
            in_flight=in_flight,
            workers=workers,
            on_error=on_error,
            max_errors=max_errors,
            resume=resume,
            accept_changes=accept_changes,
            priority=priority,
        )
        serving = ForJobs(self)
        return BatchJob(serving.prepared(spec), serving)

    def expect(self, settled: int, total: int | None) -> None:
        """Tell how far a job is whose requests come from here: so many records settled of so many.

        Cards that follow the work are then added for what is still to come, too. None: it is over.
        Jobs that ``run`` runs tell this themselves.
        """
        self._require().outlook.expect(settled, total)

    def status(self) -> "Status":
        """Cards, replicas, bytes planned and measured, counts and latencies, as of now."""
        return self._require().status(_STATUS_SECONDS)

    @property
    def _name(self) -> str:
        of = self._deployment
        planned = of.deployment if isinstance(of, DeploymentPlan) else of
        return planned if isinstance(planned, str) else planned.name

    def _traffic(self) -> "Traffic":
        """The way of requests to the cards."""
        return self._require()

    def _require(self) -> "Running | Joined":
        running = self._running
        if self._by_itself and (running is None or running.over):
            running = self._joined_again()
        if running is None:
            why = "it was closed" if self._closed else "it was not started"
            cure = "use it in its with block, or between start() and close()"
            raise NotServingError(f"deployment {self._name}", why, cure)
        return running

    def _joined_again(self) -> "Running | Joined":
        """The deployment of the name as it is up now, joined once whoever else asks for it."""
        with self._starting:
            running = self._running
            if running is not None and running.over:
                self._running = None
                running.close()
            if self._running is None:
                self._running = self._started()
            return self._running
