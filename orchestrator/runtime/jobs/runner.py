"""Runs a batch job: keeps its books, while hands in this process or elsewhere do its work.

What is done, set aside and written is counted here, and the output belongs to this process; the
records and their results are wherever the work is done.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from orchestrator.errors import JobError, OrchestratorError
from orchestrator.jobs import (
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
from orchestrator.runtime.interruptible import run_interruptibly
from orchestrator.runtime.io.draft import Draft, Place
from orchestrator.runtime.io.sink import Sink
from orchestrator.runtime.jobs.work import Task, Told, Work


class Books(Told, Protocol):
    """What hands tell."""

    async def again(self, part: Part) -> None:
        """All that was told of a part is lost, and it is done anew."""


class Hands(Protocol):
    """Who does the work."""

    @property
    def ignored(self) -> int:
        """Files of the input that are no records."""

    async def work(self, books: Books, parts: Sequence[Part], stop: threading.Event) -> None:
        """Do these parts, or stop early; see ``Work.run``."""

    def write(self, part: Part, place: Place, schema: pa.Schema | None) -> Draft:
        """See ``Work.write``."""

    def saved(self, part: Part) -> None:
        """See ``Work.saved``."""


def _served(model: str) -> str:
    """Nobody knows of a model that has no card left."""
    return ""


class Here:
    """Work in this process."""

    def __init__(
        self, task: Task, models: object, unserved: Callable[[str], str] = _served
    ) -> None:
        self.ignored = task.source.ignored
        self._task, self._models, self._unserved = task, models, unserved
        self._work: Work

    async def work(self, books: Books, parts: Sequence[Part], stop: threading.Event) -> None:
        """See Hands."""
        self._work = Work(self._task, self._models, books, self._unserved)
        left = iter(parts)

        async def next_part() -> Part | None:
            return next(left, None)

        await self._work.run(next_part, stop)

    def write(self, part: Part, place: Place, schema: pa.Schema | None) -> Draft:
        """See Hands."""
        return self._work.write(part, place, schema)

    def saved(self, part: Part) -> None:
        """See Hands."""
        self._work.saved(part)


@dataclass(frozen=True)
class JobHooks:
    """What a job tells its caller, and asks it: what the summary says of the deployment."""

    on_progress: Callable[[Progress], None] = lambda progress: None
    describe: Callable[[], Mapping[str, Any]] = dict


_HOOKS, _TOLERANT = JobHooks(), Tolerance()


def run_job(
    hands: Hands,
    sink: Sink,
    hooks: JobHooks = _HOOKS,
    tolerance: Tolerance = _TOLERANT,
    stop: threading.Event | None = None,
) -> JobSummary:
    """Run what of the sink's job is not done yet, and write the summary of all of it.

    ``stop``, or the first Ctrl-C, stops reading; what is in flight is finished, the parts that are
    whole with it are saved, and the summary says ``interrupted``. The second Ctrl-C stops at once;
    part files that are written stay whole.

    Raises:
        JobError: the input or output cannot be used any further, more records were bad than may
            be, the pipeline fails on everything, or no card is left. Parts and a summary that names
            the problem are written first, as far as possible.
    """
    job = _Run(hands, sink, hooks, tolerance, stop or threading.Event())
    started = time.perf_counter()
    problem: BaseException | None = None
    try:
        run_interruptibly(job.run(), job.stop)
    except (Exception, KeyboardInterrupt) as error:  # told in the summary, then raised again
        problem = error
    seconds = time.perf_counter() - started
    if problem is None:
        summary = job.summary(seconds, None, _described(hooks))
        sink.write_summary(summary.to_json(), summary.outcome is Outcome.COMPLETE)
        return summary
    at_once = isinstance(problem, KeyboardInterrupt)
    with contextlib.suppress(OrchestratorError):  # the problem may be that nothing can be written
        if not at_once:
            job.save_leftovers()
    with contextlib.suppress(OrchestratorError):
        summary = job.summary(seconds, problem, {} if at_once else _described(hooks))
        sink.write_summary(summary.to_json(), complete=False)
    raise problem


def _described(hooks: JobHooks) -> Mapping[str, Any]:
    """What can still be said of the deployment: it may be the one that is gone."""
    try:
        return hooks.describe()
    except Exception as error:  # whatever it is, how the job ended must be told
        return {"deployment": f"cannot be asked any more: {error}"}


@dataclass
class _Run:
    """The books of one run."""

    hands: Hands
    sink: Sink
    hooks: JobHooks
    tolerance: Tolerance
    stop: threading.Event
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        before = tuple(self.sink.done.values())
        self._rejects_before = [reject for entry in before for reject in entry.rejects]
        self._read_before = sum(entry.records for entry in before)
        self._total = self.sink.job.total
        self._left = [part for part in self.sink.job.parts if part.index not in self.sink.done]
        self._first_write = threading.Lock()
        self._rejects_file = asyncio.Lock()
        self.ledger = Ledger(self._left, resumed=bool(before))

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
            rejects=(*self._rejects_before, *self.ledger.rejects),
            ignored_files=self.hands.ignored,
            parts=self.sink.parts(),
            seconds=seconds,
            resumed=self._read_before + len(self._rejects_before),
            problem=None if problem is None else str(problem) or type(problem).__name__,
            deployment=deployment,
        )

    def progress(self) -> Progress:
        """Of the whole job."""
        return Progress(
            self._total,
            self.ledger.read + self._read_before,
            len(self.ledger.rejects) + len(self._rejects_before),
            len(self.sink.job.parts),
            len(self.sink.done),
        )

    async def run(self) -> None:
        """Have everything done that is left."""
        self._tell()
        if self._left:
            await self.hands.work(self, self._left, self.stop)
        if self.stop.is_set():
            await asyncio.to_thread(self.save_leftovers)
        if self.ledger.ended:
            settled = self.progress().settled
            self._stop_if_intolerable(settled, settled)

    def save_leftovers(self) -> None:
        """Write the finished parts that are not written; others count for nothing.

        Raises:
            OrchestratorError: the first problem, when all that can be written is.
        """
        problems: list[OrchestratorError] = []
        forgotten = False
        for finished in self.ledger.leftovers():
            if not finished.whole:
                forgotten |= self.ledger.again(finished.part)
                continue
            try:
                self._save(finished)
            except OrchestratorError as error:  # such as one worker of several being gone
                problems.append(error)
        if forgotten:
            self.sink.write_rejects([*self._rejects_before, *self.ledger.rejects])
        if problems:
            raise problems[0]

    async def set_aside(self, part: Part, reject: Reject) -> None:
        """See Told."""
        if self.tolerance.on_error is OnError.FAIL:
            raise JobError(
                reject.record, f"{reject.reason}; --on-error skip sets such records aside"
            )
        async with self._rejects_file:
            self.ledger.reject(part, reject)
            await asyncio.to_thread(self.sink.write_reject, reject)
        self._stop_if_hopeless()
        progress = self.progress()
        self._stop_if_intolerable(progress.settled, progress.total)

    async def settled(self, part: Part, batch: int, settled: Settled) -> None:
        """See Told."""
        await self._after(self.ledger.settle(part, batch, settled))

    async def ended(self, part: Part, batches: int) -> None:
        """See Told."""
        await self._after(self.ledger.end(part, batches))

    async def again(self, part: Part) -> None:
        """See Books."""
        async with self._rejects_file:
            if self.ledger.again(part):
                rejects = [*self._rejects_before, *self.ledger.rejects]
                await asyncio.to_thread(self.sink.write_rejects, rejects)
        self._tell()

    async def _after(self, finished: Finished | None) -> None:
        self._stop_if_hopeless()
        if finished is not None:
            await asyncio.to_thread(self._save, finished)
        self._tell()

    def _save(self, finished: Finished) -> None:
        part, sink = finished.part, self.sink
        with contextlib.ExitStack() as until_known:
            if sink.schema is None:  # the first part says which columns all have
                until_known.enter_context(self._first_write)
            draft = self.hands.write(part, sink.place, sink.schema) if finished.records else None
            sink.accept(finished, draft)
        self.ledger.saved(part)
        self.hands.saved(part)

    def _stop_if_intolerable(self, settled: int, total: int | None) -> None:
        count = len(self._rejects_before) + len(self.ledger.rejects)
        problem = self.tolerance.problem(count, settled, total)
        if problem:
            last = (self.ledger.rejects or self._rejects_before)[-1]
            raise JobError(last.record, f"{last.reason}; {problem}: see the rejects file")

    def _stop_if_hopeless(self) -> None:
        found = None if self.tolerance.limited else self.ledger.hopeless()
        if found is None:
            return
        count, last = found
        raise JobError(
            last.record if count == 1 else f"all of the first {count} records",
            f"failed to {'be read' if last.stage is Stage.READ else 'pass the pipeline'}, "
            f"the last with: {last.reason}; a limit of bad records goes on all the same "
            "(--max-errors)",
        )

    def _tell(self) -> None:
        self.hooks.on_progress(self.progress())
