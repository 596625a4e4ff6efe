"""The requests of a router that have no answer yet: whose they are, and how each of them ends."""

import itertools
import logging
import math
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from actors.messages import SENDER_BITS, Reply, Request
from orchestrator.dispatch import Desk, Failure, Ticket
from orchestrator.errors import RequestFailedError
from orchestrator.runtime.calls.asked import Call, ModelCounts
from orchestrator.runtime.calls.deadlines import Deadlines
from orchestrator.runtime.calls.outcomes import kept, merged, naming
from orchestrator.runtime.journal import Journal

_log = logging.getLogger(__name__)


class Books:
    """Kept by whoever owns the desk at the moment."""

    def __init__(
        self,
        desk: Desk,
        clock: Callable[[], float],
        journal: Journal,
        on_culprit: Callable[[Mapping[str, int]], None],
    ) -> None:
        self._desk = desk
        self._clock = clock
        self._journal = journal
        self._on_culprit = on_culprit
        self._requests: dict[int, tuple[Call, Request]] = {}
        self._deadlines = Deadlines()
        self._unwanted: dict[tuple[str, int], list[int]] = {}
        # Ids are unique over all drivers of a card, and tell them apart: each has its own block.
        self._ids = itertools.count(secrets.randbits(30) << SENDER_BITS)
        self.counts: dict[str, ModelCounts] = {}

    @property
    def due(self) -> float | None:
        """When the next request may be overdue."""
        return self._deadlines.next

    def open(self, call: Call) -> None:
        """Give the pieces of a call to the desk; what is not served fails at once."""
        try:
            self._put(call)
        except Exception as error:  # a mistake of ours: it harms this request alone
            _log.exception("a request for model %s could not be taken", call.asked.model)
            self.forget(call.ids)
            story = f"this driver could not take it: {error!r}"
            call.fail(RequestFailedError(call.asked.model, (story,)))

    def requests(self, tickets: Sequence[Ticket]) -> list[Request]:
        """What these tickets stand for."""
        return [self._requests[ticket.id][1] for ticket in tickets]

    def finish(self, request_id: int, reply: Reply, alone: bool) -> None:
        """A request was answered. ``alone``: nothing else came with the reply."""
        call, _ = self._requests.pop(request_id)
        outputs = reply.outputs or {}
        call.outputs[request_id] = outputs if alone else {n: kept(a) for n, a in outputs.items()}
        if len(call.outputs) < len(call.ids):
            return
        asked = call.asked
        counts = self._counts(asked.model)
        counts.answered += 1
        counts.rows += sum(asked.rows)
        counts.latencies.append(self._clock() - asked.started)
        if call.future.set_running_or_notify_cancel():
            try:
                whole = merged(call)
            except Exception as error:  # such as no memory for it
                story = f"its answers could not be joined: {error!r}"
                call.future.set_exception(RequestFailedError(asked.model, (story,)))
            else:
                call.future.set_result(whole)

    def fail(self, failures: Sequence[Failure]) -> None:
        """These have failed for good, and the calls that they are of with them."""
        for failure in failures:
            if failure.id not in self._requests:
                continue
            call, _ = self._requests[failure.id]
            self.forget(call.ids)
            self._counts(call.asked.model).failed += 1
            error = failure.error
            if failure.set_aside:
                self._journal.tell(
                    "set-aside",
                    str(error),
                    models=(call.asked.model,),
                    batch=(failure.id,),
                    level=logging.WARNING,
                )
                self._on_culprit(Counter(failure.died_on))
                error = naming(error, call.rows_of(failure.id))
            call.fail(error)

    def end_overdue(self, now: float) -> None:
        """Fail what has no answer when its time is over."""
        for request_id in self._deadlines.over(now):
            if request_id in self._requests:
                timeout = self._requests[request_id][0].asked.timeout
                failure = self._desk.overdue(request_id, timeout or 0.0)
                self.fail([failure] if failure else [])
        self._deadlines.keep(self._requests)

    def forget(self, ids: Sequence[int]) -> None:
        """Nobody waits for these any more."""
        for request_id in ids:
            self._requests.pop(request_id, None)
            process = self._desk.close(request_id)
            if process is not None:
                self._unwanted.setdefault(process, []).append(request_id)

    def unwanted(self) -> dict[tuple[str, int], list[int]]:
        """By card and process: what was forgotten since the last look, and is there."""
        found, self._unwanted = self._unwanted, {}
        return found

    def abort(self, why: str) -> None:
        """Fail every call."""
        calls = {id(call): call for call, _ in self._requests.values()}
        for call in calls.values():
            self.forget(call.ids)
            call.fail(RequestFailedError(call.asked.model, (why,)))

    def _put(self, call: Call) -> None:
        model, _, pieces, counts, sizes, started, timeout, priority, suspect = call.asked
        expires = math.inf if timeout is None else started + timeout
        for piece, rows, nbytes in zip(pieces, counts, sizes, strict=True):
            request = Request(next(self._ids), model, piece, priority, expires)
            call.ids.append(request.id)
            self._requests[request.id] = (call, request)
            if timeout is not None:
                self._deadlines.add(expires, request.id)
            ticket = Ticket(request.id, model, rows, nbytes, self._clock(), priority, suspect)
            self.fail(self._desk.submit(ticket))
            if call.future.done():  # cancelled before it was opened, or its model is not served
                self.forget(call.ids)
                return

    def _counts(self, model: str) -> ModelCounts:
        return self.counts.get(model) or self.counts.setdefault(model, ModelCounts())
