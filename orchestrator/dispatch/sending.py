"""Which calls to make now: which of what waits goes together, and to which card. Pure."""

from collections.abc import Sequence

from orchestrator.dispatch.board import Board
from orchestrator.dispatch.calls import Bundle, Slot
from orchestrator.dispatch.pending import Line, Waiting
from orchestrator.dispatch.retry import Ticket
from orchestrator.dispatch.routing import Replica, TransportRules, call_rows, choose_trusted


class Sender:
    """Takes requests that wait, and counts their calls on the board as in flight."""

    def __init__(self, board: Board, waiting: Waiting, transport: TransportRules) -> None:
        self._board = board
        self._waiting = waiting
        self._transport = transport
        self._next_bundle = 0

    def calls(self, now: float) -> list[Bundle]:
        """The calls to make now, suspects first, then model by model."""
        self._waiting.wake(now)
        made = self._for_suspects(now)
        for model, pending in self._waiting.in_line():
            while pending:
                calls = (self._next_call(model, line, now) for line in pending.in_turn())
                bundle = next((call for call in calls if call is not None), None)
                if bundle is None:
                    break
                pending.sent(bundle.priority, bundle.rows)
                made.append(bundle)
        return made

    def _for_suspects(self, now: float) -> list[Bundle]:
        made = []
        for ticket in self._waiting.suspects.copy():
            if not ticket.open:
                self._waiting.suspects.remove(ticket)
                self._board.release(ticket.id)
                continue
            card = self._board.hold(ticket)
            if card is not None and not card.in_flight:
                self._waiting.suspects.remove(ticket)
                made.append(self._send(ticket.model, card, [ticket], now, alone=True))
        return made

    def _next_call(self, model: str, line: Line, now: float) -> Bundle | None:
        head = line.head
        free = self._board.free(model, head.priority)
        if len(free) == 1 and free[0].distrust == 1 and not head.failed_on:  # nothing to choose
            return self._call(model, line, free[0], free, now)
        untried = [r for r in free if r.route.slot not in head.failed_on]
        if not untried and set(self._board.live(model)) - head.failed_on:
            return None
        serving = self._board.serving(model)
        others = [r for r in serving if r.route.slot not in head.failed_on] or serving
        replica = choose_trusted(untried or free, others, head.rows)
        if replica is None:
            return None
        for one in free:
            if one is not replica:
                one.passed_over()
        return self._call(model, line, replica, free, now)

    def _call(
        self, model: str, line: Line, replica: Replica, free: Sequence[Replica], now: float
    ) -> Bundle:
        rows = line.rows
        if rows > line.head.rows:  # else there is nothing to divide
            rows = call_rows(replica, rows, free, self._transport)
        tickets = line.take(rows, replica.route.slot, self._transport)
        return self._send(model, self._board.slots[replica.route.slot], tickets, now)

    def _send(
        self, model: str, card: Slot, tickets: Sequence[Ticket], now: float, alone: bool = False
    ) -> Bundle:
        replica = self._board.replicas[model][card.name]
        rows = sum(ticket.rows for ticket in tickets)
        replica.sent(rows, tickets[0].priority)
        self._next_bundle += 1
        life = card.serving
        assert life is not None, f"{card.name} is not serving"
        bundle = Bundle(
            self._next_bundle,
            model,
            card.name,
            life,
            tuple(tickets),
            rows,
            now,
            replica.rows,
            alone,
        )
        card.in_flight[bundle.id] = bundle
        for ticket in tickets:
            ticket.on = card.name, life
        return bundle
