"""One worker of a batch job as its crew knows it: how it is opened, and what is heard of it."""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import ray

from orchestrator.errors import JobError
from orchestrator.jobs import Part
from orchestrator.runtime.calls.following import Lender
from orchestrator.runtime.calls.outlook import Sent
from orchestrator.runtime.jobs.runner import Books
from orchestrator.runtime.jobs.worker import (
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
from orchestrator.runtime.jobs.workercall import answer

_START_SECONDS = 300.0
_START_TICK = 0.5


@dataclass(eq=False)
class Member:
    """A worker, the parts that it has, and how far it is: ``ready`` on its ``node``, or leaving.

    ``sent``: requests that it has sent, by its last word.
    """

    process: WorkerProcess
    parts: dict[int, Part] = field(default_factory=dict)
    ready: bool = False
    node: str = ""
    leaving: bool = False
    sent: Sent = field(default_factory=Sent)

    async def opened(
        self,
        order: "ray.ObjectRef[WorkOrder]",
        stopping: Callable[[], bool],
        others_work: Callable[[], bool],
    ) -> str | None:
        """The node where it has begun; empty where input or output are not seen.

        None where it has not: nothing is left, or no CPU for it was found while others work.

        Raises:
            JobError: none was found, and nobody works.
            WorkerLostError: it has ended.
        """
        loop = asyncio.get_running_loop()
        opening = asyncio.ensure_future(answer(self.process.call("open", order)))
        late = loop.time() + _START_SECONDS
        try:
            while not (await asyncio.wait({opening}, timeout=_START_TICK))[0]:
                if stopping():
                    return None
                if loop.time() > late:
                    if others_work():
                        return None
                    problem = f"none could be started within {_START_SECONDS:g} s: are CPUs free?"
                    raise JobError("the job's workers", f"{problem} ray status shows it")
            return str(opening.result())
        finally:
            opening.cancel()


class Ear:
    """Passes what workers tell on to the job's books, and to who lends the cards.

    ``answered`` counts the requests that those had answered who are done. ``touched``: which record
    a worker has begun, by the part that it does record by record.
    """

    def __init__(self, books: Books, lender: Lender, answered: Counter[str]) -> None:
        self.touched: dict[int, int] = {}
        self._books, self._lender, self._answered = books, lender, answered

    async def listen(self, member: Member) -> None:
        """Until it has nothing to do any more.

        Raises:
            WorkerLostError: it has ended.
            OrchestratorError: what it says that the job ends with.
        """
        while True:
            for news in await answer(member.process.call("news")):
                if isinstance(news, Over):
                    if news.error is not None:
                        raise news.error
                    self.hears(member, Sent({}, member.sent.answered))
                    self._answered.update(news.answered)
                    return
                await self._heard(member, news)

    def hears(self, member: Member, sent: Sent) -> None:
        """This is what it has sent by now."""
        member.sent = sent
        self._lender.hear(member, sent)

    async def _heard(self, member: Member, news: News) -> None:
        if isinstance(news, SetAside):
            await self._books.set_aside(news.part, news.reject)
        elif isinstance(news, BatchSettled):
            await self._books.settled(news.part, news.batch, news.settled)
        elif isinstance(news, PartEnded):
            await self._books.ended(news.part, news.batches)
        elif isinstance(news, Trying):
            self.touched.pop(news.part.index, None)
            if news.number is not None:
                self.touched[news.part.index] = news.number
            member.process.call("noted")
        elif isinstance(news, Sends):
            self.hears(member, news.sent)
        elif isinstance(news, Blamed):
            self._lender.pardon(news.deaths)
        elif isinstance(news, Unreachable):
            looked = self._lender.look(news.slot, news.life, news.reason)
            told = news

            def tell(there: "Future[bool]") -> None:
                found = there.exception() is None and there.result()
                member.process.call("looked", told.slot, told.life, found)

            looked.add_done_callback(tell)
