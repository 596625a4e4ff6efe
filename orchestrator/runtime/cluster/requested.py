"""Asks Ray's autoscaler for all cards that deployments want in one step, however many they are.

Ray has ONE such request for a whole cluster, that of whoever called ``request_resources`` last, and
keeps it after its caller's death: nodes would stay, and be paid for, for ever. So one actor of the
cluster makes it for all deployments: the sum of what they want. Each of them says so again and
again; what is not said again within a lease counts no more, and after the last it requests nothing.
"""

import contextlib
import logging
import time
from concurrent.futures import Future, wait
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from orchestrator.runtime.cluster.discover import head_share

_LEASE_SECONDS = 30.0
#: How many times within a lease a want is said, and the actor looks whether it still holds.
_TIMES = 6
#: A deployment that ends waits for so long at most until it was heard.
_HEARD_SECONDS = 1.0
_NAME, _NAMESPACE = "requester", "ascend-orchestrator-requested"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Want:
    """``who`` wants so many cards of a resource in all, those that it has included."""

    who: str
    resource: str
    cards: int


class Wants:
    """What was wanted last by each who was heard within a lease. All times are the caller's."""

    def __init__(self, lease_seconds: float, now: float) -> None:
        self._lease_seconds = lease_seconds
        self._said: dict[str, tuple[Want, float]] = {}
        self._silent_until = now + lease_seconds

    def hear(self, want: Want, now: float) -> None:
        """It counts for a lease, instead of what ``who`` wanted before."""
        self._said[want.who] = want, now + self._lease_seconds
        self._silent_until = now

    def bundles(self, now: float) -> list[dict[str, int]]:
        """What to request: as many for each resource as all want together."""
        said = self._said.items()
        self._said = {who: one for who, one in said if one[0].cards and now < one[1]}
        wants = sorted((want.resource, want.cards) for want, _ in self._said.values())
        return [{resource: 1} for resource, cards in wants for _ in range(cards)]

    def over(self, now: float) -> bool:
        """Nobody wants any; those who spoke to one that died have had time to speak again."""
        return not self.bundles(now) and now >= self._silent_until


class Requester:
    """What Ray runs once in a cluster, as long as somebody wants cards."""

    def __init__(self, lease_seconds: float) -> None:
        self._every = lease_seconds / _TIMES
        self._wants = Wants(lease_seconds, time.monotonic())
        self._lock, self._heard = Lock(), Event()
        self._this = ray.get_runtime_context().current_actor
        Thread(target=self._run, name="orchestrator-requester", daemon=True).start()

    def want(self, want: Want) -> None:
        """Somebody wants so many."""
        with self._lock:
            self._wants.hear(want, time.monotonic())
        self._heard.set()

    def _run(self) -> None:
        from ray.autoscaler.sdk import request_resources

        requested: list[dict[str, int]] | None = None
        while True:
            self._heard.wait(self._every)
            self._heard.clear()
            try:
                with self._lock:
                    now = time.monotonic()
                    bundles, over = self._wants.bundles(now), self._wants.over(now)
                if bundles != requested:
                    request_resources(bundles=bundles)
                    requested = bundles
                if over:  # a want that comes now is lost with it, and said again
                    ray.kill(self._this, no_restart=True)
                    return
            except Exception:  # Ray's head is away, it may be: then the next time
                _log.exception("the autoscaler could not be asked")


class Claim:
    """What ``who``, a name that nobody else in the cluster has, wants of a resource."""

    def __init__(self, who: str, resource: str, lease_seconds: float = _LEASE_SECONDS) -> None:
        self._who, self._resource, self._lease_seconds = who, resource, lease_seconds
        self._actor: Any = None
        self._answer: Future[None] | None = None
        self._cards, self._due = 0, 0.0

    def want(self, cards: int) -> None:
        """So many in all. To be called again and again, if only every second; waits for nobody.

        Raises:
            RayError: it could not be said, now or the last time; a later call says it again.
        """
        if self._answer is not None:
            if not self._answer.done():
                return
            error, self._answer = self._answer.exception(), None
            if error is not None:
                self._actor = None
                if not isinstance(error, RayActorError) or error.actor_init_failed:
                    raise error
                self._due = 0.0  # it has ended since: another is told at once
        if cards != self._cards or (cards and time.monotonic() >= self._due):
            self._say(cards)

    def close(self) -> None:
        """Want none. One that could not say so is not heard of again, which is enough."""
        if self._cards:
            with contextlib.suppress(RayError, ValueError):
                wait([self._say(0)], _HEARD_SECONDS)

    def _say(self, cards: int) -> "Future[None]":
        self._actor = self._actor or _requester(self._lease_seconds)
        said = self._actor.want.remote(Want(self._who, self._resource, cards))
        answer: Future[None] = said.future()
        self._answer, self._cards = answer, cards
        self._due = time.monotonic() + self._lease_seconds / _TIMES
        return answer


def _requester(lease_seconds: float) -> Any:  # noqa: ANN401 - Ray's handle
    """The cluster's. Ray starts it anew when it dies, or what it requested would stay for ever."""
    remote: Any = ray.remote(Requester).options(
        name=_NAME,
        namespace=_NAMESPACE,
        get_if_exists=True,
        lifetime="detached",
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=0,
        resources=head_share(),
    )
    return remote.remote(lease_seconds)
