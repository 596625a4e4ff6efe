"""Start a Ray for one machine with only the processes that it needs.

Ray starts an autoscaler, a reader of logs and a dashboard server with every head, whatever
``ray.init`` is told (ray/_private/node.py). Each is a Python process that imports all of Ray while
the raylet waits for its agents, 30 seconds at most: on a small machine they make the start take
more than twice as long, or fail. Nothing of ours talks to them: there are no nodes to add, logs
stay in their files, and there is no dashboard.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping

from ray._private.node import Node

#: No report to Ray's makers, and no idle workers: cards need fresh processes anyway. Ray lets its
#: workers give way to everything else on the machine; a card must not wait for that.
_SETTINGS = {
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
}
#: A version of Ray that names them otherwise starts them after all.
_STARTERS = ("start_monitor", "start_log_monitor", "start_api_server")


@contextlib.contextmanager
def light_start() -> Iterator[None]:
    """What ``ray.init`` starts within this block is light."""
    with _environment(_SETTINGS), _left_out(_STARTERS):
        yield


@contextlib.contextmanager
def _left_out(starters: tuple[str, ...]) -> Iterator[None]:
    before = {name: getattr(Node, name) for name in starters if hasattr(Node, name)}
    for name in before:
        setattr(Node, name, _start_nothing)
    try:
        yield
    finally:
        for name, starter in before.items():
            setattr(Node, name, starter)


def _start_nothing(node: Node, **_told: object) -> None:
    """Stand in for a method that starts a process."""


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set what is not set, and take it back."""
    added = [name for name in values if name not in os.environ]
    os.environ.update({name: values[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
