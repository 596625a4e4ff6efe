"""What callers ask of the router, what it keeps of that, and what it asks of cards."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from actors.messages import Answers, Array, Arrays, Request
from actors.queue import Priority
from actors.shapes import BatchRule

#: Latencies kept per model for the percentiles of the status.
_LATENCIES = 2048


class Card(Protocol):
    """What the router needs of a card's process."""

    def predict_many(self, requests: Sequence[Request], reservation: int = 0) -> "Future[Answers]":
        """Answer requests, in any order; fails with CardLostError when the process is gone.

        With a ``reservation`` the card runs nothing else meanwhile.
        """
        ...

    def predict_here(self, requests: Sequence[Request]) -> Answers:
        """The same, waited for; raises what the future would fail with."""
        ...

    def reserve(self) -> "Future[int]":
        """Have the card end what it runs, and begin nothing until a call with the result."""
        ...

    def forget(self, request_ids: Sequence[int]) -> None:
        """Nobody waits for these any more."""
        ...


@dataclass
class ModelCounts:
    """What the driver saw of one model. ``latencies`` in seconds, the most recent ones."""

    answered: int = 0
    rows: int = 0
    failed: int = 0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))


class Asked(NamedTuple):
    """One caller's checked request, in the pieces that a batch holds, with their rows and bytes.

    ``started`` is when the caller came, by ``time.monotonic``; ``timeout`` counts from there.
    ``suspect``: see Ticket.
    """

    model: str
    rule: BatchRule
    pieces: Sequence[Arrays]
    rows: Sequence[int]
    nbytes: Sequence[int]
    started: float
    timeout: float | None = None
    priority: Priority = "online"
    suspect: int = 0


class Answer:
    """The answer to one request of a stream; whoever reads the stream hears of it by ``ready``.

    To the router it is a future, and takes a fraction of one's time: it has no lock, since nobody
    waits for it alone and only the router ends it. ``nbytes`` of inputs were let in for it by
    whatever ``leave`` is of; ``ids`` are those of its pieces.
    """

    __slots__ = ("_over", "_ready", "error", "ids", "leave", "nbytes", "outputs", "place")

    def __init__(self, place: int, ready: "Callable[[Answer], object]") -> None:
        """``place``: that of its request in the stream."""
        self.place = place
        self.outputs: dict[str, Array] = {}
        self.error: Exception | None = None
        self.nbytes = 0
        self.leave: Callable[[int], None] | None = None
        self.ids: Sequence[int] = ()
        self._over = False
        self._ready = ready

    def result(self) -> dict[str, Array]:
        """The outputs; raises what the request failed with. It must be over."""
        if self.error is not None:
            raise self.error
        return self.outputs

    def done(self) -> bool:
        """Whether it is over, in whatever way."""
        return self._over

    def set_running_or_notify_cancel(self) -> bool:
        """A stream takes no request back but with all others, by ``Router.drop``."""
        return not self._over

    def set_result(self, outputs: dict[str, Array]) -> None:
        """It was answered."""
        self.outputs = outputs
        self.end()

    def set_exception(self, error: Exception) -> None:
        """It has failed."""
        self.error = error
        self.end()

    def end(self) -> None:
        """It is over."""
        self._over = True
        if self.leave is not None:
            self.leave(self.nbytes)
        self._ready(self)


@dataclass(slots=True, eq=False)
class Call:
    """A request under way: the answers to its pieces, and the future that waits for them."""

    asked: Asked
    future: "Future[dict[str, Array]] | Answer"
    ids: list[int] = field(default_factory=list)
    outputs: dict[int, Arrays] = field(default_factory=dict)

    def rows_of(self, request_id: int) -> tuple[int, int]:
        """The first and the end of the rows that one of its pieces has."""
        at = self.ids.index(request_id)
        first = sum(self.asked.rows[:at])
        return first, first + self.asked.rows[at]

    def fail(self, error: Exception) -> None:
        """Tell whoever still waits."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)
