"""The workers of a batch job, spread over the cluster, as the job's driver leads them.

The driver gives them parts, hears counts, and has them write; no record passes through it. A worker
that dies is replaced, and the parts that it had are done anew by others: what it wrote has a hidden
name until the driver lists it, so nothing is there twice.
"""

import asyncio
import contextlib
import threading
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import RayError, RayTaskError

from orchestrator.errors import JobError, OrchestratorError
from orchestrator.jobs import Part
from orchestrator.runtime.following import Lender
from orchestrator.runtime.io.draft import Draft, Place
from orchestrator.runtime.outlook import Sent
from orchestrator.runtime.runner import Books
from orchestrator.runtime.worker import (
    BatchSettled,
    Blamed,
    News,
    Over,
    PartEnded,
    Sends,
    SetAside,
    Trying,
    Unreachable,
    WorkerProcess,
    WorkOrder,
)

#: Parts that a worker holds: one is written while the next is done.
_HELD = 2
#: Workers for each card, where the cluster has the CPUs.
_PER_CARD = 2
#: On one machine of at most so many CPUs more processes would only be in each other's way.
_FEW_CPUS = 4
#: A part that so many workers ended with is done record by record, by a worker of its own.
_DEATHS_BEFORE_WARY = 2
#: So many ended while it was read, or more: it is not tried again; nor are more starts in a row.
_MOST_DEATHS = 4
#: Records of one part that end workers; more are no bad records.
_MOST_DEADLY = 20
_START_SECONDS = 300.0
_START_TICK = 0.5
_STOP_TICK = 0.1


def workers_for(cards: int, parts: int) -> int:
    """How many workers suit a job on the cluster that this process is connected to.

    None, so that the driver does the work itself, on one small machine and where no CPUs are told.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    cpus = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
    if not cpus or (len(nodes) == 1 and cpus <= _FEW_CPUS):
        return 0
    free = int(ray.available_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
    return min(_PER_CARD * cards, max(free, 1), parts)


@dataclass(eq=False, repr=False)
class WorkerLostError(OrchestratorError):
    """A worker's process or its node is gone."""

    reason: str


@dataclass(eq=False)
class _Member:
    process: WorkerProcess
    parts: dict[int, Part] = field(default_factory=dict)
    ready: bool = False
    sent: Sent = field(default_factory=Sent)


