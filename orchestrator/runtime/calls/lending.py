"""Cards that one process owns, for tasks and actors of the same Ray that were sent its handles.

The owner is mostly a driver, which nobody can call. So a small actor stands between: the owner
tells it how the cards are, borrowers follow that, and ask it whether a card that they could not
reach is there. No request passes through it. It ends with its owner, and then borrowers are told.
"""

import asyncio
import contextlib
import itertools
import secrets
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.messages import Arrays
from actors.queue import Priority
from orchestrator.errors import NotServingError
from orchestrator.runtime.calls.following import Following, Lender, Seen
from orchestrator.runtime.calls.traffic import Checked
from orchestrator.runtime.cards.changing import beside
from orchestrator.runtime.options import Options

_NAMESPACE = "ascend-orchestrator-lent"
#: Calls of one board at once: each borrower has one that waits for news.
_BORROWERS = 1000
#: Whoever has heard nothing for so long asks again.
_NEWS_SECONDS = 20.0
#: An owner that has not said for so long whether a card is there does not know.
_LOOK_SECONDS = 10.0
#: A board that cannot be reached for the moment is asked again.
_RETRY_SECONDS = 0.2
#: How long the owner's thread may take to notice that it is over.
_END_SECONDS = 5.0
_GONE = "it ended with the process that owned it"
_STAYS = "orchestrator up starts one that stays"
_STRANGER = "it belongs to another process, and this one is not connected to that one's Ray"


@dataclass(frozen=True)
class Question:
    """A borrower could not reach a card."""

    number: int
    slot: str
    life: int
    reason: str


class Board:
    """What Ray runs between an owner and its borrowers. Its methods share one event loop."""

    def __init__(self, options: Options, seen: Seen) -> None:
        self._options, self._seen, self._version = options, seen, 0
        self._news = asyncio.Condition()
        self._numbers = itertools.count()
        self._questions: list[Question] = []
        self._asked: dict[int, asyncio.Future[bool]] = {}

    async def post(self, seen: Seen) -> None:
        """The cards are so now."""
        async with self._news:
            self._seen, self._version = seen, self._version + 1
            self._news.notify_all()

    async def begin(self) -> tuple[Options, Seen, int]:
        """How requests are sent, the cards, and the version of that."""
        return self._options, self._seen, self._version

    async def follow(self, version: int) -> tuple[Seen, int]:
        """The cards, as soon as they are another version, or after a while."""
        await self._wait(lambda: self._version != version)
        return self._seen, self._version

    async def look(self, slot: str, life: int, reason: str) -> bool:
        """Whether a card is there, as its owner says."""
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        async with self._news:
            self._questions.append(Question(number, slot, life, reason))
            self._news.notify_all()
        try:
            return await asyncio.wait_for(answer, _LOOK_SECONDS)
        except asyncio.TimeoutError:
            return False
        finally:
            del self._asked[number]

    async def questions(self) -> list[Question]:
        """What borrowers have asked since the last call; waits for some, if not for long."""
        await self._wait(lambda: bool(self._questions))
        asked, self._questions = self._questions, []
        return asked

    async def answer(self, number: int, there: bool) -> None:
        """The owner has looked."""
        asked = self._asked.get(number)
        if asked is not None and not asked.done():
            asked.set_result(there)

    async def _wait(self, until: Callable[[], bool]) -> None:
        async with self._news:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._news.wait_for(until), _NEWS_SECONDS)


