"""The workers of a batch job, spread over the cluster, as the job's driver leads them.

The driver gives them parts, hears counts, and has them write; no record passes through it. A worker
that dies is replaced, and the parts that it had are done anew by others: what it wrote has a hidden
name until the driver lists it, so nothing is there twice. Nodes that come get workers as cards do,
and where cards are given back workers leave, so that their nodes can go.
"""

import asyncio
import contextlib
import threading
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa
import ray
from ray.exceptions import RayError

from orchestrator.errors import JobError
from orchestrator.jobs import Part
from orchestrator.runtime.calls.following import Lender
from orchestrator.runtime.calls.outlook import Sent
from orchestrator.runtime.io.begun import Beginning
from orchestrator.runtime.io.draft import Drafts, Place
from orchestrator.runtime.jobs.member import Ear, Member
from orchestrator.runtime.jobs.runner import Books
from orchestrator.runtime.jobs.staffing import Staffing, worker_process
from orchestrator.runtime.jobs.worker import WorkOrder
from orchestrator.runtime.jobs.workercall import WorkerLostError, answer, ours

#: Parts that a worker holds: one is written while the next is done.
_HELD = 2
#: A part that so many workers ended with is done record by record, by a worker of its own.
_DEATHS_BEFORE_WARY = 2
#: So many ended while it was read, or more: it is not tried again; nor are more starts in a row.
_MOST_DEATHS = 4
#: Records of one part that end workers; more are no bad records.
_MOST_DEADLY = 20
_STOP_TICK = 0.1
#: So often it is looked whether more workers suit, or fewer.
_COUNT_SECONDS = 2.0


