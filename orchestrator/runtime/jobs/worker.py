"""A worker of a batch job: the Ray actor that does parts of it on some node of the cluster.

It reads its parts, runs the pipeline on them and writes them; between it and the job's driver only
counts, refusals and the names of written files travel.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.errors import JobError, OrchestratorError
from orchestrator.jobs import Part, Reject, Settled
from orchestrator.runtime.calls.following import Borrowed, Following, Seen
from orchestrator.runtime.calls.outlook import Sent
from orchestrator.runtime.cluster.package import package_version, require_equal
from orchestrator.runtime.io.begun import Beginning
from orchestrator.runtime.io.draft import Drafts, Place
from orchestrator.runtime.jobs.work import Task, Work
from orchestrator.runtime.options import Options

_log = logging.getLogger(__name__)

#: News that nobody waits for urgently is gathered for so long: one call carries it all.
_GATHER_SECONDS = 0.05
#: So often a worker says what it waits for, where cards follow the work.
_TELL_SECONDS = 1.0
#: Calls of one worker at once: news waits, parts are written, and control must get through.
_THREADS = 8


@dataclass(frozen=True)
class WorkOrder:
    """What a worker does. ``models_of`` makes what the pipeline calls of a way to the cards.

    ``seen`` are the cards, None where there are no models. ``owner`` is what the output folder
    says of whom it belongs to, where it is seen.
    """

    task: Task
    place: Place
    owner: str
    models_of: Callable[[Following], object]
    seen: Seen | None
    options: Options
    package: str = field(default_factory=package_version)


@dataclass(frozen=True)
class SetAside:
    """See Told."""

    part: Part
    reject: Reject


@dataclass(frozen=True)
class BatchSettled:
    """See Told."""

    part: Part
    batch: int
    settled: Settled


@dataclass(frozen=True)
class PartEnded:
    """See Told."""

    part: Part
    batches: int


@dataclass(frozen=True)
class Unreachable:
    """A call found a card gone."""

    slot: str
    life: int
    reason: str


@dataclass(frozen=True)
class Trying:
    """The worker touches the record of this number of a part, or none; it waits until we know."""

    part: Part
    number: int | None


@dataclass(frozen=True)
class Blamed:
    """A request was set aside for so many deaths of these slots' processes."""

    deaths: Mapping[str, int]


@dataclass(frozen=True)
class Over:
    """The worker has ended its work: stopped, or by an error. ``answered``: requests by model."""

    error: OrchestratorError | None
    answered: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Sends:
    """What the worker waits for: cards may be added for it."""

    sent: Sent


News = SetAside | BatchSettled | PartEnded | Trying | Unreachable | Blamed | Sends | Over


class _Outbox:
    """What the driver has not heard yet."""

    def __init__(self) -> None:
        self._news: list[News] = []
        self._changed = threading.Condition()

    def put(self, news: News) -> None:
        with self._changed:
            self._news.append(news)
            self._changed.notify()

    def take(self) -> list[News]:
        """All there is; waits for something, if not for long."""
        with self._changed:
            self._changed.wait_for(lambda: self._news, _TELL_SECONDS)
            gathered = time.monotonic() + _GATHER_SECONDS
            while (left := gathered - time.monotonic()) > 0 and not self._urgent():
                self._changed.wait(left)
            news, self._news = self._news, []
            return news

    def _urgent(self) -> bool:
        """Whether somebody waits: for the next part, or for a card to be looked at."""
        return any(not isinstance(one, BatchSettled | SetAside) for one in self._news)

    async def set_aside(self, part: Part, reject: Reject) -> None:
        """See Told."""
        self.put(SetAside(part, reject))

    async def settled(self, part: Part, batch: int, settled: Settled) -> None:
        """See Told."""
        self.put(BatchSettled(part, batch, settled))

    async def ended(self, part: Part, batches: int) -> None:
        """See Told."""
        self.put(PartEnded(part, batches))


