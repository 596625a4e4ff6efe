"""Which replica takes the next requests of a model, and how many of them go in one call.

Requests are bound to a replica as late as possible: they wait in the driver until a replica has a
call to spare, so that a card that slows down or dies holds little of the work.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from actors.queue import Priority

#: How much of a new observation enters a replica's estimates.
_LEARNING_RATE = 0.25
#: Work of one call on the card, relative to the time that a call travels: while one travels the
#: others keep the card busy.
_FILL = 1.5
#: Part of the work that waits for a replica which goes in one call: what comes first then waits for
#: what comes with it only a little longer than it has waited before.
_OF_WAITING = 0.25
#: What an error multiplies a replica's expected wait by, which each success halves. One that fails
#: at once would otherwise always be the first to have room.
_DISTRUST = 8
_MOST_DISTRUST = 512
#: Seconds that a row takes on a card at least, where clocks say less.
_LEAST_ON_CARD = 1e-6


@dataclass(frozen=True)
class Route:
    """One replica as planned.

    ``share`` is its part of the model's load relative to the model's most loaded replica (so at
    most 1), ``row_seconds`` the expected card time of one row, ``rows_per_call`` what keeps every
    thread of the replica busy with one batch waiting behind it.
    """

    model: str
    slot: str
    share: float = 1.0
    row_seconds: float = 0.001
    rows_per_call: int = 1


@dataclass(frozen=True)
class TransportRules:
    """How requests are bundled into actor calls.

    ``calls`` in flight per replica hide the round trip; a call is sized to about
    ``target_seconds`` of work, so that it costs little per request and returns soon. Where much
    waits a call grows with it, to at most ``most_seconds``. Where calls of priority batch are in
    flight, an online one need not wait for their return: it is one more.
    """

    calls: int = 3
    target_seconds: float = 0.02
    most_seconds: float = 0.1
    max_requests: int = 256
    max_bytes: int = 16 << 20

    @property
    def most_calls(self) -> int:
        """Calls of one driver that may be on a replica at once."""
        return self.calls + 1


class Replica:
    """What the driver knows of one model on one card: what is in flight and how fast it answers."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.retired = False
        self.calls = 0
        self.rows = 0
        self._of_batch = 0
        self.row_seconds = route.row_seconds / max(route.share, 1e-9)
        self.distrust = 1
        self._passed_over = 0
        self._travel = 0.0
        self._on_card = 0.0

    def takes(self, priority: Priority, rules: TransportRules) -> bool:
        """Whether one more call may be in flight here."""
        ahead = priority == "online" and self._of_batch > 0
        return self.calls < (rules.most_calls if ahead else rules.calls)

    def sent(self, rows: int, priority: Priority = "online") -> None:
        """Count a call that leaves."""
        self.calls += 1
        self.rows += rows
        self._of_batch += priority == "batch"

    def returned(self, rows: int, priority: Priority = "online") -> None:
        """Count a call that came back, answered or not."""
        self.calls -= 1
        self.rows -= rows
        self._of_batch -= priority == "batch"

    def observed(self, seconds: float, rows: int) -> None:
        """Learn from an answered call: ``rows`` were in flight when it left, itself included."""
        self.distrust = max(self.distrust // 2, 1)
        sample = seconds / max(rows, 1)
        self.row_seconds += _LEARNING_RATE * (sample - self.row_seconds)

    def failed(self) -> None:
        """Learn from a call on none of whose requests the library succeeded."""
        self.distrust = min(self.distrust * _DISTRUST, _MOST_DISTRUST)

    def passed_over(self) -> None:
        """Count a call that another replica got, though this one was free."""
        self._passed_over += 1

    def due_a_trial(self) -> bool:
        """Whether it has been passed over so often that it may show what it can do."""
        if self._passed_over < self.distrust:
            return False
        self._passed_over = 0
        return True

    def travelled(self, seconds: float, on_card: float, rows: int) -> None:
        """Learn how long calls travel, both ways together, next to what they cost on the card."""
        self._travel += _LEARNING_RATE * (seconds - self._travel)
        self._on_card += _LEARNING_RATE * (on_card / max(rows, 1) - self._on_card)

    @property
    def rows_that_fill(self) -> int:
        """Rows per call with which the card has work while other calls travel; 0 if not known.

        The time on the card includes the wait behind earlier calls, so this settles: where calls
        are too small to keep the card busy they grow, where many wait there they shrink.
        """
        if not self._on_card:
            return 0
        return math.ceil(_FILL * self._travel / max(self._on_card, _LEAST_ON_CARD))

    def expected_wait(self, rows: int) -> float:
        """Seconds until ``rows`` more would be answered; longer where calls have failed."""
        return (self.rows + rows) * self.row_seconds * self.distrust


def choose(replicas: Iterable[Replica], rows: int) -> Replica | None:
    """The replica with the least expected wait; on a tie the one with the larger planned share."""
    return min(
        replicas,
        key=lambda r: (r.expected_wait(rows), -r.route.share, r.route.slot),
        default=None,
    )


def choose_trusted(free: Sequence[Replica], others: Iterable[Replica], rows: int) -> Replica | None:
    """``choose`` among those that take a call now; nobody where a better one soon does.

    ``others``: all that serve. One whose calls have failed gets work when all of them have, or when
    it has been passed over for as many calls as it is distrusted.
    """
    for replica in free:
        if replica.distrust > 1 and replica.due_a_trial():
            return replica
    trusted = [replica for replica in free if replica.distrust == 1]
    if not trusted and any(replica.distrust == 1 for replica in others):
        return None
    return choose(trusted or free, rows)


def call_rows(
    replica: Replica, waiting: int, free: Sequence[Replica], rules: TransportRules
) -> int:
    """How many of ``waiting`` rows the next call to ``replica`` takes; at least 1.

    What waits is spread over all calls that the model's ``free`` replicas can take, but no call is
    made smaller than what keeps the replica's threads busy, nor longer than the target. Where calls
    travel for long they are made larger, as long as there is as much for every free replica.
    """
    calls = sum(max(rules.calls - one.calls, 0) for one in free)
    each = -(-waiting // max(len(free), 1))
    row_seconds = max(replica.row_seconds, 1e-9)
    needed = max(replica.route.rows_per_call, min(replica.rows_that_fill, each))
    seconds = min(max(rules.target_seconds, _OF_WAITING * each * row_seconds), rules.most_seconds)
    most = max(int(seconds / row_seconds), needed)
    fair = max(-(-waiting // max(calls, 1)), needed)
    return max(1, min(fair, most, waiting))
