"""Carries requests between callers and cards: one thread at a time owns the desk.

That is the router's own, and all else are messages to it: callers put a request into the inbox,
Ray's callback puts the answer there, and the router decides with the desk what to send next and
completes the futures. Only where nothing else is under way does a caller who waits anyway do all of
that itself, which spares its request the way through three threads.
"""

import heapq
import itertools
import logging
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread, current_thread
from typing import NamedTuple, Protocol

from actors.errors import NotServingError, OrchestratorError, PredictError
from actors.messages import SENDER_BITS, Answers, Array, Arrays, Reply, Request
from actors.queue import Priority
from actors.shapes import BatchRule, merge
from orchestrator.dispatch import Bundle, Desk, DeskView, Failure, Route, Ticket
from orchestrator.errors import CardLostError, RequestFailedError
from orchestrator.runtime.journal import Journal

_log = logging.getLogger(__name__)

#: How often requests that wait for a dead card's return are checked against their patience.
_PATIENCE_TICK = 0.5
#: Outputs of at most this many bytes are copied, so that a small answer that somebody keeps does
#: not keep the whole call's bytes in the object store.
_COPY_BELOW = 64 << 10
#: Latencies kept per model for the percentiles of the status.
_LATENCIES = 2048
#: Of the requests that were on a card that died, so many are named.
_TOLD_IDS = 20
_NO_NAME = Journal()
_CLOSED = "the driver closed before it was answered"


class Card(Protocol):
    """What the router needs of a card's process."""

    def predict_many(self, requests: Sequence[Request]) -> "Future[Answers]":
        """Answer requests, in any order; fails with CardLostError when the process is gone."""
        ...

    def predict_here(self, requests: Sequence[Request]) -> Answers:
        """The same, waited for; raises what the future would fail with."""
        ...


@dataclass
class ModelCounts:
    """What the driver saw of one model. ``latencies`` in seconds, the most recent ones."""

    answered: int = 0
    rows: int = 0
    failed: int = 0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))


class Asked(NamedTuple):
    """One caller's checked request, in the pieces that a batch holds.

    ``started`` is when the caller came, by ``time.monotonic``; ``timeout`` counts from there.
    """

    model: str
    rule: BatchRule
    pieces: Sequence[Arrays]
    rows: Sequence[int]
    started: float
    timeout: float | None = None
    priority: Priority = "online"


