"""``ModelHandle``: what a driver calls a model with; ``Models``: all of them by name."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING

from actors.errors import InvalidRequestError, OrchestratorError
from actors.messages import Array, Arrays
from actors.queue import Priority
from actors.shapes import Signature

if TYPE_CHECKING:
    from orchestrator.config import ModelSpec
    from orchestrator.facade import Orchestrator

#: ``map`` holds at most so many requests and so many bytes, inputs and answers, between its ends.
_MAP_WINDOW = 512
_MAP_BYTES = 128 << 20
#: Requests that are sent before the first answer tells how large answers are.
_MAP_FIRST = 64


class ModelHandle:
    """One model. Safe to use from any thread and any event loop.

    A handle of a named deployment may be sent to other processes, such as Ray tasks and actors:
    there it connects by itself when it is first used.

    Every call takes a dict of arrays and returns a dict of arrays, rows in the caller's order. A
    request of more rows than a batch is cut and spread over the cards; a smaller one is joined with
    others or padded there. Outputs are read-only: large ones are views of Ray's shared memory,
    which keeps the bytes for as long as the array lives, so copy what you change or keep.
    """

    def __init__(
        self, orchestrator: "Orchestrator", name: str, priority: Priority = "online"
    ) -> None:
        self._orchestrator = orchestrator
        self.name = name
        #: Of calls that name none: a job's handles have its own.
        self.priority = priority

    @property
    def signature(self) -> Signature:
        """Inputs, outputs and gears."""
        return self._orchestrator._traffic().signatures[self.name]

    @property
    def spec(self) -> "ModelSpec":
        """What its deployment says of it."""
        return self._orchestrator._traffic().plan.deployment.model(self.name)

    def submit(
        self,
        inputs: Arrays,
        *,
        timeout: float | None = None,
        wait: bool = True,
        priority: Priority | None = None,
    ) -> "Future[dict[str, Array]]":
        """Send a request; the future gives its outputs. Do not change the arrays meanwhile.

        The future fails with RequestFailedError (with the story) when no card could answer, with
        DeadlineError when ``timeout`` seconds have passed, and may be cancelled. Callbacks on it
        run on the thread that routes all requests: keep them short.

        When this driver holds ``max_in_flight`` requests of the model and the priority already, the
        call waits for room; with ``wait=False``, or from such a callback, it is refused.

        Raises:
            InvalidRequestError: a name, dtype, rank or size that the model does not take, or a
                priority that is none.
            OverloadedError: there is no room, and it must not wait.
            DeadlineError: there was no room within ``timeout``.
        """
        running = self._orchestrator._traffic()
        return running.submit(self.name, inputs, timeout, wait, priority or self.priority)

    def predict(
        self,
        inputs: Arrays,
        *,
        timeout: float | None = None,
        wait: bool = True,
        priority: Priority | None = None,
    ) -> dict[str, Array]:
        """Send a request and wait for its outputs, for ``timeout`` seconds if given.

        Raises:
            InvalidRequestError: a name, dtype, rank or size that the model does not take.
            OverloadedError: this driver has too many under way, and it must not wait for room.
            DeadlineError: it was not answered in time; it says where it was.
            RequestFailedError: no card could answer; it says what was tried.
        """
        running, chosen = self._orchestrator._traffic(), priority or self.priority
        future = running.submit(self.name, inputs, timeout, wait, chosen, here=True)
        try:
            return future.result()
        finally:
            future.cancel()  # Ctrl-C: nobody waits for it any more

    async def predict_async(
        self,
        inputs: Arrays,
        *,
        timeout: float | None = None,
        wait: bool = True,
        priority: Priority | None = None,
    ) -> dict[str, Array]:
        """``predict`` for any event loop; cancelling the task cancels the request."""
        running = self._orchestrator._traffic()
        chosen = priority or self.priority
        future = await running.submit_async(self.name, inputs, timeout, wait, chosen)
        return await asyncio.wrap_future(future)

    def map(
        self,
        batches: Iterable[Arrays],
        *,
        window: int = _MAP_WINDOW,
        timeout: float | None = None,
        priority: Priority | None = None,
    ) -> Iterator[dict[str, Array]]:
        """Answers for a stream of requests, in its order, with many in flight.

        Reads ahead by at most ``window`` requests and 128 MiB of inputs and answers, so that
        neither a fast source nor a slow consumer fills the memory. Errors come at the request's
        place; ``timeout`` is that of each request.
        """
        flying: deque[tuple[Future[dict[str, Array]], int]] = deque()
        held = _Held(window)
        try:
            for inputs in batches:
                future = self._submit_or_fail(inputs, timeout, priority)
                flying.append((future, held.put(inputs)))
                while flying and held.full:
                    future, nbytes = flying.popleft()
                    yield held.take(nbytes, future.result())
            while flying:
                yield flying.popleft()[0].result()
        finally:
            for future, _ in flying:
                future.cancel()

    def map_unordered(
        self,
        batches: Iterable[Arrays],
        *,
        window: int = _MAP_WINDOW,
        timeout: float | None = None,
        priority: Priority | None = None,
    ) -> Iterator[tuple[int, dict[str, Array]]]:
        """``map``, but each answer as soon as it is there, with its request's place in the stream.

        One slow request holds nobody else up. An error ends the stream when it comes.
        """
        flying: dict[Future[dict[str, Array]], tuple[int, int]] = {}
        ready: SimpleQueue[Future[dict[str, Array]]] = SimpleQueue()
        held = _Held(window)
        try:
            for place, inputs in enumerate(batches):
                future = self._submit_or_fail(inputs, timeout, priority)
                flying[future] = place, held.put(inputs)
                future.add_done_callback(ready.put)
                while flying and (held.full or not ready.empty()):
                    done = ready.get()
                    number, nbytes = flying.pop(done)
                    yield number, held.take(nbytes, done.result())
            while flying:
                done = ready.get()
                yield flying.pop(done)[0], done.result()
        finally:
            for future in flying:
                future.cancel()

    def _submit_or_fail(
        self, inputs: Arrays, timeout: float | None, priority: Priority | None
    ) -> "Future[dict[str, Array]]":
        try:
            return self.submit(inputs, timeout=timeout, priority=priority)
        except OrchestratorError as error:
            failed: Future[dict[str, Array]] = Future()
            failed.set_exception(error)
            return failed


class _Held:
    """What a stream holds between its two ends: requests, their inputs, and answers to come.

    Every answer counts from the start as much as the largest so far: all may be there before the
    consumer takes the next one.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._most = min(window, _MAP_FIRST)
        self._count = 0
        self._inputs = 0
        self._answer = 0

    @property
    def full(self) -> bool:
        """Whether an answer must be taken before another request is sent."""
        nbytes = self._inputs + self._count * self._answer
        return self._count >= self._most or nbytes > _MAP_BYTES

    def put(self, inputs: Arrays) -> int:
        """Count a request; returns its bytes."""
        nbytes = _nbytes(inputs)
        self._count += 1
        self._inputs += nbytes
        return nbytes

    def take(self, nbytes: int, answer: dict[str, Array]) -> dict[str, Array]:
        """Count a request of so many bytes no more; returns its answer."""
        self._count -= 1
        self._inputs -= nbytes
        self._answer = max(self._answer, _nbytes(answer))
        self._most = self._window
        return answer


class Models:
    """The models of a running deployment, as attributes."""

    def __init__(self, orchestrator: "Orchestrator", priority: Priority = "online") -> None:
        self._orchestrator = orchestrator
        self._priority = priority

    def __getattr__(self, name: str) -> ModelHandle:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except InvalidRequestError as error:
            raise AttributeError(str(error)) from error

    def __getitem__(self, name: str) -> ModelHandle:
        """For names that are no identifiers."""
        return self._orchestrator.model(name, self._priority)

    def __iter__(self) -> Iterator[str]:
        """The models' names."""
        return iter(self._orchestrator._traffic().signatures)


def _nbytes(inputs: object) -> int:
    """Bytes of a request that nobody has checked."""
    arrays = inputs.values() if isinstance(inputs, Mapping) else ()
    return sum(getattr(array, "nbytes", 0) for array in arrays)
