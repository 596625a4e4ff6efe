"""Carries requests between callers and cards: one thread at a time owns the desk.

That is the router's own, and all else are messages to it: callers put a request into the inbox,
Ray's callback puts the answer there, and the router decides with the desk what to send next and
completes the futures. Only where nothing else is under way does a caller who waits anyway do all of
that itself, which spares its request the way through three threads.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, RLock, Thread, get_ident

from actors.errors import NotServingError
from actors.messages import Answers, Array, Request
from orchestrator.dispatch import Bundle, Desk, DeskView, Route
from orchestrator.errors import CallFailedError, CardLostError
from orchestrator.runtime.calls.asked import Answer, Asked, Call, Card, ModelCounts
from orchestrator.runtime.calls.books import Books
from orchestrator.runtime.calls.carrier import Carrier
from orchestrator.runtime.calls.outcomes import as_ours
from orchestrator.runtime.inbox import next_of
from orchestrator.runtime.journal import Journal

_log = logging.getLogger(__name__)

#: How often requests that wait for a dead card's return are checked against their patience.
_PATIENCE_TICK = 0.5
#: Of the requests that were on a card that died, so many are named.
_TOLD_IDS = 20
_NO_NAME = Journal()
#: What requests are told that were under way when their driver closed.
CLOSED = "the driver closed before it was answered"


class Router:
    """Starts with ``start``, ends with ``close``; all else may be called from any thread."""

    def __init__(
        self,
        desk: Desk,
        on_lost: Callable[[str, int, str], None],
        clock: Callable[[], float] = time.monotonic,
        journal: Journal = _NO_NAME,
        on_culprit: Callable[[Mapping[str, int]], None] = lambda deaths: None,
    ) -> None:
        self._desk = desk
        self._books = Books(desk, clock, journal, on_culprit)
        self._journal = journal
        self._on_lost = on_lost
        self._clock = clock
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._owner = RLock()  # callbacks of futures may come back
        self._carrier = Carrier(self._books, self._inbox.put, self._returned)
        self._last_lost: dict[str, int] = {}
        self._thread = Thread(target=self._run, name="orchestrator-router", daemon=True)
        self._accepting = False
        self._closing = False
        self._over = False
        self._why = CLOSED
        self._idle = Event()

    @property
    def is_this_thread(self) -> bool:
        """Whether the caller runs on the router's thread, which must never wait for itself."""
        return get_ident() == self._thread.ident

    @property
    def counts(self) -> dict[str, ModelCounts]:
        """Of each model, what became of this process's requests."""
        return self._books.counts

    def start(self) -> None:
        """Take requests from now on."""
        self._accepting = True
        self._thread.start()

    def submit(self, asked: Asked, here: bool = False) -> "Future[dict[str, Array]]":
        """Send a request; the outputs of its pieces come back merged, in order.

        With ``here`` the caller would wait for the future next: it may be done on return.
        """
        future: Future[dict[str, Array]] = Future()
        call = Call(asked, future)
        if not self._accepting:
            future.set_exception(NotServingError("this driver", "it is closed"))
            return future
        simple = here and asked.timeout is None and not asked.suspect
        if not (simple and self._carried_here(call)):
            self._tell(partial(self._books.open, call))
        # Of the call its ids alone: a future keeps its callbacks, and so would keep itself.
        future.add_done_callback(partial(self._cancelled, call.ids))
        return future

    def send(self, asked: Asked, answer: Answer) -> None:
        """Send a request of a stream; its answer is ended, in whatever way."""
        call = Call(asked, answer)
        answer.ids = call.ids
        if self._accepting:
            self._tell(partial(self._books.open, call))
        else:
            answer.set_exception(NotServingError("this driver", "it is closed"))

    def drop(self, answers: Collection[Answer]) -> None:
        """Whoever reads this stream has gone."""
        self._tell(partial(self._dropped, answers))

    def adopt(self, routes: Sequence[Route]) -> None:
        """The plan has changed: these are the replicas now."""
        self._tell(lambda: self._books.fail(self._desk.adopt(routes)))

    def serving(
        self, slot: str, life: int, card: Card, models: Collection[str] | None = None
    ) -> None:
        """A card's process takes work: for these models, or all that the plan has there."""
        self._tell(partial(self._serve, slot, life, card, models))

    def down(self, slot: str, life: int, reason: str) -> None:
        """A card's process is gone."""
        self._tell(partial(self._down, slot, life, reason))

    def give_up(self, slot: str, reason: str) -> None:
        """A card will not come back."""
        self._tell(lambda: self._books.fail(self._desk.give_up(slot, reason)))

    def view(self) -> "Future[DeskView]":
        """The desk's numbers."""
        answer: Future[DeskView] = Future()
        self._tell(lambda: answer.set_result(self._desk.view()))
        return answer

    def close(self, drain_seconds: float, why: str = CLOSED) -> bool:
        """Take nothing new, finish what is here, then fail the rest. False when some was failed."""
        self._accepting = False
        if not self._thread.is_alive():
            return True
        self._inbox.put(self._begin_close)
        drained = self._idle.wait(drain_seconds)
        self._inbox.put(partial(self._end, why))
        self._thread.join()
        return drained

    def _tell(self, message: Callable[[], None]) -> None:
        """Send a message to the router's thread; one that comes after its end is answered here."""
        self._inbox.put(message)
        if self._over:
            with self._owner:
                self._read_the_rest()

    def _run(self) -> None:
        while not self._over:
            try:
                self._turn()
            except Exception:
                # A mistake of ours must not leave callers waiting for ever.
                _log.exception("the router failed; requests in flight are given up")
                with self._owner:
                    self._books.abort("the driver's router failed, see the log")

    def _turn(self) -> None:
        with self._owner:
            waits = self._desk.stalled()
            seconds = self._idle_seconds(waits)
        with suppress(Empty):
            first = next_of(self._inbox, seconds)
            with self._owner:
                first()
        with self._owner:
            self._rest_of_turn(waits)

    def _rest_of_turn(self, waits: bool) -> None:
        with suppress(Empty):
            while True:
                self._inbox.get_nowait()()
        now = self._clock()
        if waits:
            self._books.fail(self._desk.expire(now))
        self._books.end_overdue(now)
        for bundle in self._desk.dispatch(now):
            self._carrier.send(bundle)
        self._carrier.spare()
        if self._closing and not len(self._desk):
            self._idle.set()

    def _carried_here(self, call: Call) -> bool:
        """Take a request to its card and back in its caller's thread, if it is the only one.

        False: it was not even opened. What else there is to do is left to the router's thread.
        """
        if not self._owner.acquire(blocking=False):
            return False
        try:
            try:
                if len(self._desk) or not self._inbox.empty() or not self._accepting:
                    return False
                carried = self._begin_here(call)
            finally:
                self._owner.release()
            if carried is not None:
                outcome = _answered_here(*carried[1:])
                with self._owner:
                    self._returned(carried[0], outcome)
        except BaseException:  # Ctrl-C, wherever it struck: the card finishes it, nobody waits
            self._tell(partial(self._drop, call))
            raise
        if not call.future.done() or len(self._desk) or self._closing:
            self._tell(_look)
        return True

    def _begin_here(self, call: Call) -> tuple[Bundle, Card, Sequence[Request]] | None:
        """Open a request and send what there is to send, but for its first call if there is one."""
        self._books.open(call)
        bundles = self._desk.dispatch(self._clock())
        for bundle in bundles[1:]:
            self._carrier.send(bundle)
        return (bundles[0], *self._carrier.of(bundles[0])) if bundles else None

    def _drop(self, call: Call) -> None:
        """Its caller is gone in the middle of something: what is in flight of it counts no more."""
        self._books.forget(call.ids)
        for bundle in self._desk.carrying(call.ids):
            self._returned(bundle, CallFailedError(bundle.slot, bundle.model, "was interrupted"))

    def _idle_seconds(self, waits: bool) -> float | None:
        """How long nothing needs to be looked at unless a message comes."""
        now = self._clock()
        seconds = [_PATIENCE_TICK] if waits else []
        for due in (self._books.due, self._desk.due):
            if due is not None:
                seconds.append(max(0.0, due - now))
        return min(seconds, default=None)

    def _cancelled(self, ids: Sequence[int], future: "Future[dict[str, Array]]") -> None:
        if future.cancelled():
            self._inbox.put(partial(self._books.forget, ids))

    def _dropped(self, answers: Collection[Answer]) -> None:
        for answer in answers:
            if not answer.done():
                self._books.forget(answer.ids)
                answer.end()

    def _serve(self, slot: str, life: int, card: Card, models: Collection[str] | None) -> None:
        self._carrier.serve(slot, life, card)
        self._desk.serving(slot, life, models)

    def _down(self, slot: str, life: int, reason: str) -> None:
        self._carrier.down(slot, life)
        self._desk.down(slot, life, reason, self._clock())

    def _returned(self, bundle: Bundle, outcome: Answers | BaseException) -> None:
        now = self._clock()
        if isinstance(outcome, CardLostError):
            self._tell_interrupted(bundle, outcome.reason)
            self._down(bundle.slot, bundle.life, outcome.reason)
            if not self._over:
                self._on_lost(bundle.slot, bundle.life, outcome.reason)
            self._books.fail(self._desk.died(bundle, outcome.reason, now))
            return
        if isinstance(outcome, BaseException):
            problem = as_ours(outcome, bundle)
            outcomes = dict.fromkeys((ticket.id for ticket in bundle.tickets), problem)
            self._books.fail(self._desk.answered(bundle, outcomes, now)[1])
            return
        replies = {reply.id: reply for reply in outcome.replies}
        answered, failed = self._desk.answered(
            bundle, {reply.id: reply.error for reply in outcome.replies}, now, outcome.seconds
        )
        for request_id in answered:
            self._books.finish(request_id, replies[request_id], alone=len(replies) == 1)
        self._books.fail(failed)

    def _tell_interrupted(self, bundle: Bundle, reason: str) -> None:
        """Once for each process that dies: which requests were on it."""
        if self._last_lost.get(bundle.slot) == bundle.life:
            return
        self._last_lost[bundle.slot] = bundle.life
        found = self._desk.on_card(bundle.slot, bundle.life)
        self._journal.tell(
            "interrupted",
            f"{len(found)} requests were on it and go elsewhere: {reason}",
            card=bundle.slot,
            models=sorted({ticket.model for ticket in found}),
            batch=[ticket.id for ticket in found][:_TOLD_IDS],
            level=logging.WARNING,
        )

    def _begin_close(self) -> None:
        self._closing = True

    def _end(self, why: str) -> None:
        """The last event: from now on whoever sends a message reads it, too."""
        self._over, self._why = True, why
        self._read_the_rest()

    def _read_the_rest(self) -> None:
        """Requests that slipped in behind the last event are failed with the rest."""
        with suppress(Empty):
            while True:
                self._inbox.get_nowait()()
        self._books.abort(self._why)


def _look() -> None:
    """The message without a content: the router looks at what there is to do."""


def _answered_here(card: Card, requests: Sequence[Request]) -> Answers | Exception:
    try:
        return card.predict_here(requests)
    except Exception as error:
        return error
