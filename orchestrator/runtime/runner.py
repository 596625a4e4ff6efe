"""Runs a batch job: records from a source through a pipeline function into a sink.

The pipeline function runs here, on this process's event loop, with many records in flight; the
models that it calls run on the cards. Memory is bounded by the records in flight and the rows of
the few parts that are open.
"""

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt
import pyarrow as pa

from orchestrator.errors import (
    CardsUnavailableError,
    JobError,
    NotServingError,
    OrchestratorError,
    RequestFailedError,
)
from orchestrator.jobs import (
    IN_FLIGHT,
    Finished,
    Job,
    JobSummary,
    Ledger,
    Outcome,
    PartEntry,
    Progress,
    Reject,
    Stage,
    WrittenPart,
)
from orchestrator.runtime.io.parquet import to_table

Array = npt.NDArray[Any]
Columns = dict[str, Array]
#: ``async def f(batch, models)``: columns of records in, columns of rows out.
Pipeline = Callable[[Columns, Any], Awaitable[Mapping[str, Array]]]


class Source(Protocol):
    """Where records come from. Names are unique, and the same each time."""

    @property
    def names(self) -> Sequence[str]:
        """The records."""

    @property
    def ignored(self) -> int:
        """Files that lie there and are no records."""

    def read(self, name: str) -> Columns:
        """One record as columns of length one; raises JobError if that cannot be. Thread-safe."""


class Sink(Protocol):
    """Where parts go. Every method raises JobError when it cannot write."""

    @property
    def job(self) -> Job:
        """The job that it was prepared for."""

    @property
    def done(self) -> Mapping[int, PartEntry]:
        """The parts that are there, from runs before this one and from this one."""

    def parts(self) -> tuple[WrittenPart, ...]:
        """The part files that are there, in order, those of unfinished parts included."""

    def write_part(self, finished: Finished[pa.Table]) -> None:
        """Make a part's file appear, whole."""

    def write_reject(self, reject: Reject) -> None:
        """Name a record that was set aside, at once."""

    def write_summary(self, text: str, complete: bool) -> None:
        """Make the run summary appear, whole; when the job is complete, mark it as such."""


@dataclass(frozen=True)
class JobHooks:
    """What a job tells its caller, and asks it.

    ``unserved``: after a request has failed for good, why a model has no card left (the job stops),
    or nothing (the record is set aside). ``describe``: what the summary says of the deployment.
    """

    on_progress: Callable[[Progress], None] = lambda progress: None
    unserved: Callable[[], str] = str
    describe: Callable[[], Mapping[str, Any]] = dict


_HOOKS = JobHooks()


def run_job(
    source: Source,
    pipeline: Pipeline,
    models: object,
    sink: Sink,
    hooks: JobHooks = _HOOKS,
    in_flight: int = IN_FLIGHT,
) -> JobSummary:
    """Run what of the sink's job is not done yet, and write the summary of all of it.

    The first Ctrl-C stops reading; what is in flight is finished and saved, and the summary says
    ``interrupted``. The second stops at once; part files that are written stay whole.

    Raises:
        JobError: the output cannot be written, the pipeline fails on everything, or no card is
            left. Parts and a summary that names the problem are written first, as far as possible.
    """
    job = _Run(source, pipeline, models, sink, hooks, in_flight)
    started = time.perf_counter()
    problem: BaseException | None = None
    try:
        asyncio.run(job.run())
    except asyncio.CancelledError:
        problem = KeyboardInterrupt("interrupted twice")
    except Exception as error:  # told in the summary, then raised again
        problem = error
    seconds = time.perf_counter() - started
    if problem is None:
        summary = job.summary(seconds, None, hooks.describe())
        sink.write_summary(summary.to_json(), summary.outcome is Outcome.COMPLETE)
        return summary
    with contextlib.suppress(OrchestratorError):  # the problem may be that nothing can be written
        job.save_leftovers()
        summary = job.summary(seconds, problem, hooks.describe())
        sink.write_summary(summary.to_json(), complete=False)
    raise problem


