"""Runs a batch job: records from a source through a pipeline function into a sink.

The pipeline function runs here, on this process's event loop, with many batches in flight; the
models that it calls run on the cards. Memory is bounded by the batches in flight and the rows of
the few parts that are open.
"""

import asyncio
import contextlib
import signal
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa

from orchestrator.errors import (
    CardError,
    CardsUnavailableError,
    JobError,
    NotServingError,
    OrchestratorError,
    RequestFailedError,
)
from orchestrator.jobs import (
    IN_FLIGHT,
    Finished,
    JobSummary,
    Ledger,
    OnError,
    Outcome,
    Part,
    Progress,
    Reject,
    Settled,
    Stage,
    Tolerance,
)
from orchestrator.runtime.io.columns import Array, Columns, to_table
from orchestrator.runtime.io.sink import Sink
from orchestrator.runtime.io.source import Batch, Load, Source

#: ``async def f(batch, models)``: columns of records in, columns of rows out.
Pipeline = Callable[[Columns, Any], Awaitable[Mapping[str, Array]]]


@dataclass(frozen=True)
class JobHooks:
    """What a job tells its caller, and asks it.

    ``unserved``: after a request has failed for good, why a model has no card left (the job stops),
    or nothing (the record is set aside). ``describe``: what the summary says of the deployment.
    """

    on_progress: Callable[[Progress], None] = lambda progress: None
    unserved: Callable[[], str] = str
    describe: Callable[[], Mapping[str, Any]] = dict


@dataclass(frozen=True)
class Pace:
    """How a job is run; none of it changes what comes out.

    ``batch_size``: records in one call of the pipeline, None for what suits the source.
    ``in_flight``: batches between source and sink at once. ``tolerance``: of bad records.
    """

    batch_size: int | None = None
    in_flight: int = IN_FLIGHT
    tolerance: Tolerance = field(default_factory=Tolerance)


#: Batches that are read ahead of those that are asked for; most sources decode them later.
_AHEAD = 8
_HOOKS, _PACE = JobHooks(), Pace()


def run_job(
    source: Source,
    pipeline: Pipeline,
    models: object,
    sink: Sink,
    hooks: JobHooks = _HOOKS,
    pace: Pace = _PACE,
    stop: threading.Event | None = None,
) -> JobSummary:
    """Run what of the sink's job is not done yet, and write the summary of all of it.

    ``stop``, or the first Ctrl-C, stops reading; what is in flight is finished and saved, and the
    summary says ``interrupted``. The second Ctrl-C stops at once; part files that are written stay
    whole.

    Raises:
        JobError: the input or output cannot be used any further, more records were bad than may
            be, the pipeline fails on everything, or no card is left. Parts and a summary that names
            the problem are written first, as far as possible.
    """
    job = _Run(source, pipeline, models, sink, hooks, pace, stop or threading.Event())
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


class _Feed:
    """Gives out the batches of all parts, in order, to whoever asks next."""

    def __init__(self, source: Source, parts: Iterable[Part], rows: int) -> None:
        self._source, self._parts, self._rows = source, iter(parts), rows
        self._lock = asyncio.Lock()
        self._part: Part | None = None
        self._batches: Iterator[Load] = iter(())
        self._ahead: deque[Load] = deque()
        self._given = 0

    async def take(self) -> tuple[Part, int, Load | None] | None:
        """A part, the number of a batch and the batch; without a batch, the number of them all."""
        async with self._lock:
            if self._part is None:
                self._part = next(self._parts, None)
                if self._part is None:
                    return None
                self._batches = self._source.read(self._part, self._rows)
                self._given = 0
            if not self._ahead:
                self._ahead.extend(await asyncio.to_thread(self._few))
            part, number = self._part, self._given
            self._given += 1
            if self._ahead:
                return part, number, self._ahead.popleft()
            self._part = None
            return part, number, None

    def _few(self) -> list[Load]:
        """The next batches: going to another thread costs as much as making a small one."""
        return list(islice(self._batches, _AHEAD))