class Crew:
    """Workers for one run of a job: so many, or without a ``count`` as many as suit the cluster.

    ``answered``: requests that they had answered.
    """

    def __init__(self, order: WorkOrder, lender: Lender, count: int | None) -> None:
        self.ignored = order.task.source.ignored
        self.answered: Counter[str] = Counter()
        self._order, self._lender = order, lender
        self._staffing = Staffing(lambda: lender.seen().slots, count)
        self._members: list[Member] = []
        self._deaths: Counter[int] = Counter()
        self._deadly: dict[int, Counter[int]] = {}
        self._failed_starts = 0
        self._left: deque[Part] = deque()
        self._unsaved: set[int] = set()
        self._begun: Mapping[int, Beginning] = {}
        self._stopping = False
        self._books: Books
        self._ear: Ear
        self._loop: asyncio.AbstractEventLoop

    async def work(
        self,
        books: Books,
        parts: Sequence[Part],
        begun: Mapping[int, Beginning],
        stop: threading.Event,
    ) -> None:
        """See Hands.

        Raises:
            JobError: no worker can be started, or one part ends all that have it.
        """
        self._books, self._loop = books, asyncio.get_running_loop()
        self._ear = Ear(books, self._lender, self.answered)
        self._left, self._unsaved = deque(parts), {part.index for part in parts}
        self._begun = begun
        changed = asyncio.Event()
        order = ray.put(self._order)
        with contextlib.ExitStack() as undo:
            tell = self._loop.call_soon_threadsafe
            undo.callback(self._lender.watch(lambda: tell(changed.set)))  # type: ignore[arg-type]
            aides = [
                asyncio.ensure_future(one) for one in (self._pass_on(changed), self._hear_of(stop))
            ]
            try:
                await self._staffed(order, changed)
            finally:
                await _end(aides)

    def write(
        self, part: Part, place: Place, schema: pa.Schema | None, batches: int | None
    ) -> Drafts:
        """See Hands.

        Raises:
            JobError: it cannot be written.
            WorkerLostError: whoever had it is gone.
        """
        try:
            call = self._holder(part).process.call("write", part, place, schema, batches)
            drafts: Drafts = call.result()
        except RayError as error:
            raise ours(error) from error
        return drafts

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

    def _holder(self, part: Part) -> Member:
        for member in self._members:
            if part.index in member.parts:
                return member
        raise WorkerLostError(f"the worker that had {part.name} is gone")

    async def _staffed(self, order: "ray.ObjectRef[WorkOrder]", changed: asyncio.Event) -> None:
        """Have as many workers as there should be, until there is nothing to do."""
        serving: set[asyncio.Future[None]] = set()
        try:
            while True:
                if not self._stopping:
                    self._stop_if_over()
                    staying = len(serving) - sum(one.leaving for one in self._members)
                    self._let_go(self._staffing.too_many(staying))
                    here, missing = await self._missing(staying)
                    new = (self._serve(order, changed, here) for _ in range(missing))
                    serving |= {asyncio.ensure_future(one) for one in new}
                if not serving:
                    return
                any_ended = asyncio.FIRST_COMPLETED
                ended, serving = await asyncio.wait(
                    serving, timeout=_COUNT_SECONDS, return_when=any_ended
                )
                for problem in [one.exception() for one in ended]:
                    if problem is not None:
                        raise problem
        finally:
            await _end(serving)

    async def _missing(self, staying: int) -> tuple[bool, int]:
        """See Staffing; what is free is only known when all that were started have begun."""
        if not all(member.ready for member in self._members):
            return False, 0
        return await asyncio.to_thread(self._staffing.missing, staying, len(self._unsaved))

    def _let_go(self, count: int) -> None:
        """Have some workers end what they have and leave: first those on nodes without cards."""
        nodes = self._staffing.nodes() if count else frozenset()
        stay = [member for member in self._members if member.ready and not member.leaving]
        for member in sorted(stay, key=lambda one: (one.node in nodes, len(one.parts)))[:count]:
            member.leaving = True
        if count:
            self._deal()

    async def _serve(
        self, order: "ray.ObjectRef[WorkOrder]", changed: asyncio.Event, here: bool
    ) -> None:
        """Have one worker until there is nothing to do for it, or it dies."""
        if self._stopping:
            return
        member = Member(worker_process(here))
        self._members.append(member)
        try:
            node = await member.opened(order, self._is_stopping, self._others_work)
            if node == "" and not here:  # input or output are not seen from there
                self._dismiss(member)
                await self._serve(order, changed, here=True)
                return
            if not node or self._stopping:
                self._dismiss(member)
                return
            member.ready, member.node = True, node
            changed.set()
            self._deal()
            await self._ear.listen(member)
            if member.leaving and not self._stopping:
                self._dismiss(member)
        except WorkerLostError as error:
            await self._bury(member, error.reason)

    def _is_stopping(self) -> bool:
        return self._stopping

    def _others_work(self) -> bool:
        return any(one.ready for one in self._members)

    async def _bury(self, member: Member, why: str) -> None:
        """Let others do what a dead worker had."""
        self._stop_if_over()
        self._ear.hears(member, Sent())
        self._dismiss(member)
        self._failed_starts = 0 if member.ready else self._failed_starts + 1
        if self._failed_starts >= _MOST_DEATHS:
            raise JobError("the job's workers", f"they end before they have begun: {why}")
        for part in member.parts.values():
            self._held_against(part, why)
            await self._books.again(part, afresh=part.index in self._deadly)
        self._left.extendleft(member.parts.values())
        self._deal()

    def _held_against(self, part: Part, why: str) -> None:
        """A worker ended with a part: was it a record of it?

        Raises:
            JobError: it ends all workers that have it, and none of its records can be told why.
        """
        touched = self._ear.touched.pop(part.index, None)
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
        if self._lender.over:
            where = f"deployment {self._lender.plan.deployment.name}"
            raise JobError(where, "was taken down, or left, before the job had ended")

    def _dismiss(self, member: Member) -> None:
        self._members.remove(member)
        member.process.kill()

    def _deal(self) -> None:
        """Give parts to those who have the fewest; when nothing is left, let everybody go."""
        if not self._unsaved:
            self._stop()
        for member in self._members:
            if member.leaving and not member.parts:
                member.process.call("stop")
        while self._left and not self._stopping:
            part = self._left[0]
            free = [one for one in self._members if one.ready and self._may_have(one, part)]
            if not free:
                return
            member = min(free, key=lambda one: len(one.parts))
            self._left.popleft()
            member.parts[part.index] = part
            deadly, begun = self._deadly.get(part.index), self._begun.get(part.index)
            member.process.call("give", part, deadly, begun)

    def _may_have(self, member: Member, part: Part) -> bool:
        """A part that workers ended with is done alone, so that no other is held against it."""
        if member.leaving:
            return False
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
        while True:
            await changed.wait()
            changed.clear()
            seen = self._lender.seen()
            told = [one.process.call("follow", seen) for one in self._members if one.ready]
            await asyncio.gather(*map(answer, told), return_exceptions=True)


async def _end(tasks: Collection["asyncio.Future[None]"]) -> None:
    for one in tasks:
        one.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
