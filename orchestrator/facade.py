"""The driver's API: ``Orchestrator``, and ``ModelHandle`` to call a model with."""

import asyncio
import difflib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING

from actors.errors import InvalidRequestError
from actors.messages import Array, Arrays
from actors.shapes import Signature
from orchestrator.config import Deployment
from orchestrator.dispatch import RetryRules
from orchestrator.errors import NotServingError
from orchestrator.placement import DeploymentPlan

if TYPE_CHECKING:  # planning and reading deployments work without importing Ray
    from orchestrator.runtime.running import Running
    from orchestrator.runtime.status import Status

#: ``map`` holds at most so many requests and so many bytes of inputs between its two ends.
_MAP_WINDOW = 256
_MAP_BYTES = 128 << 20
_DRAIN_SECONDS = 60.0
_STATUS_SECONDS = 5.0


class Orchestrator:
    """A deployment that runs for as long as a ``with`` block.

    Entering connects to Ray, plans (or takes a plan that was made before), starts one process per
    card and returns when all of them serve. Leaving normally finishes what is in flight; leaving by
    an exception, Ctrl-C included, does not wait. Either way nothing stays behind.

    Args:
        deployment: what to run, or a plan that was made of it.
        address: ``local`` starts a Ray of its own; ``auto`` or ``host:port`` join a cluster. By
            default: the Ray that this process is connected to, else ``RAY_ADDRESS``, else
            ``local``.
        batch: plan for a job, which may fill the cards, instead of a rate, which needs slack.
        patience_seconds: how long a request waits while no card serves its model.
        progress: gets a line about each slow step of the start: measuring, connecting, loading.
        max_in_flight: requests of one model that this driver holds at most; past that calls wait,
            or raise OverloadedError with ``wait=False``.
        object_store_bytes: shared memory for a Ray of its own; by default at most half of what is
            free, and at most 1 GiB.
    """

    def __init__(
        self,
        deployment: Deployment | DeploymentPlan,
        *,
        address: str | None = None,
        batch: bool = False,
        patience_seconds: float = 120.0,
        max_in_flight: int = 1024,
        progress: Callable[[str], None] | None = None,
        object_store_bytes: int | None = None,
    ) -> None:
        self._deployment = deployment
        self._address = address
        self._batch = batch
        self._patience = patience_seconds
        self._max_in_flight = max_in_flight
        self._progress = progress or (lambda line: None)
        self._object_store_bytes = object_store_bytes
        self._running: Running | None = None

    def __enter__(self) -> "Orchestrator":
        """``start``."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """``close``; without waiting for requests in flight when the block failed."""
        self.close(drain_seconds=_DRAIN_SECONDS if kind is None else 0.0)

    def start(self) -> None:
        """Start everything; when this raises, nothing is left running.

        Raises:
            ClusterError: Ray could not be started or joined.
            CardsUnavailableError: the cluster has fewer cards than the deployment names.
            DeploymentError, PlanRefusedError: it cannot be measured or planned.
            LoadError, DoesNotFitError, CardLostError: a card could not load its models.
        """
        from orchestrator.runtime.running import Options, Running

        if self._running is not None:
            return
        running = Running(
            Options(
                address=self._address,
                object_store_bytes=self._object_store_bytes,
                batch=self._batch,
                max_in_flight=self._max_in_flight,
                progress=self._progress,
                retry=RetryRules(patience=self._patience),
            )
        )
        running.start(self._deployment)
        self._running = running

    def close(self, drain_seconds: float = 0.0) -> None:
        """Give requests in flight so long, then stop the cards and leave Ray, or end our own."""
        running, self._running = self._running, None
        if running is not None:
            running.close(drain_seconds)

    @property
    def plan(self) -> DeploymentPlan:
        """The plan that runs; ``print(orc.plan.explain())`` shows its reasons."""
        return self._require().plan

    @property
    def models(self) -> "Models":
        """All models, by attribute or by key: ``orc.models.det``, ``orc.models["det"]``."""
        return Models(self)

    def model(self, name: str) -> "ModelHandle":
        """The handle of one model.

        Raises:
            InvalidRequestError: there is no such model.
        """
        names = list(self._require().signatures)
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names)}"
            raise InvalidRequestError(name, f"no such model, {hint}")
        return ModelHandle(self, name)

    def status(self) -> "Status":
        """Cards, replicas, bytes planned and measured, counts and latencies, as of now."""
        return self._require().status(_STATUS_SECONDS)

    def _require(self) -> "Running":
        if self._running is None:
            raise NotServingError(
                "of this deployment", "not started or closed; use it in a with block"
            )
        return self._running


class Models:
    """The models of a running deployment, as attributes."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    def __getattr__(self, name: str) -> "ModelHandle":
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._orchestrator.model(name)
        except InvalidRequestError as error:
            raise AttributeError(str(error)) from error

    def __getitem__(self, name: str) -> "ModelHandle":
        """For names that are no identifiers."""
        return self._orchestrator.model(name)

    def __iter__(self) -> Iterator[str]:
        """The models' names."""
        return iter(self._orchestrator._require().signatures)


