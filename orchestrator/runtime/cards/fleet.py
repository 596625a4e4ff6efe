"""Card processes as Ray actors: start one on a node, call it, end it.

Every call returns a ``concurrent.futures.Future`` that fails with one of our own errors: what the
card raised, or CardLostError when the process or its node is gone. No thread waits for a call.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import cached_property, partial
from typing import Any

import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnschedulableError,
    ObjectStoreFullError,
    OutOfDiskError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.errors import OrchestratorError
from actors.machine.hostmemory import HostMemory
from actors.messages import (
    Answers,
    CardIdentity,
    CardKind,
    CardOrder,
    CardStats,
    LoadReport,
    MemoryReport,
    Request,
)
from orchestrator.errors import CardLostError, NoRoomError, PackageDiffersError
from orchestrator.inventory import ray_resources
from orchestrator.runtime.cards.host import CardHost, Held
from orchestrator.runtime.cards.parcels import pack_requests, unpack_answers
from orchestrator.runtime.cluster.package import package_version, require_same

#: Threads for control calls: a load takes one for long, stats and stop must still get through.
_CONTROL_THREADS = 3
#: So many calls with data are on a card at once, from all drivers; those of further ones wait in
#: Ray, in the order in which they came, where nobody's share and priority count. A thread only
#: waits for the card.
_DATA_THREADS = 128
_HOST_FULL = (
    "Ray killed its process because the memory of its host, not of the card, ran out: other "
    "processes there, the object store, or inputs and outputs in flight took it"
)
#: What Ray and Python raise where a call or its answers find no memory on their way.
_NO_ROOM = (MemoryError, ObjectStoreFullError, OutOfDiskError)
_LOST = (RayActorError, OutOfMemoryError, ActorUnschedulableError)
#: What an actor dies of where its class cannot be imported; the reason comes last.
_NOT_IMPORTED = "failed to import on the worker"
#: Detached processes are named so, with their life.
_CARD = "card-"


class CardProcess:
    """The process of one card. ``label`` names it in errors until it is bound to a slot.

    ``life`` is its number among all of its deployment. May be sent to other processes.
    """

    def __init__(self, actor: Any, life: int, resource: str, kind: CardKind) -> None:  # noqa: ANN401
        self._actor = actor
        self.life = life
        self.label = f"process {life}"
        self._resource = resource
        self._kind = kind

    def identify(self) -> "Future[CardIdentity]":
        """Which card it was given. Waits for as long as the node has no card to give."""
        asked = (self._resource, self._kind)
        accept = partial(require_same, f"card {self.label}")
        return self._call(self._actor.identify, *asked, accept=accept)

    def watch(self) -> "Future[None]":
        """Ends with the process: CardLostError when it died, None when it was stopped."""
        return self._call(self._actor.watch)

    def enter(self, peak: int) -> "Future[None]":
        """See CardHost.enter."""
        return self._call(self._actor.enter, peak)

    def load(self, order: CardOrder) -> "Future[LoadReport]":
        """See CardActor.load."""
        return self._call(self._actor.load, order)

    def held(self) -> "Future[Held | None]":
        """What it has loaded, if it serves."""
        return self._call(self._actor.held)

    def predict_many(self, requests: Sequence[Request], reservation: int = 0) -> "Future[Answers]":
        """See CardActor.predict_many. Arrays above about 100 kB travel by shared memory."""
        try:
            parcel = pack_requests(requests, reservation, time.monotonic())
        except Exception as error:
            answer: Future[Answers] = Future()
            answer.set_exception(ours(error, self.label))
            return answer
        return self._call(self._actor.predict_many, parcel, accept=unpack_answers)

    def predict_here(self, requests: Sequence[Request]) -> Answers:
        """``predict_many``, waited for in this thread, which takes less than a future does."""
        try:
            parcel = pack_requests(requests, reservation=0, now=time.monotonic())
            return unpack_answers(ray.get(self._actor.predict_many.remote(parcel)))
        except Exception as error:
            raise ours(error, self.label) from None

    def reserve(self) -> "Future[int]":
        """See CardActor.reserve."""
        return self._call(self._actor.reserve)

    def forget(self, request_ids: Sequence[int]) -> None:
        """See CardActor.forget. Nobody waits for it: it only spares the card work."""
        with contextlib.suppress(RayError):
            self._actor.forget.remote(list(request_ids))

    def stats(self) -> "Future[CardStats]":
        """See CardActor.stats."""
        return self._call(self._actor.stats)

    def memory(self) -> "Future[MemoryReport]":
        """See CardActor.memory."""
        return self._call(self._actor.memory)

    def drain(self, timeout_seconds: float) -> "Future[bool]":
        """See CardActor.drain."""
        return self._call(self._actor.drain, timeout_seconds)

    def stop(self) -> "Future[None]":
        """See CardActor.stop."""
        return self._call(self._actor.stop)

    def kill(self) -> None:
        """End the process now, whatever it does."""
        with contextlib.suppress(RayError):  # it may have ended already
            ray.kill(self._actor, no_restart=True)

    def _call(
        self,
        method: Any,  # noqa: ANN401
        *arguments: object,
        accept: Callable[[Any], object] = lambda result: result,
    ) -> "Future[Any]":
        """A future that fails with our errors, also when the call could not be sent."""
        answer: Future[Any] = Future()

        def hand_over(result: "Future[Any]") -> None:
            error = result.exception()
            if error is not None:
                answer.set_exception(ours(error, self.label))
                return
            try:
                answer.set_result(accept(result.result()))
            except Exception as refused:  # ours, or there was no memory for what came back
                answer.set_exception(ours(refused, self.label))

        try:
            method.remote(*arguments).future().add_done_callback(hand_over)
        except Exception as error:  # no room in the object store, what cannot be pickled, a death
            answer.set_exception(ours(error, self.label))
        return answer


class Fleet:
    """Starts card processes; one card of ``resource`` each, restarts and retries switched off.

    With a ``home``, a Ray namespace, they are detached: named there, and alive until somebody ends
    them. ``first_life`` must then be above that of every process that was ever started there.
    """

    def __init__(
        self,
        resource: str,
        kind: CardKind,
        home: str | None = None,
        first_life: int = 1,
    ) -> None:
        self.resource = resource
        self._kind = kind
        self._home = home
        self._lives = itertools.count(first_life)

    @cached_property
    def _host(self) -> Any:  # noqa: ANN401 - Ray's stubs know no concurrency groups
        """What Ray starts, pickled and sent to the cluster once for all processes."""
        decorate: Any = ray.remote
        return decorate(
            num_cpus=0,
            **ray_resources({self.resource: 1}),
            max_restarts=0,
            max_task_retries=0,
            concurrency_groups={
                "control": _CONTROL_THREADS,
                "data": _DATA_THREADS,
                "life": 1,
            },
        )(CardHost)

    def launch(self, node_id: str, host: HostMemory) -> CardProcess:
        """Start an empty process on a node. It waits there until the node has a free card.

        ``host``: what it will take of the host's memory, which Ray then gives to nobody else.
        """
        life = next(self._lives)
        taken = {"memory": host.lasting} if host.lasting else {}
        detached = {"name": f"{_CARD}{life}", "namespace": self._home, "lifetime": "detached"}
        actor = self._host.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
            **taken,
            **(detached if self._home else {}),
        ).remote()
        return CardProcess(actor, life, self.resource, self._kind)

    def found(self) -> list[CardProcess]:
        """The processes that were started in this home and have not ended."""
        listed = ray.util.list_named_actors(all_namespaces=True)
        names = [one["name"] for one in listed if one["namespace"] == self._home]
        found = []
        for name in names:
            if name.startswith(_CARD):
                with contextlib.suppress(ValueError):  # it has ended meanwhile
                    actor = ray.get_actor(name, namespace=self._home)
                    life = int(name.removeprefix(_CARD))
                    found.append(CardProcess(actor, life, self.resource, self._kind))
        return found


def ours(error: BaseException, card: str) -> Exception:
    """Translate what a call to a card raised."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, OrchestratorError):
        return cause
    if isinstance(cause, _NO_ROOM):
        return NoRoomError(card, str(cause).partition("\n")[0] or repr(cause))
    if isinstance(error, ActorDiedError) and _NOT_IMPORTED in str(error):
        there = f"that cannot be imported ({str(error).strip().splitlines()[-1]})"
        return PackageDiffersError(f"card {card}", "", there, package_version())
    if isinstance(error, RayTaskError):
        return RuntimeError(f"card {card} raised {cause!r}\n{error.traceback_str}")
    if isinstance(error, _LOST):
        return CardLostError(card, _why(error))
    return error if isinstance(error, Exception) else RuntimeError(repr(error))


def _why(error: RayError) -> str:
    """Ray's paragraph on a dead actor in a few words; its list of guesses is left out."""
    if isinstance(error, OutOfMemoryError):
        return _HOST_FULL
    if isinstance(error, ActorUnschedulableError):
        return "its node is gone, or too small for what its process declares"
    text = str(error).partition("Some common causes")[0]
    if "memory monitor" in text or "Out of memory" in text or "OutOfMemory" in text:
        return _HOST_FULL
    if "node" in text and ("died" in text.partition("\n")[0] or "marked dead" in text):
        return "its node is gone"
    if isinstance(error, ActorDiedError):
        return "its process died"
    return "its process or its node cannot be reached"
