"""``ModelHandle``: what a driver calls a model with; ``Models``: all of them by name."""

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing
from typing import TYPE_CHECKING

from actors.errors import InvalidRequestError
from actors.messages import Array, Arrays
from actors.queue import Priority
from actors.shapes import Signature
from orchestrator.arguments import known_priority, require_seconds, require_window, stream_of
from orchestrator.runtime.calls.stream import Stream

if TYPE_CHECKING:
    from orchestrator.config import ModelSpec
    from orchestrator.facade import Orchestrator

#: ``map`` holds at most so many requests between its ends, unless told otherwise.
_MAP_WINDOW = 512


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

    def __repr__(self) -> str:
        return f"<ModelHandle {self.name}, {self.priority}, of {self._orchestrator!r}>"

    @property
    def signature(self) -> Signature:
        """Inputs, outputs and gears.

        Raises:
            NotServingError: no card has loaded the model.
        """
        return self._orchestrator._traffic().signature(self.name)

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
                priority or a timeout that is none.
            NotServingError: the deployment is closed, or no card has loaded the model.
            OverloadedError: there is no room, and it must not wait.
            DeadlineError: there was no room within ``timeout``.
        """
        running, chosen = self._orchestrator._traffic(), self._chosen(timeout, priority)
        return running.submit(self.name, inputs, timeout, wait, chosen)

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
            InvalidRequestError: as ``submit``, or it is called in a callback of a future that
                ``submit`` gave.
            NotServingError: the deployment is closed, or no card has loaded the model.
            OverloadedError: this driver has too many under way, and it must not wait for room.
            DeadlineError: it was not answered in time; it says where it was.
            RequestFailedError: no card could answer; it says what was tried.
        """
        running, chosen = self._orchestrator._traffic(), self._chosen(timeout, priority)
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
        running, chosen = self._orchestrator._traffic(), self._chosen(timeout, priority)
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
        neither a fast source nor a slow consumer fills the memory. Nothing is read or sent before
        the first answer is asked for. Errors of a request come at its place; ``timeout`` is that of
        each request.

        Raises:
            InvalidRequestError: a window, timeout or priority that is none, or ``batches`` that
                cannot be gone through.
            NotServingError: the deployment is closed.
        """
        stream = self._stream(window, timeout, priority)
        return _in_order(stream, stream_of(self.name, batches))

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

        Raises:
            InvalidRequestError, NotServingError: as ``map``.
        """
        stream = self._stream(window, timeout, priority)
        return _as_they_come(stream, stream_of(self.name, batches))

    def _stream(self, window: int, timeout: float | None, priority: Priority | None) -> Stream:
        require_window(self.name, window)
        running, chosen = self._orchestrator._traffic(), self._chosen(timeout, priority)
        return Stream(running, self.name, window, timeout, chosen)

    def _chosen(self, timeout: float | None, priority: Priority | None) -> Priority:
        """The priority of a call, whose time is looked at, too."""
        if timeout is not None:
            require_seconds(self.name, timeout)
        return self.priority if priority is None else known_priority(self.name, priority)


def _in_order(stream: Stream, batches: Iterable[Arrays]) -> Iterator[dict[str, Array]]:
    with closing(stream):
        for answer in stream.in_order(batches):
            yield stream.take(answer)


def _as_they_come(
    stream: Stream, batches: Iterable[Arrays]
) -> Iterator[tuple[int, dict[str, Array]]]:
    with closing(stream):
        for answer in stream.as_they_come(batches):
            yield answer.place, stream.take(answer)


class Models:
    """The models of a running deployment by name: as attributes, by key, or gone through."""

    def __init__(self, orchestrator: "Orchestrator", priority: Priority = "online") -> None:
        self._orchestrator = orchestrator
        self._priority = priority

    def __getattr__(self, name: str) -> ModelHandle:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except InvalidRequestError as error:
            raise AttributeError(str(error)) from None

    def __getitem__(self, name: str) -> ModelHandle:
        """For names that are no identifiers."""
        return self._orchestrator.model(name, priority=self._priority)

    def __iter__(self) -> Iterator[str]:
        """The models' names, in the order of the deployment."""
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __repr__(self) -> str:
        return f"<Models of {self._orchestrator!r}>"

    def __dir__(self) -> list[str]:
        """Those too, for completion in a shell or a notebook."""
        return [*super().__dir__(), *self]

    def _names(self) -> list[str]:
        deployment = self._orchestrator._traffic().plan.deployment
        return [model.name for model in deployment.models]
