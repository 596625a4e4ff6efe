"""The work of a batch job, wherever it is done: parts are read, computed and written here.

The pipeline function runs on the event loop of ``Work.run``, with many batches in flight; the
models that it calls run on the cards. Memory is bounded whatever is slow: of the batches in flight
there are fewer where they are large, and results that wait to be written go to disk beyond a limit.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from orchestrator.errors import DeadlineError, JobError, OrchestratorError, RequestFailedError
from orchestrator.jobs import Part, Reject, Settled, Stage, Unit, by_stage
from orchestrator.runtime.calls.suspicion import suspected
from orchestrator.runtime.io.begun import Beginning, rejects_table, write_begun, write_rejects
from orchestrator.runtime.io.columns import Array, Columns, to_table
from orchestrator.runtime.io.draft import Drafts, Place, write_draft
from orchestrator.runtime.io.held import IN_MEMORY, REJECTS_IN_MEMORY, Held
from orchestrator.runtime.io.source import Batch, Load, Source
from orchestrator.runtime.jobs.blame import deadly_rows, not_the_records, rejected
from orchestrator.runtime.jobs.feed import Feed, NextPart, Reading, Room, Taken
from orchestrator.runtime.jobs.through import ThroughModel

#: ``async def f(batch, models)``: columns of records in, columns of rows out.
Pipeline = Callable[[Columns, Any], Awaitable[Mapping[str, Array]]]
#: Tells the job's driver, and comes back when it knows, which record of a part is touched now.
Note = Callable[[int | None], Awaitable[None]]

_log = logging.getLogger(__name__)

#: A request that failed sooner has not waited for a card: the next one would fail as soon.
_WAITED_SECONDS = 0.25
#: Requests of a batch are sent so often; each time they wait for a card as long as requests may.
_TRIES = 10
_ENDED = "the process of a worker ended while it had this record, and no other"


@dataclass(frozen=True)
class Task:
    """What is done with each batch of ``rows`` records; ``in_flight`` of them at once."""

    source: Source
    pipeline: Pipeline
    rows: int
    in_flight: int


class Told(Protocol):
    """Who keeps the books. Each call may raise what ends the job."""

    async def set_aside(self, part: Part, reject: Reject) -> None:
        """A record gave nothing; whoever has the part keeps it with the results."""

    async def settled(self, part: Part, batch: int, settled: Settled) -> None:
        """All records of a batch gave results or were set aside."""

    async def ended(self, part: Part, batches: int) -> None:
        """A part is read: it has so many batches."""


class Work:
    """Does parts, keeps their results until they are ``saved``, and tells only counts.

    ``unserved`` says of a model whose request has waited in vain why no card will ever serve it
    (the job stops), or nothing (it is tried again).
    """

    def __init__(
        self, task: Task, models: object, told: Told, unserved: Callable[[str], str]
    ) -> None:
        self._task, self._models, self._told, self._unserved = task, models, told, unserved
        self._held, self._rejects = Held(IN_MEMORY), Held(REJECTS_IN_MEMORY)
        self._stop = threading.Event()
        self._turn, self._room = asyncio.Lock(), Room(task.in_flight)
        self._wary: dict[int, _Wary] = {}
        self._begun: dict[int, Beginning] = {}

    async def run(self, next_part: NextPart, stop: threading.Event) -> None:
        """Do parts until there are none, or until ``stop``: what is in flight is then finished."""
        self._stop = stop

        async def next_one() -> Part | None:
            part = await next_part()
            if part is not None and part.index in self._begun:
                await asyncio.to_thread(self._take_up, part, self._begun[part.index])
            return part

        feed = Feed(self._task.source, next_one, self._reading)
        workers = [asyncio.ensure_future(self._work(feed)) for _ in range(self._task.in_flight)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    def write(
        self, part: Part, place: Place, schema: pa.Schema | None, batches: int | None
    ) -> Drafts:
        """Write what there is of a part, or of its first ``batches``; thread-safe.

        Raises:
            JobError: it cannot be written; see ``write_draft``.
        """
        tables, aside = (held.of(part.index, batches) for held in (self._held, self._rejects))
        rows = None
        if tables and batches is None:
            rows = write_draft(place, part.name, tables, schema)
        elif tables:
            rows = write_begun(place, part, tables, schema)
        rejects = write_rejects(place, part, aside) if aside else None
        return Drafts(rows, rejects, self._reading(part).rows)

    def saved(self, part: Part) -> None:
        """Forget a part: it is in the output."""
        self._held.drop(part.index)
        self._rejects.drop(part.index)

    def go_on(self, part: Part, beginning: Beginning) -> None:
        """Do a part that comes from where an earlier run was stopped in it."""
        self._begun[part.index] = beginning

    def beware(self, part: Part, deadly: Mapping[int, int], note: Note) -> None:
        """Do a part that workers ended with record by record, with nothing else at the same time.

        ``note`` is told the number of each record before it is touched, and None after it.
        ``deadly``: how often a worker ended with which record; those are set aside.
        """
        self._wary[part.index] = _Wary(deadly, note)

    def _reading(self, part: Part) -> Reading:
        if part.index in self._wary:
            return Reading(1, single=True)
        beginning = self._begun.get(part.index)
        if beginning is None:
            return Reading(self._task.rows)
        return Reading(beginning.batch, beginning.batches)

    def _take_up(self, part: Part, beginning: Beginning) -> None:
        for full in self._keep(part, -1, beginning.rows(), beginning.rejects()):
            full.spill()

    def _keep(
        self, part: Part, batch: int, tables: tuple[pa.Table, ...], aside: tuple[pa.Table, ...]
    ) -> list[Held]:
        """Keep what came of a batch; those that hold too much now."""
        kept = ((self._held, tables), (self._rejects, aside))
        return [held for held, some in kept if some and held.put(part.index, batch, some)]

    async def _work(self, feed: Feed) -> None:
        while True:
            async with self._turn:
                await self._room.wait()
                taken = None if self._stop.is_set() else await feed.take()
                if taken is None:
                    return
                if taken.part.index in self._wary:
                    await self._do(taken)
                    continue
            with self._room.inside():
                await self._do(taken)

    async def _do(self, taken: Taken) -> None:
        part, number = taken.part, taken.number
        if taken.load is None:
            await self._told.ended(part, number)
            return
        wary = self._wary.get(part.index)
        if wary is None:
            made = await self._loaded(part, taken.load, taken.batch)
        else:
            made = await self._warily(part, number, taken.load, wary)
        aside = (rejects_table(made.rejects),) if made.rejects else ()
        for full in self._keep(part, number, made.tables, aside):
            await asyncio.to_thread(full.spill)
        rejected = dict(by_stage(made.rejects))
        await self._told.settled(part, number, Settled(made.records, rejected))

    async def _loaded(self, part: Part, load: Load, batch: Batch | None = None) -> "_Made":
        if batch is None:
            batch = await asyncio.to_thread(load)
        self._room.measured(load.held or batch.nbytes)
        for reject in batch.rejects:
            await self._told.set_aside(part, reject)
        return _Made(rejects=batch.rejects) + await self._through(part, batch, load)

    async def _warily(self, part: Part, number: int, load: Load, wary: "_Wary") -> "_Made":
        deaths = wary.deadly.get(number, 0)
        if deaths > 1:  # reading it is enough
            return await self._aside(part, (_name(part, number),))
        await wary.note(number)
        if deaths:
            batch = await asyncio.to_thread(load)
            made = await self._aside(part, batch.ids or (_name(part, number),))
        else:
            made = await self._loaded(part, load)
        await wary.note(None)
        return made

    async def _aside(self, part: Part, records: tuple[str, ...]) -> "_Made":
        rejects = tuple(Reject(name, Stage.PIPELINE, _ENDED) for name in records)
        for reject in rejects:
            await self._told.set_aside(part, reject)
        return _Made(rejects=rejects)

    async def _through(
        self, part: Part, batch: Batch, load: Load, hunt: "_Hunt | None" = None
    ) -> "_Made":
        """A batch through the pipeline; one that fails is halved until the fault is alone.

        ``load`` gives the same records anew: a pipeline may have changed those that it got.
        """
        if not len(batch):
            return _Made()
        hunt = hunt or _Hunt()
        if not hunt.known or len(batch) == 1:
            outcome = await self._called(batch, load, hunt)
            if isinstance(outcome, pa.Table):
                return _Made(len(batch), (outcome,))
            if len(batch) == 1:
                reject = rejected(batch.ids[0], outcome)
                await self._told.set_aside(part, reject)
                return _Made(rejects=(reject,))
            if (deadly := deadly_rows(outcome)) and not hunt.deadly:
                return await self._around(part, len(batch), load, deadly)
        return await self._halved(part, len(batch), load, hunt.deadly)

    async def _halved(self, part: Part, records: int, load: Load, deadly: bool) -> "_Made":
        """Some of these records are at fault: if not in the first half, then in the second."""
        half = records // 2
        first = await self._some(part, load, slice(None, half), _Hunt(deadly))
        known = not first.rejects
        return first + await self._some(part, load, slice(half, None), _Hunt(deadly, known))

    async def _around(
        self, part: Part, records: int, load: Load, deadly: tuple[int, ...]
    ) -> "_Made":
        """Look for what kills cards where it is; that is known if rows of requests are records."""
        first, end = deadly if isinstance(self._task.pipeline, ThroughModel) else (0, records)
        guilty = _Hunt(deadly=True, known=True)
        return (
            await self._some(part, load, slice(None, first), _Hunt())
            + await self._some(part, load, slice(first, end), guilty)
            + await self._some(part, load, slice(end, None), _Hunt())
        )

    async def _some(self, part: Part, load: Load, rows: slice, hunt: "_Hunt") -> "_Made":
        some = load.rows(rows)
        return await self._through(part, await asyncio.to_thread(some), some, hunt)

    async def _called(self, batch: Batch, load: Load, hunt: "_Hunt") -> pa.Table | Exception:
        """What the pipeline makes of a batch, or why its records are to blame.

        Raises:
            OrchestratorError: they are not, and the next ones would fare no better.
        """
        # Only in the end, where a record is set aside for it, one death might be a coincidence.
        deaths = (2 if len(batch) == 1 else 1) if hunt.deadly else 0
        for left in reversed(range(_TRIES)):
            began = time.monotonic()
            try:
                with suspected(deaths):
                    return to_table(await self._task.pipeline(batch.columns, self._models))
            except Exception as error:  # a user's function may raise anything
                problem = not_the_records(error)
                if problem is None:
                    return error
                seconds = time.monotonic() - began
                await self._stop_unless_served(batch.ids[0], problem, seconds, left)
            batch = await asyncio.to_thread(load)
        raise AssertionError("the last try returns or raises")

    async def _stop_unless_served(
        self, record: str, problem: OrchestratorError, seconds: float, left: int
    ) -> None:
        """Return where it makes sense to try again: a card may still come back for the request.

        Raises:
            OrchestratorError: it does not; the job stops, and can be resumed.
        """
        if isinstance(problem, DeadlineError) or not isinstance(problem, RequestFailedError):
            raise problem
        if why := await asyncio.to_thread(self._unserved, problem.model):
            raise JobError(record, f"no card is left for it: {why}") from problem
        if seconds < _WAITED_SECONDS or not left or self._stop.is_set():
            raise problem
        _log.warning("%s is tried again: %s", record, problem)


@dataclass(frozen=True)
class _Hunt:
    """What is known of records that failed together with others.

    ``deadly``: cards died of some of them. ``known``: some of these here are at fault.
    """

    deadly: bool = False
    known: bool = False


@dataclass(frozen=True)
class _Wary:
    """See ``Work.beware``."""

    deadly: Mapping[int, int]
    note: Note


def _name(part: Part, number: int) -> str:
    """A record that cannot be read."""
    if part.pieces[0].unit is Unit.FILE:
        return part.pieces[number].file
    return f"{part.name}, which begins with {part.pieces[0]}: record {number + 1}"


@dataclass(frozen=True)
class _Made:
    """What came of some records of a batch, in their order."""

    records: int = 0
    tables: tuple[pa.Table, ...] = ()
    rejects: tuple[Reject, ...] = ()

    def __add__(self, other: "_Made") -> "_Made":
        return _Made(
            self.records + other.records,
            self.tables + other.tables,
            self.rejects + other.rejects,
        )