@dataclass
class _Call:
    """A request under way: the answers to its pieces, and the future that waits for them."""

    asked: Asked
    future: "Future[dict[str, Array]]"
    ids: list[int] = field(default_factory=list)
    outputs: dict[int, Arrays] = field(default_factory=dict)


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
        self._on_culprit = on_culprit
        self._journal = journal
        self._on_lost = on_lost
        self._clock = clock
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._owner = Lock()
        self._cards: dict[tuple[str, int], Card] = {}
        self._last_lost: dict[str, int] = {}
        self._requests: dict[int, tuple[_Call, Request]] = {}
        self._deadlines: list[tuple[float, int]] = []
        # Ids are unique over all drivers of a card, and tell them apart: each has its own block.
        self._ids = itertools.count(secrets.randbits(30) << SENDER_BITS)
        self._thread = Thread(target=self._run, name="orchestrator-router", daemon=True)
        self._accepting = False
        self._closing = False
        self._over = False
        self._idle = Event()
        self.counts: dict[str, ModelCounts] = {}

    @property
    def is_this_thread(self) -> bool:
        """Whether the caller runs on the router's thread, which must never wait for itself."""
        return current_thread() is self._thread

    def start(self) -> None:
        """Take requests from now on."""
        self._accepting = True
        self._thread.start()

    def submit(self, asked: Asked, here: bool = False) -> "Future[dict[str, Array]]":
        """Send a request; the outputs of its pieces come back merged, in order.

        With ``here`` the caller would wait for the future next: it may be done on return.
        """
        future: Future[dict[str, Array]] = Future()
        call = _Call(asked, future)
        if not self._accepting:
            future.set_exception(NotServingError("of this driver", "closed"))
            return future
        if not (here and asked.timeout is None and self._carried_here(call)):
            self._inbox.put(partial(self._open, call))
        future.add_done_callback(partial(self._cancelled, call))
        return future

    def adopt(self, routes: Sequence[Route]) -> None:
        """The plan has changed: these are the replicas now."""
        self._inbox.put(lambda: self._fail(self._desk.adopt(routes)))

    def serving(
        self, slot: str, life: int, card: Card, models: Collection[str] | None = None
    ) -> None:
        """A card's process takes work: for these models, or all that the plan has there."""
        self._inbox.put(partial(self._serve, slot, life, card, models))

    def down(self, slot: str, life: int, reason: str) -> None:
        """A card's process is gone."""
        self._inbox.put(partial(self._down, slot, life, reason))

    def give_up(self, slot: str, reason: str) -> None:
        """A card will not come back."""
        self._inbox.put(lambda: self._fail(self._desk.give_up(slot, reason)))

    def view(self) -> "Future[DeskView]":
        """The desk's numbers; never done once the router is closed."""
        answer: Future[DeskView] = Future()
        self._inbox.put(lambda: answer.set_result(self._desk.view()))
        return answer

    def close(self, drain_seconds: float, why: str = _CLOSED) -> bool:
        """Take nothing new, finish what is here, then fail the rest. False when some was failed."""
        self._accepting = False
        if not self._thread.is_alive():
            return True
        self._inbox.put(self._begin_close)
        drained = self._idle.wait(drain_seconds)
        self._inbox.put(partial(self._end, why))
        self._thread.join()
        return drained

    def _run(self) -> None:
        while not self._over:
            try:
                self._turn()
            except Exception:
                # A mistake of ours must not leave callers waiting for ever.
                _log.exception("the router failed; requests in flight are given up")
                self._abort("the driver's router failed, see the log")

    def _turn(self) -> None:
        with self._owner:
            waits = self._desk.stalled()
            seconds = self._idle_seconds(waits)
        with suppress(Empty):
            first = self._inbox.get(timeout=seconds)
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
            self._fail(self._desk.expire(now))
        self._end_overdue(now)
        for bundle in self._desk.dispatch(now):
            self._send(bundle)
        if self._closing and not len(self._desk):
            self._idle.set()

    def _carried_here(self, call: _Call) -> bool:
        """Take a request to its card and back in its caller's thread, if it is the only one.

        False: it was not even opened. What else there is to do is left to the router's thread.
        """
        if not self._owner.acquire(blocking=False):
            return False
        try:
            if len(self._desk) or not self._inbox.empty() or not self._accepting:
                return False
            self._open(call)
            bundles = self._desk.dispatch(self._clock())
            for bundle in bundles[1:]:
                self._send(bundle)
            carried = [(bundle, *self._card_of(bundle)) for bundle in bundles[:1]]
        finally:
            self._owner.release()
        for bundle, card, requests in carried:
            outcome: Answers | BaseException
            try:
                outcome = card.predict_here(requests)
            except BaseException as error:  # also Ctrl-C: the card finishes it, nobody waits
                outcome = error
            with self._owner:
                if not isinstance(outcome, (Answers, Exception)):
                    self._forget(call)
                self._returned(bundle, outcome)
            if not isinstance(outcome, (Answers, Exception)):
                raise outcome
        if not call.future.done() or len(self._desk) or self._closing:
            self._inbox.put(_look)
        return True

    def _idle_seconds(self, waits: bool) -> float | None:
        """How long nothing needs to be looked at unless a message comes."""
        seconds = [_PATIENCE_TICK] if waits else []
        if self._deadlines:
            seconds.append(max(0.0, self._deadlines[0][0] - self._clock()))
        return min(seconds, default=None)

    def _end_overdue(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            _, request_id = heapq.heappop(self._deadlines)
            if request_id in self._requests:
                timeout = self._requests[request_id][0].asked.timeout
                failure = self._desk.overdue(request_id, timeout or 0.0)
                self._fail([failure] if failure else [])

    def _open(self, call: _Call) -> None:
        model, _, pieces, counts, started, timeout, priority = call.asked
        for piece, rows in zip(pieces, counts, strict=True):
            request = Request(next(self._ids), model, piece, priority)
            nbytes = sum(array.nbytes for array in piece.values())
            call.ids.append(request.id)
            self._requests[request.id] = (call, request)
            if timeout is not None:
                heapq.heappush(self._deadlines, (started + timeout, request.id))
            ticket = Ticket(request.id, model, rows, nbytes, self._clock(), priority)
            self._fail(self._desk.submit(ticket))
            if call.future.done():  # cancelled before it was opened, or its model is not served
                self._forget(call)
                return

    def _cancelled(self, call: _Call, future: "Future[dict[str, Array]]") -> None:
        if future.cancelled():
            self._inbox.put(partial(self._forget, call))

    def _serve(self, slot: str, life: int, card: Card, models: Collection[str] | None) -> None:
        self._cards[slot, life] = card
        self._desk.serving(slot, life, models)

    def _down(self, slot: str, life: int, reason: str) -> None:
        self._cards.pop((slot, life), None)
        self._desk.down(slot, life, reason, self._clock())

    def _card_of(self, bundle: Bundle) -> tuple[Card, Sequence[Request]]:
        requests = [self._requests[ticket.id][1] for ticket in bundle.tickets]
        return self._cards[bundle.slot, bundle.life], requests

    def _send(self, bundle: Bundle) -> None:
        card, requests = self._card_of(bundle)

        def hand_over(done: "Future[Answers]") -> None:
            outcome = done.exception() or done.result()
            self._inbox.put(partial(self._returned, bundle, outcome))

        card.predict_many(requests).add_done_callback(hand_over)

    def _returned(self, bundle: Bundle, outcome: Answers | BaseException) -> None:
        now = self._clock()
        if isinstance(outcome, CardLostError):
            self._tell_interrupted(bundle, outcome.reason)
            self._down(bundle.slot, bundle.life, outcome.reason)
            self._on_lost(bundle.slot, bundle.life, outcome.reason)
            self._fail(self._desk.died(bundle, outcome.reason, now))
            return
        if isinstance(outcome, BaseException):
            problem = (
                outcome
                if isinstance(outcome, OrchestratorError)
                else PredictError(bundle.slot, bundle.model, repr(outcome))
            )
            outcomes = dict.fromkeys((ticket.id for ticket in bundle.tickets), problem)
            self._fail(self._desk.answered(bundle, outcomes, now)[1])
            return
        replies = {reply.id: reply for reply in outcome.replies}
        answered, failed = self._desk.answered(
            bundle, {reply.id: reply.error for reply in outcome.replies}, now, outcome.seconds
        )
        for request_id in answered:
            self._finish(request_id, replies[request_id], alone=len(replies) == 1)
        self._fail(failed)

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

    def _finish(self, request_id: int, reply: Reply, alone: bool) -> None:
        call, _ = self._requests.pop(request_id)
        outputs = reply.outputs or {}
        call.outputs[request_id] = outputs if alone else {n: _kept(a) for n, a in outputs.items()}
        if len(call.outputs) < len(call.ids):
            return
        asked = call.asked
        counts = self.counts.setdefault(asked.model, ModelCounts())
        counts.answered += 1
        counts.rows += sum(asked.rows)
        counts.latencies.append(self._clock() - asked.started)
        if call.future.set_running_or_notify_cancel():
            merged = dict(merge(asked.rule, [call.outputs[i] for i in call.ids]))
            for array in merged.values():
                array.flags.writeable = False  # as what comes from shared memory is anyway
            call.future.set_result(merged)

    def _fail(self, failures: Sequence[Failure]) -> None:
        for failure in failures:
            if failure.id not in self._requests:
                continue
            call, _ = self._requests[failure.id]
            self._forget(call)
            self.counts.setdefault(call.asked.model, ModelCounts()).failed += 1
            if failure.set_aside:
                told = str(failure.error)
                self._journal.tell(
                    "set-aside",
                    told,
                    models=(call.asked.model,),
                    batch=(failure.id,),
                    level=logging.WARNING,
                )
                self._on_culprit(Counter(failure.died_on))
            if call.future.set_running_or_notify_cancel():
                call.future.set_exception(failure.error)

    def _forget(self, call: _Call) -> None:
        for request_id in call.ids:
            self._requests.pop(request_id, None)
            self._desk.close(request_id)

    def _begin_close(self) -> None:
        self._closing = True

    def _abort(self, why: str) -> None:
        calls = {id(call): call for call, _ in self._requests.values()}
        for call in calls.values():
            self._forget(call)
            if call.future.set_running_or_notify_cancel():
                call.future.set_exception(RequestFailedError(call.asked.model, (why,)))

    def _end(self, why: str) -> None:
        """The last event: requests that slipped in behind it are failed with the rest."""
        while not self._inbox.empty():
            self._inbox.get()()
        self._abort(why)
        self._over = True


def _look() -> None:
    """The message without a content: the router looks at what there is to do."""


def _kept(array: Array) -> Array:
    """A small output gets memory of its own; a large one stays a view of the call's."""
    return array.copy() if array.nbytes <= _COPY_BELOW else array
