"""A stream of requests and of their answers, with bounded memory between its two ends."""

from collections.abc import Iterable, Iterator, Mapping
from queue import SimpleQueue
from typing import TYPE_CHECKING

from actors.errors import OrchestratorError
from actors.messages import Array, Arrays
from actors.queue import Priority
from orchestrator.runtime.calls.asked import Answer

if TYPE_CHECKING:  # a handle can be made without importing Ray
    from orchestrator.runtime.calls.traffic import Traffic

#: Bytes, of inputs and answers, that a stream holds at most.
_MOST_BYTES = 128 << 20
#: Requests that are sent before the first answer tells how large answers are.
_FIRST = 64


class Stream:
    """Sends requests and hands out their answers as they come; ``close`` when done, or before.

    At most ``window`` requests are sent and not taken. Every answer counts from the start as much
    as the largest so far: all may be there before the consumer takes the next one.
    """

    def __init__(
        self,
        running: "Traffic",
        model: str,
        window: int,
        timeout: float | None,
        priority: Priority,
    ) -> None:
        self._running = running
        self._of_each = model, timeout, priority
        self._ready: SimpleQueue[Answer] = SimpleQueue()
        self._flying: dict[int, Answer] = {}
        self._sent = 0
        self._window = window
        self._most = min(window, _FIRST)
        self._held = 0
        self._inputs = 0
        self._largest = 0

    def in_order(self, requests: Iterable[Arrays]) -> Iterator[Answer]:
        """Every request's answer, to be taken at once: where no more may be sent before that."""
        early: dict[int, Answer] = {}
        following = 0
        for inputs in requests:
            self._send(inputs)
            while following < self._sent and self._full:
                yield self._wait_for(following, early)
                following += 1
        while following < self._sent:
            yield self._wait_for(following, early)
            following += 1

    def as_they_come(self, requests: Iterable[Arrays]) -> Iterator[Answer]:
        """Every request's answer once it is there, to be taken at once."""
        ready, flying = self._ready, self._flying
        for inputs in requests:
            self._send(inputs)
            while flying and (self._full or not ready.empty()):
                yield self._next()
        while flying:
            yield self._next()

    def take(self, answer: Answer) -> dict[str, Array]:
        """The outputs; raises what the request failed with."""
        outputs = answer.result()
        self._held -= 1
        self._inputs -= answer.nbytes
        self._largest = max(self._largest, _nbytes(outputs))
        self._most = self._window
        return outputs

    def close(self) -> None:
        """Nobody takes what is still under way."""
        if self._flying:
            self._running.drop(tuple(self._flying.values()))

    @property
    def _full(self) -> bool:
        nbytes = self._inputs + self._held * self._largest
        return self._held >= self._most or nbytes > _MOST_BYTES

    def _send(self, inputs: Arrays) -> None:
        """A request that cannot be sent has failed at its place."""
        model, timeout, priority = self._of_each
        answer = Answer(self._sent, self._ready.put)
        self._sent += 1
        self._flying[answer.place] = answer
        try:
            self._running.send(model, inputs, timeout, priority, answer)
        except OrchestratorError as error:
            answer.set_exception(error)
        self._held += 1
        self._inputs += answer.nbytes

    def _wait_for(self, place: int, early: dict[int, Answer]) -> Answer:
        """The answer of one place; ``early`` has those that came before it."""
        while place not in early:
            answer = self._next()
            early[answer.place] = answer
        return early.pop(place)

    def _next(self) -> Answer:
        answer = self._ready.get()
        del self._flying[answer.place]
        return answer


def _nbytes(outputs: Mapping[str, Array]) -> int:
    return sum([array.nbytes for array in outputs.values()])