class Lending:
    """The owner's side, from the first handle that is sent on. ``name`` is that of the board."""

    def __init__(self, lender: Lender) -> None:
        self.name = secrets.token_hex(8)
        self._lender, self._lock = lender, Lock()
        self._over: Future[None] = Future()
        here = ray.get_runtime_context().get_node_id()
        actor: Any = ray.remote(Board).options(
            num_cpus=0,
            max_restarts=-1,  # while its owner is there, which then posts anew
            max_task_retries=0,
            max_concurrency=_BORROWERS,
            name=self.name,
            namespace=_NAMESPACE,
            scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
        )
        self._board = actor.remote(lender.options, lender.seen())
        self._forget = lender.watch(self._post)
        self._post()  # what has changed before it was watched
        self._listener = Thread(target=self._listen, name="orchestrator-lending", daemon=True)
        self._listener.start()

    def close(self) -> None:
        """Borrowers are told that it is over."""
        self._over.set_result(None)
        self._forget()
        self._listener.join(_END_SECONDS)  # it must not call a Ray that is being left
        with contextlib.suppress(RayError):  # it may have ended already
            ray.kill(self._board, no_restart=True)

    def _post(self) -> None:
        with self._lock:  # in the order in which it was seen
            self._tell(self._board.post, self._lender.seen())

    def _tell(self, method: Any, *about: object) -> None:  # noqa: ANN401 - Ray's
        """Nobody waits for an answer; once the user has left that Ray it has no board to tell."""
        with contextlib.suppress(RayError):
            method.remote(*about)

    def _listen(self) -> None:
        while not self._over.done():
            try:
                answer: Future[list[Question]] = self._board.questions.remote().future()
                either: tuple[Future[Any], ...] = (answer, self._over)
                wait(either, return_when=FIRST_COMPLETED)
                asked = [] if self._over.done() else answer.result()
            except ActorUnavailableError:  # for the moment; it may have missed what was posted
                time.sleep(_RETRY_SECONDS)
                self._post()
                continue
            except RayError:
                return
            for question in asked:
                self._look(question)

    def _look(self, question: Question) -> None:
        def looked(there: "Future[bool]") -> None:
            found = there.exception() is None and there.result()
            self._tell(self._board.answer, question.number, found)

        answer = self._lender.look(question.slot, question.life, question.reason)
        answer.add_done_callback(looked)


class Lent(Following):
    """The cards as a borrower sees them.

    Raises:
        NotServingError: their owner has ended, or is in another Ray.
    """

    def __init__(self, board: str, deployment: str) -> None:
        self._deployment = deployment
        try:
            if not ray.is_initialized():
                raise NotServingError(f"deployment {deployment}", _STRANGER, "ray.init joins a Ray")
            self._board = ray.get_actor(board, namespace=_NAMESPACE)
            options, seen, version = _answer(self._board.begin)
        except (ValueError, RayActorError) as error:
            raise self._gone() from error
        super().__init__(options)
        self.open(seen.plan, self._lost)
        self.apply(seen)
        Thread(
            target=self._follow, args=(version,), name="orchestrator-follow", daemon=True
        ).start()

    def _checked(
        self, model: str, inputs: Arrays, priority: Priority, timeout: float | None
    ) -> Checked:
        if self.over:
            raise self._gone()
        return super()._checked(model, inputs, priority, timeout)

    def _gone(self) -> NotServingError:
        return NotServingError(f"deployment {self._deployment}", _GONE, _STAYS)

    def _follow(self, version: int) -> None:
        while True:
            try:
                seen, version = _answer(self._board.follow, version)
            except RayError:
                self.over = True
                self.end(why=str(self._gone()))
                return
            self.apply(seen)

    def _lost(self, slot: str, life: int, reason: str) -> None:
        """A call found a card gone: if it is there after all, it is used again."""

        def look() -> None:
            there = False
            try:
                there = _answer(self._board.look, slot, life, reason)
            finally:
                self.looked(slot, life, there)

        beside("orchestrator-look", look)


def _answer(method: Any, *arguments: object) -> Any:  # noqa: ANN401 - Ray's, and whatever it gives
    """What the board answers; a connection that is lost is made anew.

    Raises:
        RayError: it has ended, as it does with its owner.
    """
    while True:
        try:
            return method.remote(*arguments).future().result()
        except ActorUnavailableError:
            time.sleep(_RETRY_SECONDS)
