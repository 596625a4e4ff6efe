"""Stands in for pyACL: it answers from the emulated card, and keeps pyACL's rules on threads.

What an OM takes is what its name says: ``work 4096 weights 8192``.
"""

import ctypes
import os
import re
import threading
import time
from collections.abc import Callable

from standin_imports import note_import

note_import(__name__)
#: Every call with the thread that made it; bytes that other processes hold; forced answers.
calls: list[tuple[str, str]] = []
held = 0
codes: dict[str, int] = {}
devices = int(os.environ.get("STANDIN_CARDS", "1"))
has_hbm = True
on_read: Callable[[], None] = lambda: None  # noqa: E731


def _note(name: str) -> int:
    calls.append((name, threading.current_thread().name))
    return codes.get(name, 0)


def init() -> int:
    return _note("init")


def finalize() -> int:
    return _note("finalize")


def get_soc_name() -> str:
    return "Ascend310P3"


class rt:
    _set = threading.local()

    @classmethod
    def get_device_count(cls) -> tuple[int, int]:
        return devices, _note("get_device_count")

    @classmethod
    def set_device(cls, device_id: int) -> int:
        cls._set.device = device_id
        return _note("set_device")

    @staticmethod
    def reset_device(device_id: int) -> int:
        return _note("reset_device")

    @classmethod
    def get_mem_info(cls, kind: int) -> tuple[int, int, int]:
        code = _note("get_mem_info")
        device_id = getattr(cls._set, "device", None)
        if device_id is None:
            return 0, 0, 107002  # ACL_ERROR_RT_CONTEXT_NULL
        if kind == 1 and not has_hbm:
            return 0, 0, 0
        on_read()
        from actors import emulator  # the process that asks for an OM's sizes needs none

        found = emulator.memory(device_id)
        return found.capacity - found.card_memory.total - held, found.capacity, code

    @staticmethod
    def malloc(nbytes: int, policy: int) -> tuple[int, int]:
        return 1, 0

    @staticmethod
    def malloc_host(nbytes: int) -> tuple[int, int]:
        return 2, 0

    @staticmethod
    def memcpy(target: int, most: int, source: int, nbytes: int, kind: int) -> int:
        """A byte takes a microsecond; what was not allocated cannot be copied."""
        if {1: (1, 2), 2: (2, 1)}[kind] != (target, source) or nbytes > most:
            return 107000
        time.sleep(nbytes / 1e6)
        return 0

    @staticmethod
    def free(pointer: int) -> int:
        return 0

    free_host = free


class mdl:
    @staticmethod
    def query_size_from_mem(pointer: int, size: int) -> tuple[int, int, int]:
        om = ctypes.string_at(pointer, size)
        found = re.search(rb"work (\d+) weights (\d+)", om)
        return (int(found[1]), int(found[2]), 0) if found else (0, 0, 500002)
