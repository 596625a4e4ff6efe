"""When the processes of a node may load, so that the host's memory holds their peaks."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock

from actors.hostmemory import HostMemory
from actors.messages import CardIdentity, CardOrder, LoadReport
from orchestrator.runtime.fleet import CardProcess

Begin = Callable[[], None]


@dataclass
class NodeStarts:
    """The loads of one node: what ``enter`` and ``leave`` return may begin now. Pure.

    Loads whose peaks fit together into what was free before the first of them run at the same time;
    one may always run, since waiting would not make more room. First come, first served.
    """

    free: int = 0
    loading: list[HostMemory] = field(default_factory=list)
    waiting: deque[tuple[HostMemory, Begin]] = field(default_factory=deque)

    def enter(self, needs: HostMemory, free: int, begin: Begin) -> list[Begin]:
        """One more wants to load; ``free``: what its process has just seen free on the host."""
        if not self.loading:
            self.free = free
        self.waiting.append((needs, begin))
        return self._next()

    def leave(self, needs: HostMemory, *, stays: bool) -> list[Begin]:
        """One has loaded and stays, or has ended."""
        self.loading.remove(needs)
        self.free -= needs.steady if stays else 0
        return self._next()

    def _next(self) -> list[Begin]:
        begun = []
        while self.waiting:
            needs, begin = self.waiting[0]
            if self.loading and sum(one.peak for one in (*self.loading, needs)) > self.free:
                break
            self.waiting.popleft()
            self.loading.append(needs)
            begun.append(begin)
        return begun


class Starts:
    """The loads of all nodes. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._nodes: dict[str, NodeStarts] = {}

    def load(
        self,
        process: CardProcess,
        order: CardOrder,
        identity: CardIdentity,
        on_begin: Callable[[], None],
    ) -> "Future[LoadReport]":
        """Let a process load as soon as its host has the memory for it; ``on_begin`` is then."""
        report: Future[LoadReport] = Future()

        def begin() -> None:
            on_begin()
            process.load(order).add_done_callback(end)

        def end(done: "Future[LoadReport]") -> None:
            with self._lock:
                begun = node.leave(order.host, stays=done.exception() is None)
            _call(begun)
            if done.exception() is None:
                report.set_result(done.result())
            else:
                report.set_exception(done.exception())

        with self._lock:
            node = self._nodes.setdefault(identity.node_id, NodeStarts())
            begun = node.enter(order.host, identity.host_free_bytes, begin)
        _call(begun)
        return report


def _call(begun: list[Begin]) -> None:
    for begin in begun:
        begin()
