"""Requests that wait in the driver for a card to take them."""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator

from actors.queue import PRIORITIES, Priority
from actors.turns import Turns
from orchestrator.dispatch.retry import Ticket
from orchestrator.dispatch.routing import TransportRules

#: A line is looked through once it holds so many closed requests, and as many as open ones.
_FEW = 32


class Line:
    """Requests of one model and priority; those that were closed count no more. Truth: any waits.

    A closed one is passed over where it stands; they leave for good when they are half of all, so
    that requests which are cancelled while nobody takes any do not pile up.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._tickets: deque[Ticket] = deque()
        self._closed = 0

    def __len__(self) -> int:
        """Open requests."""
        return len(self._tickets) - self._closed

    def __iter__(self) -> Iterator[Ticket]:
        """Open requests in their order."""
        return (ticket for ticket in self._tickets if ticket.open)

    @property
    def head(self) -> Ticket:
        """The first open request; there must be one."""
        while not self._tickets[0].open:
            self._tickets.popleft()
            self._closed -= 1
        return self._tickets[0]

    def put(self, ticket: Ticket, first: bool = False) -> None:
        """Add a request at the end, or ahead of all others."""
        ticket.queued = True
        self.rows += ticket.rows
        if first:
            self._tickets.appendleft(ticket)
        else:
            self._tickets.append(ticket)

    def closed(self, ticket: Ticket) -> None:
        """One of these was closed."""
        ticket.queued = False
        self.rows -= ticket.rows
        self._closed += 1
        if self._closed > _FEW + len(self):
            self._tickets = deque(self)
            self._closed = 0

    def take(self, most_rows: int, slot: str, rules: TransportRules) -> list[Ticket]:
        """The next requests for one call to ``slot``: at least one, whatever its size."""
        taken: list[Ticket] = []
        waiting = self._tickets
        nbytes = rows = 0
        while waiting and len(taken) < rules.max_requests:
            ticket = waiting[0]
            if not ticket.open:
                waiting.popleft()
                self._closed -= 1
                continue
            nbytes += ticket.nbytes
            rows += ticket.rows
            full = nbytes > rules.max_bytes or rows > most_rows
            if taken and (full or slot in ticket.failed_on):
                break
            taken.append(ticket)
            waiting.popleft()
            ticket.queued = False
            self.rows -= ticket.rows
        return taken


class Pending:
    """A line for each priority of a model; they take turns as on the cards. Truth: any waits."""

    def __init__(self) -> None:
        self.lines: dict[Priority, Line] = {name: Line() for name in PRIORITIES}
        self._turns = Turns(PRIORITIES)

    def __bool__(self) -> bool:
        return any([line.rows for line in self.lines.values()])

    def in_turn(self) -> list[Line]:
        """The lines in which any waits, the one whose turn it is first."""
        waiting = [priority for priority, line in self.lines.items() if line]
        if len(waiting) > 1 and self._turns.first(waiting) != waiting[0]:
            waiting.reverse()
        return [self.lines[priority] for priority in waiting]

    def sent(self, priority: Priority, rows: int) -> None:
        """A call with so many rows of one priority has left."""
        self._turns.take(priority, rows)


class Waiting:
    """All that waits: in line, for a card of its own, or for some time to pass."""

    def __init__(self) -> None:
        self.pending: dict[str, Pending] = {}
        self.suspects: list[Ticket] = []
        self._in_line: dict[str, Pending] = {}
        self._resting: list[tuple[float, int, Ticket]] = []

    def in_line(self) -> list[tuple[str, Pending]]:
        """The models of which any waits in line: a driver may know thousands, few of them busy."""
        self._in_line = {model: pending for model, pending in self._in_line.items() if pending}
        return list(self._in_line.items())

    def know(self, models: Iterable[str]) -> None:
        """These may be asked for, beside those that are known already."""
        for model in models:
            self.pending.setdefault(model, Pending())

    def put(self, ticket: Ticket, first: bool = False) -> None:
        """To the end of its line, or ahead of all others there."""
        pending = self._in_line[ticket.model] = self.pending[ticket.model]
        pending.lines[ticket.priority].put(ticket, first)

    def rest(self, ticket: Ticket, until: float) -> None:
        """Put a request back in line at a moment to come."""
        heapq.heappush(self._resting, (until, ticket.id, ticket))

    def closed(self, ticket: Ticket) -> None:
        """A request that may wait here was closed."""
        if ticket.queued:
            self.pending[ticket.model].lines[ticket.priority].closed(ticket)

    @property
    def due(self) -> float | None:
        """When the next request that rests is to be put back."""
        return self._resting[0][0] if self._resting else None

    def wake(self, now: float) -> None:
        """Put back what has rested."""
        while self._resting and self._resting[0][0] <= now:
            ticket = heapq.heappop(self._resting)[2]
            if ticket.open:
                self.put(ticket, first=True)

    def of(self, model: str) -> list[Ticket]:
        """The open requests of a model."""
        apart = [*self.suspects, *(ticket for _, _, ticket in self._resting)]
        lines = self.pending[model].lines.values()
        return [
            *(ticket for ticket in apart if ticket.open and ticket.model == model),
            *(ticket for line in lines for ticket in line),
        ]
