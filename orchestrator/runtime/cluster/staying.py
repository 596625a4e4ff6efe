"""What keeps Ray from starting a cluster by itself while we are connected to one.

Ray does so for any call of a process that is connected to none (ray/_private/auto_init_hook.py). A
call of ours that comes after a ``ray.shutdown()`` of the user's would be such a one.
"""

import threading
from types import ModuleType
from typing import Any

import ray
from ray.exceptions import RaySystemError

try:
    from ray._private import auto_init_hook as _hook
except ImportError:  # a version of Ray that has it elsewhere: it then does as ever
    _hook = ModuleType("nothing")


class Staying:
    """``hold`` as often as something connects, ``release`` when it leaves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = 0
        self._before: dict[str, Any] = {}

    def hold(self) -> None:
        """From now on Ray raises RaySystemError where it would start a cluster by itself."""
        with self._lock:
            if not self._held:
                ours = {"auto_init_ray": _stay, "enable_auto_connect": False}
                self._before = {name: getattr(_hook, name) for name in ours if hasattr(_hook, name)}
                self._set({name: ours[name] for name in self._before})
            self._held += 1

    def release(self) -> None:
        """Once nobody holds it any more, as before."""
        with self._lock:
            self._held -= 1
            if not self._held:
                self._set(self._before)

    def _set(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            setattr(_hook, name, value)


def _stay() -> None:
    if not ray.is_initialized():
        told = "this process has left its Ray, where an Orchestrator still open has its cards"
        raise RaySystemError(told)  # type: ignore[no-untyped-call]