class ModelHandle:
    """One model. Safe to use from any thread and any event loop.

    Every call takes a dict of arrays and returns a dict of arrays, rows in the caller's order. A
    request of more rows than a batch is cut and spread over the cards; a smaller one is joined with
    others or padded there. Outputs are read-only: large ones are views of Ray's shared memory,
    which keeps the bytes for as long as the array lives, so copy what you change or keep.
    """

    def __init__(self, orchestrator: Orchestrator, name: str) -> None:
        self._orchestrator = orchestrator
        self.name = name

    @property
    def signature(self) -> Signature:
        """Inputs, outputs and gears."""
        return self._orchestrator._require().signatures[self.name]

    def submit(
        self, inputs: Arrays, *, timeout: float | None = None, wait: bool = True
    ) -> "Future[dict[str, Array]]":
        """Send a request; the future gives its outputs. Do not change the arrays meanwhile.

        The future fails with RequestFailedError (with the story) when no card could answer, with
        DeadlineError when ``timeout`` seconds have passed, and may be cancelled. Callbacks on it
        run on the thread that routes all requests: keep them short.

        When this driver holds ``max_in_flight`` requests of the model already, the call waits for
        room; with ``wait=False``, or from such a callback, it is refused.

        Raises:
            InvalidRequestError: a name, dtype, rank or size that the model does not take.
            OverloadedError: there is no room, and it must not wait.
            DeadlineError: there was no room within ``timeout``.
        """
        return self._orchestrator._require().submit(self.name, inputs, timeout, wait)

    def predict(
        self, inputs: Arrays, *, timeout: float | None = None, wait: bool = True
    ) -> dict[str, Array]:
        """Send a request and wait for its outputs, for ``timeout`` seconds if given.

        Raises:
            InvalidRequestError: a name, dtype, rank or size that the model does not take.
            OverloadedError: this driver has too many under way, and it must not wait for room.
            DeadlineError: it was not answered in time; it says where it was.
            RequestFailedError: no card could answer; it says what was tried.
        """
        future = self.submit(inputs, timeout=timeout, wait=wait)
        try:
            return future.result()
        finally:
            future.cancel()  # Ctrl-C: nobody waits for it any more

    async def predict_async(
        self, inputs: Arrays, *, timeout: float | None = None, wait: bool = True
    ) -> dict[str, Array]:
        """``predict`` for any event loop; cancelling the task cancels the request."""
        running = self._orchestrator._require()
        future = await running.submit_async(self.name, inputs, timeout, wait)
        return await asyncio.wrap_future(future)

    def map(
        self, batches: Iterable[Arrays], *, window: int = _MAP_WINDOW, timeout: float | None = None
    ) -> Iterator[dict[str, Array]]:
        """Answers for a stream of requests, in its order, with many in flight.

        Reads ahead by at most ``window`` requests and 128 MiB of inputs, so that neither a fast
        source nor a slow consumer fills the memory. Errors come at the request's place;
        ``timeout`` is that of each request.
        """
        flying: deque[tuple[Future[dict[str, Array]], int]] = deque()
        held = 0
        try:
            for inputs in batches:
                future = self._submit_or_fail(inputs, timeout)
                nbytes = _nbytes(inputs)
                flying.append((future, nbytes))
                held += nbytes
                while flying and (len(flying) >= window or held > _MAP_BYTES):
                    future, nbytes = flying.popleft()
                    held -= nbytes
                    yield future.result()
            while flying:
                yield flying.popleft()[0].result()
        finally:
            for future, _ in flying:
                future.cancel()

    def map_unordered(
        self, batches: Iterable[Arrays], *, window: int = _MAP_WINDOW, timeout: float | None = None
    ) -> Iterator[tuple[int, dict[str, Array]]]:
        """``map``, but each answer as soon as it is there, with its request's place in the stream.

        One slow request holds nobody else up. An error ends the stream when it comes.
        """
        flying: dict[Future[dict[str, Array]], tuple[int, int]] = {}
        ready: SimpleQueue[Future[dict[str, Array]]] = SimpleQueue()
        held = 0
        try:
            for place, inputs in enumerate(batches):
                future = self._submit_or_fail(inputs, timeout)
                flying[future] = place, _nbytes(inputs)
                held += flying[future][1]
                future.add_done_callback(ready.put)
                while flying and (len(flying) >= window or held > _MAP_BYTES or not ready.empty()):
                    done = ready.get()
                    number, nbytes = flying.pop(done)
                    held -= nbytes
                    yield number, done.result()
            while flying:
                done = ready.get()
                yield flying.pop(done)[0], done.result()
        finally:
            for future in flying:
                future.cancel()

    def _submit_or_fail(self, inputs: Arrays, timeout: float | None) -> "Future[dict[str, Array]]":
        try:
            return self.submit(inputs, timeout=timeout)
        except InvalidRequestError as error:
            failed: Future[dict[str, Array]] = Future()
            failed.set_exception(error)
            return failed


def _nbytes(inputs: object) -> int:
    """Bytes of a request that nobody has checked."""
    arrays = inputs.values() if isinstance(inputs, Mapping) else ()
    return sum(getattr(array, "nbytes", 0) for array in arrays)