class Crew:
    """So many workers, for one run of a job. ``answered``: requests that they had answered."""

    def __init__(self, order: WorkOrder, lender: Lender | None, count: int) -> None:
        self.ignored = order.task.source.ignored
        self.answered: Counter[str] = Counter()
        self._order, self._lender, self._count = order, lender, count
        self._members: list[_Member] = []
        self._deaths: Counter[int] = Counter()
        self._deadly: dict[int, Counter[int]] = {}
        self._touched: dict[int, int] = {}
        self._failed_starts = 0
        self._left: deque[Part] = deque()
        self._unsaved: set[int] = set()
        self._stopping = False
        self._books: Books
        self._loop: asyncio.AbstractEventLoop

    async def work(self, books: Books, parts: Sequence[Part], stop: threading.Event) -> None:
        """See Hands.

        Raises:
            JobError: no worker can be started, or one part ends all that have it.
        """
        self._books, self._loop = books, asyncio.get_running_loop()
        self._left, self._unsaved = deque(parts), {part.index for part in parts}
        changed = asyncio.Event()
        order = ray.put(self._order)
        with contextlib.ExitStack() as undo:
            if self._lender is not None:
                tell = self._loop.call_soon_threadsafe
                undo.callback(self._lender.watch(lambda: tell(changed.set)))  # type: ignore[arg-type]
            aides = [self._pass_on(changed), self._hear_of(stop)]
            tasks = [self._serve(order, changed) for _ in range(self._count)]
            asked = [asyncio.ensure_future(one) for one in (*aides, *tasks)]
            try:
                await asyncio.gather(*asked[len(aides) :])
            finally:
                for one in asked:
                    one.cancel()
                await asyncio.gather(*asked, return_exceptions=True)

    def write(self, part: Part, place: Place, schema: pa.Schema | None) -> Draft:
        """See Hands.

        Raises:
            JobError: it cannot be written.
            WorkerLostError: whoever had it is gone.
        """
        try:
            draft: Draft = self._holder(part).process.call("write", part, place, schema).result()
        except RayError as error:
            raise _ours(error) from error
        return draft

    def saved(self, part: Part) -> None:
        """See Hands."""
        holder = self._holder(part)
        del holder.parts[part.index]
        self._unsaved.discard(part.index)
        holder.process.call("saved", part)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deal)

    def close(self) -> None:
        """End the workers."""
        for member in self._members:
            member.process.kill()

    def _holder(self, part: Part) -> _Member:
        for member in self._members:
            if part.index in member.parts:
                return member
        raise WorkerLostError(f"the worker that had {part.name} is gone")

    async def _serve(self, order: "ray.ObjectRef[WorkOrder]", changed: asyncio.Event) -> None:
        """Keep one worker, and start the next where it died, until there is nothing to do."""
        node: str | None = None
        while not self._stopping:
            self._stop_if_over()
            member = _Member(WorkerProcess(cpus=1.0 if node is None else 0.0, node=node))
            self._members.append(member)
            try:
                if await self._opened(member, order):
                    member.ready = True
                    changed.set()
                    self._deal()
                    await self._listen(member)
                    return
                # Input or output are not seen from there; they are from here.
                node = ray.get_runtime_context().get_node_id()
                self._dismiss(member)
            except WorkerLostError as error:
                await self._bury(member, error.reason)

    async def _opened(self, member: _Member, order: "ray.ObjectRef[WorkOrder]") -> bool:
        """Whether it has begun; not where input or output are not seen, or nothing is left."""
        opening = asyncio.ensure_future(_answer(member.process.call("open", order)))
        late = self._loop.time() + _START_SECONDS
        try:
            while not (await asyncio.wait({opening}, timeout=_START_TICK))[0]:
                if self._stopping:
                    return False
                if self._loop.time() > late and not any(one.ready for one in self._members):
                    problem = f"none could be started within {_START_SECONDS:g} s: are CPUs free?"
                    raise JobError("the job's workers", f"{problem} ray status shows it")
            return bool(opening.result())
        finally:
            opening.cancel()

    async def _listen(self, member: _Member) -> None:
        while True:
            for news in await _answer(member.process.call("news")):
                if isinstance(news, Over):
                    if news.error is not None:
                        raise news.error
                    self._hears(member, Sent({}, member.sent.answered))
                    self.answered.update(news.answered)
                    return
                await self._heard(member, news)

    async def _heard(self, member: _Member, news: News) -> None:
        if isinstance(news, SetAside):
            await self._books.set_aside(news.part, news.reject)
        elif isinstance(news, BatchSettled):
            await self._books.settled(news.part, news.batch, news.settled)
        elif isinstance(news, PartEnded):
            await self._books.ended(news.part, news.batches)
        elif isinstance(news, Trying):
            self._touched.pop(news.part.index, None)
            if news.number is not None:
                self._touched[news.part.index] = news.number
            member.process.call("noted")
        elif isinstance(news, Sends):
            self._hears(member, news.sent)
        elif isinstance(news, Blamed) and self._lender is not None:
            self._lender.pardon(news.deaths)
        elif isinstance(news, Unreachable) and self._lender is not None:
            looked = self._lender.look(news.slot, news.life, news.reason)
            told = news

            def answer(there: "Future[bool]") -> None:
                found = there.exception() is None and there.result()
                member.process.call("looked", told.slot, told.life, found)

            looked.add_done_callback(answer)

    def _hears(self, member: _Member, sent: Sent) -> None:
        member.sent = sent
        if self._lender is not None:
            self._lender.hear(member, sent)

    async def _bury(self, member: _Member, why: str) -> None:
        """Let others do what a dead worker had."""
        self._stop_if_over()
        self._hears(member, Sent())
        self._dismiss(member)
        self._failed_starts = 0 if member.ready else self._failed_starts + 1
        if self._failed_starts >= _MOST_DEATHS:
            raise JobError("the job's workers", f"they end before they have begun: {why}")
        for part in member.parts.values():
            await self._books.again(part)
            self._held_against(part, why)
        self._left.extendleft(member.parts.values())
        self._deal()

    def _held_against(self, part: Part, why: str) -> None:
        """A worker ended with a part: was it a record of it?

        Raises:
            JobError: it ends all workers that have it, and none of its records can be told why.
        """
        touched = self._touched.pop(part.index, None)
        deadly = self._deadly.get(part.index)
        if deadly is not None and touched is not None:
            deadly[touched] += 1
        else:
            self._deaths[part.index] += 1
        if deadly is None and self._deaths[part.index] >= _DEATHS_BEFORE_WARY:
            self._deadly[part.index] = Counter()
        if self._deaths[part.index] >= _MOST_DEATHS or len(deadly or ()) > _MOST_DEADLY:
            count = self._deaths[part.index] + sum((deadly or Counter()).values())
            told = f"{count} workers ended while they had it: {why}"
            raise JobError(f"{part.name}, which begins with {part.pieces[0]}", told)

    def _stop_if_over(self) -> None:
        if self._lender is not None and self._lender.over:
            where = f"deployment {self._lender.plan.deployment.name}"
            raise JobError(where, "was taken down, or left, before the job had ended")

    def _dismiss(self, member: _Member) -> None:
        self._members.remove(member)
        member.process.kill()

    def _deal(self) -> None:
        """Give parts to those who have the fewest; when nothing is left, let everybody go."""
        if not self._unsaved:
            self._stop()
        while self._left and not self._stopping:
            part = self._left[0]
            free = [one for one in self._members if one.ready and self._may_have(one, part)]
            if not free:
                return
            member = min(free, key=lambda one: len(one.parts))
            self._left.popleft()
            member.parts[part.index] = part
            member.process.call("give", part, self._deadly.get(part.index))

    def _may_have(self, member: _Member, part: Part) -> bool:
        """A part that workers ended with is done alone, so that no other is held against it."""
        if part.index in self._deadly:
            return not member.parts
        return len(member.parts) < _HELD and not self._deadly.keys() & member.parts.keys()

    def _stop(self) -> None:
        self._stopping = True
        for member in self._members:
            member.process.call("stop")

    async def _hear_of(self, stop: threading.Event) -> None:
        while not stop.is_set():
            await asyncio.sleep(_STOP_TICK)
        self._stop()

    async def _pass_on(self, changed: asyncio.Event) -> None:
        """Tell all workers how the cards are, one change after the other."""
        while self._lender is not None:
            await changed.wait()
            changed.clear()
            seen = self._lender.seen()
            told = [one.process.call("follow", seen) for one in self._members if one.ready]
            await asyncio.gather(*map(_answer, told), return_exceptions=True)


