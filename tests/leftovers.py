"""What a module or a package of tests leaves running: nothing, or it fails.

Their conftest imports the fixtures. What a package shares beyond a module says so: ``keeps``.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil
import pytest
import ray
from ray.util import list_named_actors

#: Processes and threads that have been told to end get so long on a busy machine.
_SECONDS = 180.0
#: Ray's own, while it runs: its servers, agents, and workers that wait for somebody's work.
_OF_RAY = ("/ray/", "ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "Worker ray::")
#: What Ray Data keeps beside them.
_OF_RAY_DATA = ("ray::_", "ray::ActorLocationTracker")
_THREADS_OF_RAY = ("ray_", "PythonGCThread")
#: It outlives Ray itself.
_THREAD_OF_RAY_DATA = "data-usage-metrics-poller"


@dataclass(frozen=True)
class _Kept:
    pids: Callable[[], set[int]]
    threads: frozenset[threading.Thread]


_kept: list[_Kept] = []


@dataclass(frozen=True)
class Left:
    """Processes as pid and command, threads, and named actors."""

    processes: frozenset[tuple[int, str]]
    threads: frozenset[threading.Thread]
    actors: frozenset[str]

    def beyond(self, before: "Left") -> list[str]:
        """What is there now and was not before, nor is kept."""
        pids = {pid for pid, _ in before.processes}.union(*(one.pids() for one in _kept))
        threads = before.threads.union(*(one.threads for one in _kept))
        return [
            *(f"process {pid}: {told}" for pid, told in self.processes if pid not in pids),
            *(f"thread {thread.name}" for thread in self.threads - threads),
            *(f"actor {name}" for name in self.actors - before.actors),
        ]


def left() -> Left:
    """As of now."""
    named = list_named_actors(all_namespaces=True) if ray.is_initialized() else []
    return Left(
        frozenset(_processes()),
        frozenset(one for one in threading.enumerate() if not _thread_of_ray(one)),
        frozenset(
            f"{one['namespace']}/{one['name']}"
            for one in named
            if one["namespace"].startswith("ascend-orchestrator")
        ),
    )


@contextlib.contextmanager
def keeps(pids: Callable[[], set[int]], before: Left) -> Iterator[None]:
    """Until the end these processes, and the threads since ``before``, may outlive their module."""
    one = _Kept(pids, left().threads - before.threads)
    _kept.append(one)
    try:
        yield
    finally:
        _kept.remove(one)


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Processes, threads and named actors are at the end what they were before the module."""
    yield from _compared()


@pytest.fixture(scope="package", autouse=True)
def nothing_is_left_of_all() -> Iterator[None]:
    """The same of a package, and of the Ray that its modules share."""
    yield from _compared()


def _compared() -> Iterator[None]:
    before = left()
    yield
    late = time.monotonic() + _SECONDS
    while (more := left().beyond(before)) and time.monotonic() < late:
        time.sleep(0.1)
    assert not more, "left running: " + ", ".join(more)


def _processes() -> Iterator[tuple[int, str]]:
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            told = " ".join(" ".join(process.cmdline()).split()) or process.name()
            if process.status() != psutil.STATUS_ZOMBIE and not _of_ray(told):
                yield process.pid, told[:120]


def _of_ray(told: str) -> bool:
    return ray.is_initialized() and any(mark in told for mark in _OF_RAY + _OF_RAY_DATA)


def _thread_of_ray(thread: threading.Thread) -> bool:
    # Python notes a library's own thread when that calls Python and is asked who it is, as by a log
    # line in a callback of Ray, and keeps the note for ever; all others of the kind it never sees.
    if thread.name == _THREAD_OF_RAY_DATA or isinstance(thread, threading._DummyThread):
        return True
    return ray.is_initialized() and thread.name.startswith(_THREADS_OF_RAY)