class _Run:
    """Workers that take records in order, and the ledger that they fill."""

    def __init__(
        self,
        source: Source,
        pipeline: Pipeline,
        models: object,
        sink: Sink,
        hooks: JobHooks,
        in_flight: int,
    ) -> None:
        self.source, self.pipeline, self.models, self.sink = source, pipeline, models, sink
        self.in_flight = in_flight
        self.before = tuple(sink.done.values())
        left = [part for part in sink.job.parts if part.index not in sink.done]
        self.ledger: Ledger[pa.Table] = Ledger(left)
        self.stopping = False
        self._hooks = hooks
        self._names = (name for part in left for name in part.records)

    def summary(
        self, seconds: float, problem: BaseException | None, deployment: Mapping[str, Any]
    ) -> JobSummary:
        """What is done so far, under the outcome that this makes it."""
        if isinstance(problem, KeyboardInterrupt):
            outcome = Outcome.INTERRUPTED
        elif problem is not None:
            outcome = Outcome.FAILED
        else:
            whole = self.ledger.settled == self.ledger.total
            outcome = Outcome.COMPLETE if whole else Outcome.INTERRUPTED
        progress = self.progress()
        return JobSummary(
            outcome=outcome,
            total=progress.total,
            read=progress.read,
            rejects=(*self.rejects_before(), *self.ledger.rejects),
            ignored_files=self.source.ignored,
            parts=self.sink.parts(),
            seconds=seconds,
            resumed=sum(entry.records + len(entry.rejects) for entry in self.before),
            problem=None if problem is None else str(problem) or type(problem).__name__,
            deployment=deployment,
        )

    def progress(self) -> Progress:
        """Of the whole job."""
        ledger = self.ledger
        return Progress(
            self.sink.job.total,
            ledger.read + sum(entry.records for entry in self.before),
            len(ledger.rejects) + len(self.rejects_before()),
        )

    def rejects_before(self) -> list[Reject]:
        """What the runs before this one set aside."""
        return [reject for entry in self.before for reject in entry.rejects]

    async def run(self) -> None:
        self._tell()
        with self._interruptible():
            workers = [asyncio.ensure_future(self._work()) for _ in range(self.in_flight)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        if self.stopping:
            await asyncio.to_thread(self.save_leftovers)

    def save_leftovers(self) -> None:
        """Write what is read of parts that are not written, finished or not."""
        for finished in self.ledger.leftovers():
            self._save(finished)

    def _save(self, finished: Finished[pa.Table]) -> None:
        self.sink.write_part(finished)
        self.ledger.saved(finished.part)

    async def _work(self) -> None:
        for name in self._names:
            if self.stopping:
                return
            await self._settle(name)

    async def _settle(self, name: str) -> None:
        outcome = await self._read(name)
        if isinstance(outcome, Reject):
            await asyncio.to_thread(self.sink.write_reject, outcome)
            finished = self.ledger.reject(outcome)
            self._give_up_if_hopeless()
        else:
            finished = self.ledger.done(name, outcome)
        if finished is not None:
            await asyncio.to_thread(self._save, finished)
        self._tell()

    async def _read(self, name: str) -> pa.Table | Reject:
        try:
            record = await asyncio.to_thread(self.source.read, name)
        except JobError as error:
            return Reject(name, Stage.READ, error.problem)
        try:
            return to_table(await self.pipeline(record, self.models))
        except (CardsUnavailableError, NotServingError):
            raise  # no card is left to serve: the next record would fare no better
        except RequestFailedError as error:
            if why := await asyncio.to_thread(self._hooks.unserved):
                raise JobError(name, f"no card is left for it: {why}") from error
            return Reject(name, Stage.PIPELINE, str(error))
        except Exception as error:  # a user's function: whatever it raises costs this record alone
            return Reject(name, Stage.PIPELINE, f"{type(error).__name__}: {error}")

    def _give_up_if_hopeless(self) -> None:
        last = self.ledger.hopeless()
        if last is None:
            return
        count = len(self.ledger.rejects)
        raise JobError(
            last.record if count == 1 else f"all of the first {count} records",
            f"failed to {'be read' if last.stage is Stage.READ else 'pass the pipeline'}, "
            f"the last with: {last.reason}",
        )

    def _tell(self) -> None:
        self._hooks.on_progress(self.progress())

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Turn the first Ctrl-C into ``stopping``; the second cancels the run."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are the main thread's affair
            return
        loop, job = asyncio.get_running_loop(), asyncio.current_task()

        def interrupt() -> None:
            if self.stopping and job is not None:
                job.cancel()
            self.stopping = True

        previous = signal.getsignal(signal.SIGINT)
        loop.add_signal_handler(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            signal.signal(signal.SIGINT, previous)