class _Inbox:
    """Parts that the driver has given, for the event loop of the work."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._parts: deque[Part | None] = deque()
        self._more = asyncio.Event()

    def put(self, part: Part | None) -> None:
        """One more, or none ever; from any thread."""
        self._parts.append(part)
        self.loop.call_soon_threadsafe(self._more.set)

    async def take(self) -> Part | None:
        """The next one; waits for it. After the last, None whoever asks."""
        while not self._parts:
            self._more.clear()
            await self._more.wait()
        return self._parts[0] and self._parts.popleft()


class JobWorker:
    """What Ray runs in a worker's process. ``open`` comes first.

    No method is ``async``, nor may one be: Ray would run all of them on one event loop.
    """

    def __init__(self) -> None:
        self._outbox = _Outbox()
        self._stop = threading.Event()
        self._traffic: Borrowed | None = None
        self._next_tell = 0.0
        self._noted = asyncio.Event()
        self._inbox: _Inbox
        self._work: Work

    def open(self, order: WorkOrder) -> str:
        """Begin, and tell on which node; on none where input or output are not seen from it.

        Raises:
            PackageDiffersError: this node has another version of this project.
        """
        node_id = ray.get_runtime_context().get_node_id()
        require_equal("a worker of the job", node_id, package_version(), order.package)
        seen_here = order.place.store.owner() == order.owner
        if not (seen_here and order.task.source.seen_from_here()):
            return ""
        models: object = None
        if order.seen is not None:
            self._traffic = Borrowed(order.options, order.seen, self._lost, self._blamed)
            models = order.models_of(self._traffic)
        self._inbox = _Inbox()
        self._work = Work(order.task, models, self._outbox, self._unserved)
        threading.Thread(target=self._run, name="job", daemon=True).start()
        return str(node_id)

    def follow(self, seen: Seen) -> None:
        """The cards are now as told."""
        if self._traffic is not None:
            self._traffic.apply(seen)

    def looked(self, slot: str, life: int, there: bool) -> None:
        """See Following."""
        if self._traffic is not None:
            self._traffic.looked(slot, life, there)

    def give(
        self, part: Part, deadly: Mapping[int, int] | None, beginning: Beginning | None
    ) -> None:
        """One more part to do, as ``Work.beware`` says with ``deadly``, or ``Work.go_on``."""
        if deadly is not None:
            self._work.beware(part, deadly, partial(self._note, part))
        elif beginning is not None:
            self._work.go_on(part, beginning)
        self._inbox.put(part)

    def noted(self) -> None:
        """The driver knows which record is touched."""
        self._inbox.loop.call_soon_threadsafe(self._noted.set)

    def news(self) -> list[News]:
        """What has happened since the last call; waits for something, if not for long."""
        news = self._outbox.take()
        traffic, now = self._traffic, time.monotonic()
        if traffic is None or traffic.plan.deployment.autoscale is None or now < self._next_tell:
            return news
        self._next_tell = now + _TELL_SECONDS
        return [Sends(traffic.sent()), *news]

    def write(
        self, part: Part, place: Place, schema: pa.Schema | None, batches: int | None
    ) -> Drafts:
        """See Work."""
        return self._work.write(part, place, schema, batches)

    def saved(self, part: Part) -> None:
        """See Work."""
        self._work.saved(part)

    def stop(self) -> None:
        """Finish what is in flight, read no further, and be over; results stay to be written."""
        self._stop.set()
        self._inbox.put(None)

    def _run(self) -> None:
        error: OrchestratorError | None = None
        try:
            asyncio.set_event_loop(self._inbox.loop)
            self._inbox.loop.run_until_complete(self._work.run(self._inbox.take, self._stop))
        except OrchestratorError as problem:
            error = problem
        except BaseException as mistake:  # of ours, which the driver must hear of
            _log.exception("a worker of a job failed")
            error = JobError("a worker of the job", repr(mistake))
        answered = {} if self._traffic is None else self._traffic.answered()
        self._outbox.put(Over(error, answered))

    async def _note(self, part: Part, number: int | None) -> None:
        self._noted.clear()
        self._outbox.put(Trying(part, number))
        await self._noted.wait()

    def _lost(self, slot: str, life: int, reason: str) -> None:
        self._outbox.put(Unreachable(slot, life, reason))

    def _blamed(self, deaths: Mapping[str, int]) -> None:
        self._outbox.put(Blamed(deaths))

    def _unserved(self, model: str) -> str:
        return "" if self._traffic is None else self._traffic.unserved(model)


class WorkerProcess:
    """A worker's process as the driver calls it."""

    def __init__(self, cpus: float, node: str | None = None) -> None:
        there = "SPREAD" if node is None else NodeAffinitySchedulingStrategy(node, soft=False)
        decorate: Any = ray.remote
        remote = decorate(
            num_cpus=cpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=_THREADS,
            scheduling_strategy=there,
        )(JobWorker)
        self._actor = remote.remote()

    def call(self, method: str, *arguments: object) -> "Future[Any]":
        """Call a method; fails with RayTaskError if it raises, else as the process is gone."""
        try:
            found: Future[Any] = getattr(self._actor, method).remote(*arguments).future()
        except RayError as error:  # known to be dead, or there is no room for the arguments
            found = Future()
            found.set_exception(error)
        return found

    def kill(self) -> None:
        """End the process now."""
        with contextlib.suppress(RayError):  # it may have ended already
            ray.kill(self._actor, no_restart=True)
