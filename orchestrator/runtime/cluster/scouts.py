"""Asks Ray for cards that the cluster does not have yet, by actors that wait for one each.

Ray's autoscaler adds nodes for actors that wait, some at a time, and takes nodes back on which
nothing is left. A deployment may beside have all its cards requested in one step, see requested.py,
so that nodes come sooner. Scouts are still what tells on which node a card is, and what holds it;
and as a request counts cards that others use too, they alone bring more where those are as many.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from orchestrator.inventory import ray_resources
from orchestrator.runtime.cluster.discover import alive_nodes


@dataclass
class _Scout:
    """``before``: the nodes that were there when it was ``asked`` for a card."""

    actor: Any
    asked: float
    before: frozenset[str]
    stands_in: bool
    found: "Future[str]"
    seen: bool = False

    @property
    def measures(self) -> bool:
        """Whether its node started for it: none was there, nor on its way for another before it."""
        return not self.stands_in and self.found.result() not in self.before


class _Waiter:
    """Takes up one card, and says where it is."""

    def where(self) -> str:
        return ray.get_runtime_context().get_node_id()


class Scouts:
    """Keeps so many actors waiting for a card; each holds the one that it got until ``release``."""

    def __init__(self, resource: str) -> None:
        self._resource = resource
        self._scouts: list[_Scout] = []
        self._owed = 0
        self.node_seconds: float | None = None
        """How long the last node took to start; None as long as none has for a card of ours."""

    def want(self, count: int) -> None:
        """So many cards are wanted beside those that are free."""
        self._owed = 0
        while len(self._scouts) < count:
            self._scouts.append(self._sent())
        while len(self._scouts) > count:
            waiting = [one for one in self._scouts if not one.found.done()]
            self._end(waiting[-1] if waiting else self._scouts[-1])

    def found(self) -> list[str]:
        """The node of each card that was got."""
        nodes = []
        for one in list(self._scouts):
            if one.found.done() and one.found.exception() is not None:
                self._end(one)
            elif one.found.done():
                if not one.seen and one.measures:
                    self.node_seconds = time.monotonic() - one.asked
                one.seen = True
                nodes.append(one.found.result())
        return nodes

    def release(self) -> None:
        """Give back the cards that were got, for whoever comes next to take them."""
        for one in list(self._scouts):
            if one.found.done():
                self._end(one)

    def make_way(self, waiting: Mapping[str, int]) -> None:
        """Give back cards on nodes where so many of our own processes wait for one.

        A card that was given back goes to whoever Ray asks first: that may be a scout which still
        waited for one anywhere, and would keep it from the process that can run on its node alone.
        Others stand in for those that made way once no process waits, or they would take it again.
        """
        left = Counter(waiting)
        for one in list(self._scouts):
            here = one.found.done() and one.found.exception() is None and one.found.result()
            if here and left[here] > 0:
                left[here] -= 1
                self._end(one)
                self._owed += 1
        if not waiting:
            self._scouts += [self._sent(stands_in=True) for _ in range(self._owed)]
            self._owed = 0

    def close(self) -> None:
        """Want none."""
        self.want(0)

    def _sent(self, stands_in: bool = False) -> _Scout:
        remote: Any = ray.remote(num_cpus=0, max_restarts=0, **ray_resources({self._resource: 1}))
        before, asked, actor = alive_nodes(), time.monotonic(), remote(_Waiter).remote()
        return _Scout(actor, asked, before, stands_in, actor.where.remote().future())

    def _end(self, scout: _Scout) -> None:
        self._scouts.remove(scout)
        with contextlib.suppress(RayError):
            ray.kill(scout.actor, no_restart=True)
