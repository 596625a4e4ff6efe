"""A deployment as its controller keeps it: the record of it, and who is told when it changes."""

import asyncio
import logging
import secrets
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import replace

from orchestrator.placement import DeploymentPlan
from orchestrator.runtime.cards.losses import Losses
from orchestrator.runtime.cards.record import Record, forget

_log = logging.getLogger(__name__)

#: A driver that has heard nothing for so long asks again.
_FOLLOW_SECONDS = 20.0


class Kept:
    """The record of a deployment, changed under one lock; the newest is in the cluster's store."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._lock = threading.Lock()
        self._forgotten = False

    @property
    def plan(self) -> DeploymentPlan:
        """See Scaled."""
        return self._record.plan

    @property
    def asleep(self) -> bool:
        """See Scaled."""
        return self._record.asleep

    @property
    def nodes(self) -> Mapping[str, str]:
        """See Scaled."""
        return self._record.nodes

    @property
    def drained(self) -> Collection[str]:
        """See Scaled."""
        return self._record.drained | self._record.losses.lost.keys()

    @property
    def losses(self) -> Losses:
        """See Planned."""
        return self._record.losses

    def update_losses(self, change: Callable[[Losses], Losses]) -> None:
        """See Planned."""
        self._keep(lambda before: replace(before, losses=change(before.losses)))

    def _keep(self, change: Callable[[Record], Record]) -> None:
        with self._lock:
            self._put(change(self._record))

    def _put(self, record: Record) -> None:
        """Go by another record once it is in the store. Callers hold the lock."""
        if not self._forgotten:
            record.save()
        self._record = record

    def _forget(self) -> None:
        """Keep nothing any more, from whatever is under way either."""
        with self._lock:
            self._forgotten = True
            forget(self._record.name)

    def _keep_at_last(self, change: Callable[[Record], Record]) -> None:
        """Keep what has become of cards: now, or with the next change if the store is away.

        Cards are to be replaced all the same.
        """
        with self._lock:
            self._record = change(self._record)
            try:
                self._put(self._record)
            except Exception:
                name = self._record.name
                _log.exception("deployment %s: what became of its cards is not kept", name)


class News:
    """Counts what drivers must hear of, and lets them wait for it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Future[None]] = []
        self.version = (secrets.token_hex(4), 0)
        """Differs from that of every controller before, too."""

    def post(self) -> None:
        """Let everybody who follows look again."""
        with self._lock:
            self.version = (self.version[0], self.version[1] + 1)
            waiting, self._waiting = self._waiting, []
        for news in waiting:
            if news.set_running_or_notify_cancel():
                news.set_result(None)

    async def after(self, seen: tuple[str, int] | None) -> bool:
        """Return when there is another version than that; False if there was none for long."""
        news: Future[None] = Future()
        with self._lock:
            self._waiting = [one for one in self._waiting if not one.done()]
            if seen != self.version:
                news.set_result(None)
            else:
                self._waiting.append(news)
        try:
            await asyncio.wait_for(asyncio.wrap_future(news), _FOLLOW_SECONDS)
        except asyncio.TimeoutError:
            return False
        return True