class _Run:
    """Workers that take batches in order, and the ledger that they fill."""

    def __init__(
        self,
        source: Source,
        pipeline: Pipeline,
        models: object,
        sink: Sink,
        hooks: JobHooks,
        pace: Pace,
        stop: threading.Event,
    ) -> None:
        self.source, self.pipeline, self.models, self.sink = source, pipeline, models, sink
        self.pace, self.stop = pace, stop
        self.before = tuple(sink.done.values())
        self.rejects_before = [reject for entry in self.before for reject in entry.rejects]
        self._read_before = sum(entry.records for entry in self.before)
        self._total = sink.job.total
        self._left = [part for part in sink.job.parts if part.index not in sink.done]
        self.ledger: Ledger[pa.Table] = Ledger(self._left, resumed=bool(self.before))
        self._hooks = hooks

    def summary(
        self, seconds: float, problem: BaseException | None, deployment: Mapping[str, Any]
    ) -> JobSummary:
        """What is done so far, under the outcome that this makes it."""
        if isinstance(problem, KeyboardInterrupt):
            outcome = Outcome.INTERRUPTED
        elif problem is not None:
            outcome = Outcome.FAILED
        else:
            outcome = Outcome.COMPLETE if self.ledger.ended else Outcome.INTERRUPTED
        progress = self.progress()
        return JobSummary(
            outcome=outcome,
            total=progress.settled if outcome is Outcome.COMPLETE else progress.total,
            read=progress.read,
            rejects=(*self.rejects_before, *self.ledger.rejects),
            ignored_files=self.source.ignored,
            parts=self.sink.parts(),
            seconds=seconds,
            resumed=self._read_before + len(self.rejects_before),
            problem=None if problem is None else str(problem) or type(problem).__name__,
            deployment=deployment,
        )

    def progress(self) -> Progress:
        """Of the whole job."""
        return Progress(
            self._total,
            self.ledger.read + self._read_before,
            len(self.ledger.rejects) + len(self.rejects_before),
            len(self.sink.job.parts),
            len(self.sink.done),
        )

    async def run(self) -> None:
        self._tell()
        rows = self.pace.batch_size or self.source.batch_size
        feed = _Feed(self.source, self._left, rows)
        with self._interruptible():
            workers = [asyncio.ensure_future(self._work(feed)) for _ in range(self.pace.in_flight)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        if self.stop.is_set():
            await asyncio.to_thread(self.save_leftovers)
        if self.ledger.ended:
            settled = self.progress().settled
            self._stop_if_intolerable(settled, settled)

    def save_leftovers(self) -> None:
        """Write what is read of parts that are not written, finished or not."""
        for finished in self.ledger.leftovers():
            self._save(finished)

    def _save(self, finished: Finished[pa.Table]) -> None:
        self.sink.write_part(finished)
        self.ledger.saved(finished.part)

    async def _work(self, feed: _Feed) -> None:
        while not self.stop.is_set():
            taken = await feed.take()
            if taken is None:
                return
            part, number, load = taken
            if load is None:
                finished = self.ledger.end(part, number)
            else:
                batch = await asyncio.to_thread(load)
                for reject in batch.rejects:
                    await self._set_aside(reject)
                settled = await self._through(batch)
                rejects = batch.rejects + settled.rejects
                settled = Settled(settled.records, settled.results, rejects)
                finished = self.ledger.settle(part, number, settled)
            self._stop_if_hopeless()
            if finished is not None:
                await asyncio.to_thread(self._save, finished)
            self._tell()

    async def _through(self, batch: Batch) -> Settled[pa.Table]:
        """A batch through the pipeline; one that fails is halved until the fault is alone."""
        if not len(batch):
            return Settled(0, ())
        outcome = await self._called(batch)
        if isinstance(outcome, pa.Table):
            return Settled(len(batch), (outcome,))
        if len(batch) == 1:
            await self._set_aside(outcome)
            return Settled(0, (), (outcome,))
        first, second = batch.halves()
        return await self._through(first) + await self._through(second)

    async def _called(self, batch: Batch) -> pa.Table | Reject:
        """What the pipeline makes of a batch, or the reject of its first record."""
        name = batch.ids[0]
        try:
            return to_table(await self.pipeline(batch.columns, self.models))
        except (CardsUnavailableError, NotServingError):
            raise  # no card is left to serve: the next record would fare no better
        except RequestFailedError as error:
            if why := await asyncio.to_thread(self._hooks.unserved):
                raise JobError(name, f"no card is left for it: {why}") from error
            return Reject(name, Stage.PIPELINE, str(error), ", ".join(error.cards))
        except CardError as error:
            return Reject(name, Stage.PIPELINE, str(error), getattr(error, "card", ""))
        except OrchestratorError as error:
            return Reject(name, Stage.PIPELINE, str(error))
        except Exception as error:  # a user's function: whatever it raises costs this record alone
            return Reject(name, Stage.PIPELINE, f"{type(error).__name__}: {error}")

    async def _set_aside(self, reject: Reject) -> None:
        if self.pace.tolerance.on_error is OnError.FAIL:
            raise JobError(
                reject.record, f"{reject.reason}; --on-error skip sets such records aside"
            )
        self.ledger.reject(reject)
        await asyncio.to_thread(self.sink.write_reject, reject)
        self._stop_if_hopeless()
        progress = self.progress()
        self._stop_if_intolerable(progress.settled, progress.total)

    def _stop_if_intolerable(self, settled: int, total: int | None) -> None:
        count = len(self.rejects_before) + len(self.ledger.rejects)
        problem = self.pace.tolerance.problem(count, settled, total)
        if problem:
            last = (self.ledger.rejects or self.rejects_before)[-1]
            raise JobError(last.record, f"{last.reason}; {problem}: see the rejects file")

    def _stop_if_hopeless(self) -> None:
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
        """Turn the first Ctrl-C into ``stop``; the second cancels the run."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are the main thread's affair
            return
        loop, job = asyncio.get_running_loop(), asyncio.current_task()

        def interrupt() -> None:
            if self.stop.is_set() and job is not None:
                job.cancel()
            self.stop.set()

        previous = signal.getsignal(signal.SIGINT)
        loop.add_signal_handler(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            signal.signal(signal.SIGINT, previous)
