"""Runs a batch job: keeps its books, while hands in this process or elsewhere do its work.

What is done, set aside and written is counted here, and the output belongs to this process; the
records and their results are wherever the work is done.
"""

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from orchestrator.errors import JobError, OrchestratorError
from orchestrator.jobs import (
    LISTED,
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
from orchestrator.runtime.io.begun import Beginning
from orchestrator.runtime.io.draft import Drafts, Place
from orchestrator.runtime.io.sink import Sink
from orchestrator.runtime.io.store import SUMMARY
from orchestrator.runtime.jobs.work import Task, Told, Work


class Books(Told, Protocol):
    """What hands tell."""

    async def again(self, part: Part, afresh: bool) -> None:
        """All that was told of a part is lost, and done anew; ``afresh``: and how it began too."""


class Hands(Protocol):
    """Who does the work."""

    @property
    def ignored(self) -> int:
        """Files of the input that are no records."""

    async def work(
        self,
        books: Books,
        parts: Sequence[Part],
        begun: Mapping[int, Beginning],
        stop: threading.Event,
    ) -> None:
        """Do these parts, or stop early; see ``Work.run`` and ``Work.go_on``."""

    def write(
        self, part: Part, place: Place, schema: pa.Schema | None, batches: int | None
    ) -> Drafts:
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

    async def work(
        self,
        books: Books,
        parts: Sequence[Part],
        begun: Mapping[int, Beginning],
        stop: threading.Event,
    ) -> None:
        """See Hands."""
        self._work = Work(self._task, self._models, books, self._unserved)
        for part in parts:
            if part.index in begun:
                self._work.go_on(part, begun[part.index])
        left = iter(parts)

        async def next_part() -> Part | None:
            return next(left, None)

        await self._work.run(next_part, stop)

    def write(
        self, part: Part, place: Place, schema: pa.Schema | None, batches: int | None
    ) -> Drafts:
        """See Hands."""
        return self._work.write(part, place, schema, batches)

    def saved(self, part: Part) -> None:
        """See Hands."""
        self._work.saved(part)


@dataclass(frozen=True)
class JobHooks:
    """What a job tells its caller, and asks it: what the summary says of the deployment.

    ``on_interrupt``: the first Ctrl-C has been noticed; called on a thread of its own.
    """

    on_progress: Callable[[Progress], None] = lambda progress: None
    on_interrupt: Callable[[], None] = lambda: None
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

    ``stop``, or the first Ctrl-C, stops reading; what is in flight is finished and saved, and the
    summary says ``interrupted``. The second Ctrl-C stops at once;
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
        run_interruptibly(job.run(), job.stop, hooks.on_interrupt)
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
    job.ledger.forget()
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
        self._rejected_before = Counter[str]()
        for entry in before:
            self._rejected_before.update(entry.rejected)
        self._read_before = sum(entry.records for entry in before)
        self._total = self.sink.job.total
        self._left = [part for part in self.sink.job.parts if part.index not in self.sink.done]
        self._first_write = threading.Lock()
        self._told: list[Reject] = []
        begun = self.sink.begun
        self.ledger = Ledger(self._left, begun, resumed=bool(before))
        #: Records that runs before this one settled.
        self._settled_before = self.progress().settled

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
            rejected=dict(self._rejected_before + self.ledger.rejected),
            rejects=self._some_rejects(outcome),
            ignored_files=self.hands.ignored,
            parts=self.sink.parts(),
            seconds=seconds,
            resumed=self._settled_before,
            problem=None if problem is None else str(problem) or type(problem).__name__,
            deployment=deployment,
        )

    def _some_rejects(self, outcome: Outcome) -> tuple[Reject, ...]:
        """The first that are listed; of a failed job also those that may have made it fail."""
        listed = self.sink.rejects(LISTED)
        told = self._told if outcome is Outcome.FAILED else []
        return tuple({one.record: one for one in (*told, *listed)}.values())[:LISTED]

    def progress(self) -> Progress:
        """Of the whole job."""
        return Progress(
            self._total,
            self.ledger.read + self._read_before,
            self.ledger.set_aside + sum(self._rejected_before.values()),
            len(self.sink.job.parts),
            len(self.sink.done),
        )

    async def run(self) -> None:
        """Have everything done that is left."""
        self._tell()
        if self._left:
            await self.hands.work(self, self._left, self.sink.beginnings(), self.stop)
        if self.stop.is_set():
            await asyncio.to_thread(self.save_leftovers)
        if self.ledger.ended:
            settled = self.progress().settled
            for reject in self.sink.rejects(1):
                self._stop_if_intolerable(settled, settled, reject)

    def save_leftovers(self) -> None:
        """Write the finished parts that are not written, and how others begin.

        What is done of those behind a gap counts for nothing.

        Raises:
            OrchestratorError: the first problem, when all that can be written is.
        """
        problems: list[OrchestratorError] = []
        for finished in self.ledger.leftovers():
            try:
                self._save(finished)
            except OrchestratorError as error:  # such as one worker of several being gone
                problems.append(error)
        self.ledger.forget()
        if problems:
            raise problems[0]

    async def set_aside(self, part: Part, reject: Reject) -> None:
        """See Told."""
        if self.tolerance.on_error is OnError.FAIL:
            skip = "on_error='skip'"
            told = f"{reject.reason}; {skip} sets such records aside"
            raise JobError(reject.record, told, {skip: "--on-error skip"})
        self.ledger.reject(part, reject)
        if len(self._told) < LISTED:
            self._told.append(reject)
        self._stop_if_hopeless()
        progress = self.progress()
        self._stop_if_intolerable(progress.settled, progress.total, reject)

    async def settled(self, part: Part, batch: int, settled: Settled) -> None:
        """See Told."""
        await self._after(self.ledger.settle(part, batch, settled))

    async def ended(self, part: Part, batches: int) -> None:
        """See Told."""
        await self._after(self.ledger.end(part, batches))

    async def again(self, part: Part, afresh: bool) -> None:
        """See Books."""
        self.ledger.again(part, afresh)
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
            drafts = None
            if finished.records or finished.rejected:
                drafts = self.hands.write(part, sink.place, sink.schema, finished.batches)
            entry = sink.accept(finished, drafts)
        if entry.begun is not None:
            self.ledger.begun(part, entry)
            return
        self.ledger.saved(part)
        self.hands.saved(part)

    def _stop_if_intolerable(self, settled: int, total: int | None, last: Reject) -> None:
        problem = self.tolerance.problem(self.progress().rejected, settled, total)
        if problem:
            raise JobError(last.record, f"{last.reason}; {problem}: see {SUMMARY}")

    def _stop_if_hopeless(self) -> None:
        found = None if self.tolerance.limited else self.ledger.hopeless()
        if found is None:
            return
        count, last = found
        raise JobError(
            last.record if count == 1 else f"all of the first {count} records",
            f"failed to {'be read' if last.stage is Stage.READ else 'pass the pipeline'}, "
            f"the last with: {last.reason}; a limit of bad records goes on all the same "
            "(max_errors)",
            {"(max_errors)": "(--max-errors)"},
        )

    def _tell(self) -> None:
        self.hooks.on_progress(self.progress())
