"""One model's requests that wait in the driver for a card to take them."""

from collections import deque
from collections.abc import Iterator

from actors.queue import PRIORITIES, Priority
from actors.turns import Turns
from orchestrator.dispatch.retry import Ticket


class Pending:
    """A queue for each priority; they take turns as on the cards. Truth: whether any waits."""

    def __init__(self) -> None:
        self._queues: dict[Priority, deque[Ticket]] = {name: deque() for name in PRIORITIES}
        self._turns = Turns(PRIORITIES)

    def __len__(self) -> int:
        """Requests of both priorities."""
        return sum(map(len, self._queues.values()))

    def __iter__(self) -> Iterator[Ticket]:
        """All requests, those of priority batch last."""
        for queue in self._queues.values():
            yield from queue

    def put(self, ticket: Ticket) -> None:
        """Add a request at the end."""
        self._queues[ticket.priority].append(ticket)

    def put_back(self, ticket: Ticket) -> None:
        """Add a request ahead of all others of its priority."""
        self._queues[ticket.priority].appendleft(ticket)

    def in_turn(self) -> list[deque[Ticket]]:
        """The queues that are not empty, the one whose turn it is first."""
        waiting = [priority for priority, queue in self._queues.items() if queue]
        if len(waiting) > 1 and self._turns.first(waiting) != waiting[0]:
            waiting.reverse()
        return [self._queues[priority] for priority in waiting]

    def sent(self, priority: Priority, rows: int) -> None:
        """A call with so many rows of one priority has left."""
        self._turns.take(priority, rows)
