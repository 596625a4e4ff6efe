"""The driver's dispatch desk: every request between its caller and its card. Pure.

One owner calls it; time and ids are arguments. It decides, the router acts: ``dispatch`` returns
the calls to make, everything else the requests that have failed for good.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from actors.errors import (
    CardBrokenError,
    InvalidRequestError,
    NotServingError,
    NotWantedError,
    OrchestratorError,
    PredictError,
)
from orchestrator.dispatch.board import Board
from orchestrator.dispatch.calls import Bundle, DeskView, Failure
from orchestrator.dispatch.pending import Waiting
from orchestrator.dispatch.retry import (
    RetryRules,
    Ticket,
    Verdict,
    after_death,
    after_error,
    after_no_room,
    failure,
)
from orchestrator.dispatch.routing import Route, TransportRules
from orchestrator.dispatch.sending import Sender
from orchestrator.errors import CallFailedError, DeadlineError, NoRoomError


class Desk:
    """Pending requests per model, calls in flight per card, and the rules between them."""

    def __init__(
        self,
        routes: Iterable[Route],
        retry: RetryRules | None = None,
        transport: TransportRules | None = None,
    ) -> None:
        self._retry = retry or RetryRules()
        transport = transport or TransportRules()
        self._board = Board(transport)
        self._waiting = Waiting()
        self._open: dict[int, Ticket] = {}
        self._sender = Sender(self._board, self._waiting, transport)
        self._retries: Counter[tuple[str, str]] = Counter()
        self._set_aside: list[Failure] = []
        self.adopt(routes)

    def __len__(self) -> int:
        """Requests that have neither an answer nor a failure."""
        return len(self._open)

    def adopt(self, routes: Iterable[Route]) -> list[Failure]:
        """Follow a changed plan; requests for models that it dropped fail."""
        self._board.adopt(routes)
        self._waiting.know(self._board.replicas)
        return self._fail_abandoned(self._waiting.pending)

    def submit(self, ticket: Ticket) -> list[Failure]:
        """Take a request. It fails at once when its model is served no longer."""
        self._open[ticket.id] = ticket
        if self._board.abandoned(ticket.model):
            return [self._fail(ticket, self._board.why_unserved(ticket.model))]
        if ticket.suspect:
            self._waiting.suspects.append(ticket)
        else:
            self._waiting.put(ticket)
        return []

    def close(self, request_id: int) -> tuple[str, int] | None:
        """Forget a request that its caller cancelled, or that a sibling's failure made useless.

        Returns the slot and the life of the process that has it, if one does.
        """
        ticket = self._open.get(request_id)
        if ticket is None:
            return None
        self._close(ticket)
        return ticket.on

    def overdue(self, request_id: int, seconds: float) -> Failure | None:
        """Give up a request whose time is over; None when it was answered or had failed before."""
        ticket = self._open.get(request_id)
        if ticket is None:
            return None
        self._close(ticket)
        story = (*ticket.story, self._whereabouts(ticket))
        return Failure(request_id, DeadlineError(ticket.model, story, seconds=seconds))

    def serving(self, slot: str, life: int, models: Collection[str] | None = None) -> None:
        """A card's process takes work: for these models, or all that the plan has there."""
        card = self._board.slots[slot]
        card.serving, card.holds, card.why, card.gone = life, models, "", ""

    def down(self, slot: str, life: int, reason: str, now: float) -> None:
        """A card's process is dead or unfit; another may follow. Its calls end by themselves."""
        card = self._board.slots[slot]
        if card.serving == life:
            card.end(life, reason)
            card.serving, card.held_for = None, None
            self._restart_waits(slot, now)
        if card.serving is None:
            card.why = reason

    def give_up(self, slot: str, reason: str) -> list[Failure]:
        """A card will not come back; requests that only it could serve fail with the reason."""
        card = self._board.slots[slot]
        card.serving, card.held_for, card.gone = None, None, reason
        return self._fail_abandoned(replica.route.model for replica in self._board.on(slot))

    def dispatch(self, now: float) -> list[Bundle]:
        """The calls to make now, suspects first, then model by model."""
        return self._sender.calls(now)

    def answered(
        self,
        bundle: Bundle,
        outcomes: Mapping[int, OrchestratorError | None],
        now: float,
        on_card: float | None = None,
    ) -> tuple[list[int], list[Failure]]:
        """A call returned: the ids that are answered now, and those that failed for good.

        ``on_card``: of the seconds since it left, those that it spent on the card, where known.
        """
        broken = [error for error in outcomes.values() if isinstance(error, CardBrokenError)]
        if broken:  # while this call still counts among those on the card
            self.down(bundle.slot, bundle.life, broken[0].reason, now)
        self._returned(bundle)
        replica = self._board.replicas[bundle.model][bundle.slot]
        done: list[int] = []
        failed: list[Failure] = []
        for ticket in bundle.tickets:
            if not ticket.open:  # it was cancelled, or this is a second answer
                continue
            if ticket.id not in outcomes:
                told = "it has no reply for this request"
                error: OrchestratorError | None = CallFailedError(bundle.slot, bundle.model, told)
            else:
                error = outcomes[ticket.id]
            if error is None:
                self._close(ticket)
                done.append(ticket.id)
            else:
                failed += self._errored(bundle, ticket, error, now)
        if not done and any(isinstance(e, PredictError) for e in outcomes.values()):
            replica.failed()
        if done:
            seconds = now - bundle.sent
            replica.observed(seconds, bundle.rows_ahead)
            if on_card is not None:
                replica.travelled(seconds - on_card, on_card, bundle.rows)
        return done, failed

    def died(self, bundle: Bundle, reason: str, now: float) -> list[Failure]:
        """A call ended with its card's process. Its requests go elsewhere or are set aside."""
        card = self._board.slots[bundle.slot]
        self.down(bundle.slot, bundle.life, reason, now)
        together, reason = card.end(bundle.life, reason)
        self._returned(bundle)
        failed = []
        for ticket in reversed(bundle.tickets):
            if ticket.open:
                failed += self._after_death(ticket, bundle, reason, together, now)
        return failed

    def on_card(self, slot: str, life: int) -> list[Ticket]:
        """The requests that are on one process of a card, as far as anybody waits for them."""
        bundles = self._board.slots[slot].in_flight.values()
        found = (t for bundle in bundles if bundle.life == life for t in bundle.tickets)
        return [ticket for ticket in found if ticket.id in self._open]

    def expire(self, now: float) -> list[Failure]:
        """Fail what has waited too long while no replica of its model was serving."""
        failed = []
        for model in self._waiting.pending:
            if self._board.live(model):
                continue
            late = [t for t in self._waiting.of(model) if now - t.since >= self._retry.patience]
            told = self._board.why_unserved(model)
            why = f"no replica served within {self._retry.patience:g} s: {told}"
            failed += [self._fail(ticket, why) for ticket in late]
        return failed

    def stalled(self) -> bool:
        """Whether requests wait for a model that no card serves now: ``expire`` must be called."""
        in_line = {model for model, _ in self._waiting.in_line()}
        asked = in_line.union(ticket.model for ticket in self._waiting.suspects)
        return any(not self._board.live(model) for model in asked)

    @property
    def due(self) -> float | None:
        """When ``dispatch`` may have calls though nothing else has happened."""
        return self._waiting.due

    def carrying(self, request_ids: Iterable[int]) -> list[Bundle]:
        """The calls in flight that have any of these requests."""
        ids = set(request_ids)
        return [
            bundle
            for card in self._board.slots.values()
            for bundle in card.in_flight.values()
            if any(ticket.id in ids for ticket in bundle.tickets)
        ]

    def view(self) -> DeskView:
        """What a status shows."""
        pending = self._waiting.pending
        return DeskView(
            in_flight={
                name: sum(len(bundle.tickets) for bundle in card.in_flight.values())
                for name, card in self._board.slots.items()
            },
            waiting={model: len(self._waiting.of(model)) for model in pending},
            retries=dict(self._retries),
            unserved={m: self._board.why_unserved(m) for m in pending if self._board.abandoned(m)},
            set_aside=tuple(str(failure.error) for failure in self._set_aside),
            backlog=self._backlog(),
        )

    def _backlog(self) -> dict[str, int]:
        rows: Counter[str] = Counter()
        for ticket in self._open.values():
            rows[ticket.model] += ticket.rows
        return dict(rows)

    def _returned(self, bundle: Bundle) -> None:
        card = self._board.slots[bundle.slot]
        if card.in_flight.pop(bundle.id, None) is not None:
            replica = self._board.replicas[bundle.model][bundle.slot]
            replica.returned(bundle.rows, bundle.priority)
        if card.held_for is not None and card.held_for == bundle.tickets[0].id:
            card.held_for = None

    def _errored(
        self, bundle: Bundle, ticket: Ticket, error: OrchestratorError, now: float
    ) -> list[Failure]:
        if isinstance(error, InvalidRequestError):
            self._close(ticket)
            return [Failure(ticket.id, error)]
        if isinstance(error, NotWantedError):  # its time is over, which the router notices itself
            return []
        if isinstance(error, NotServingError):
            # Not the request's fault; the controller says when the card serves again.
            self.down(bundle.slot, bundle.life, str(error), now)
            ticket.story += (str(error),)
            return self._judge(bundle.slot, ticket, Verdict.AGAIN, now)
        if isinstance(error, CardBrokenError):
            together, reason = self._board.slots[bundle.slot].end(bundle.life, error.reason)
            return self._after_death(ticket, bundle, reason, together, now)
        if isinstance(error, NoRoomError):
            told = f"{error} (its call had {bundle.nbytes:,} bytes of inputs)"
            verdict = after_no_room(ticket, told, self._retry)
            return self._judge(bundle.slot, ticket, verdict, now)
        others = set(self._board.live(ticket.model)) - ticket.failed_on - {bundle.slot}
        blamed = not isinstance(error, CallFailedError)
        verdict = after_error(ticket, bundle.slot, str(error), bool(others), self._retry, blamed)
        return self._judge(bundle.slot, ticket, verdict, now)

    def _after_death(
        self, ticket: Ticket, bundle: Bundle, reason: str, together: int, now: float
    ) -> list[Failure]:
        verdict = after_death(ticket, bundle.slot, reason, together, bundle.alone, self._retry)
        failed = self._judge(bundle.slot, ticket, verdict, now)
        if ticket.blamed:
            died_on = ticket.died_on
            failed = [replace(one, set_aside=True, died_on=died_on) for one in failed]
            self._set_aside += failed
        return failed

    def _judge(self, slot: str, ticket: Ticket, verdict: Verdict, now: float) -> list[Failure]:
        if verdict is Verdict.FAIL:
            return [self._fail(ticket)]
        if self._board.abandoned(ticket.model):
            return [self._fail(ticket, self._board.why_unserved(ticket.model))]
        self._retries[ticket.model, slot] += 1
        ticket.since, ticket.on = now, None
        if verdict is Verdict.ALONE and ticket.deaths_alone:
            self._waiting.suspects.insert(0, ticket)  # the next death settles whose fault they are
        elif verdict is Verdict.ALONE:
            self._waiting.suspects.append(ticket)
        elif verdict is Verdict.LATER:
            pause = self._retry.pause * 2 ** (ticket.without_room - 1)
            self._waiting.rest(ticket, now + pause)
        else:
            self._waiting.put(ticket, first=True)
        return []

    def _close(self, ticket: Ticket) -> None:
        del self._open[ticket.id]
        ticket.open = False
        self._waiting.closed(ticket)

    def _fail(self, ticket: Ticket, why: str = "") -> Failure:
        if ticket.open:
            self._close(ticket)
        if why:
            ticket.story += (why,)
        return Failure(ticket.id, failure(ticket))

    def _fail_abandoned(self, models: Iterable[str]) -> list[Failure]:
        return [
            self._fail(ticket, self._board.why_unserved(model))
            for model in models
            if self._board.abandoned(model)
            for ticket in self._waiting.of(model)
        ]

    def _restart_waits(self, slot: str, now: float) -> None:
        """Patience counts from the moment when the last replica went."""
        for replica in self._board.on(slot):
            if not self._board.live(replica.route.model):
                for ticket in self._waiting.of(replica.route.model):
                    ticket.since = now

    def _whereabouts(self, ticket: Ticket) -> str:
        for card in self._board.slots.values():
            if any(ticket in bundle.tickets for bundle in card.in_flight.values()):
                return f"it was on {card.name}"
        if not self._board.live(ticket.model):
            return self._board.why_unserved(ticket.model)
        return f"it was among {len(self._waiting.of(ticket.model)) + 1} that waited for a card"