async def _answer(call: "Future[Any]") -> Any:  # noqa: ANN401 - as the method answers
    """What a worker answers; it goes on when we no longer wait for it.

    Raises:
        WorkerLostError: the worker is gone.
        OrchestratorError: what it raised.
    """
    try:
        return await asyncio.shield(asyncio.wrap_future(call))
    except RayError as error:
        raise _ours(error) from error


def _ours(error: RayError) -> OrchestratorError:
    """What a call to a worker raised: an error of its own, or what became of its process."""
    if not isinstance(error, RayTaskError):  # the process, its node, or what Ray kept of it is gone
        return WorkerLostError(_few_words(error))
    if isinstance(error.cause, RayError):  # what it was given is
        return WorkerLostError(_few_words(error.cause))
    if isinstance(error.cause, OrchestratorError):
        return error.cause
    where = "the job's workers"
    if isinstance(error.cause, ImportError):
        hint = "what the pipeline imports must be there on every node: ray job submit --working-dir"
        return JobError(where, f"{error.cause}; {hint} ships a folder")
    return JobError(where, f"{type(error.cause).__name__}: {error.cause}")


def _few_words(error: RayError) -> str:
    """Ray's first line; its list of guesses is left out."""
    text = str(error).partition("Some common causes")[0].strip()
    return text.splitlines()[0] if text else type(error).__name__
