"""Nodes of the package's Ray: processes here, which tests may kill."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import ray

#: What the cards of these nodes are called, so that no other test takes them.
RESOURCE = "FAR"


class NodeProcess:
    """A node that joined, and its cards. ``kill`` is that of its raylet, as of a lost machine."""

    def __init__(self, process: "subprocess.Popen[bytes]", node_id: str) -> None:
        self._process = process
        self.node_id = node_id

    def kill(self) -> list[int]:
        """The processes that were ended."""
        ended = []
        for child in psutil.Process(self._process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.name() == "raylet":
                    child.kill()
                    ended.append(child.pid)
        return ended

    def end(self) -> None:
        family: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(self._process.pid).children(recursive=True)
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def further_node(cards: int = 1) -> Iterator[NodeProcess]:
    """One more node with so many cards."""
    before = _alive()
    words = f"""start --address={ray.get_runtime_context().gcs_address} --block --num-cpus=1
        --object-store-memory=80000000 --disable-usage-stats --include-log-monitor=false"""
    command = [Path(sys.executable).with_name("ray"), *words.split()]
    node: NodeProcess | None = None
    while node is None:  # Ray's own limit for a start is tight on a busy machine
        process = subprocess.Popen(
            [*command, f'--resources={{"{RESOURCE}": {cards}}}'],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and node is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.1)
            if new := _alive() - before:
                node = NodeProcess(process, new.pop())
    try:
        yield node
    finally:
        node.end()
        _until_gone(node.node_id)


def _until_gone(node_id: str) -> None:
    """Ray lists a node for some seconds more, and tests that follow would find it there."""
    for _ in range(600):
        if not ray.is_initialized() or node_id not in _alive():
            return
        time.sleep(0.1)


def _alive() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}
