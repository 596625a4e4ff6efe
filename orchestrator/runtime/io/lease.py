"""Who may write to a store that has no locks: an object that says who, and when that was last so.

It is refreshed while its owner lives. Another run takes it when it is older than an owner would let
it become, or when its owner is seen to be dead: it writes its own, waits until whoever did the same
has read that, and reads it back.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import JobError
from orchestrator.runtime.io.store import LOCK, Store, taken


@dataclass(frozen=True)
class Pace:
    """Seconds, and the clock that they are measured by."""

    refresh: float = 10.0
    stale: float = 60.0
    settle: float = 1.0
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


class ObjectLease:
    """See Lease.

    Raises:
        JobError: a run that has not ended has it.
    """

    def __init__(self, store: Store, pace: Pace) -> None:
        self.nonce = uuid.uuid4().hex[:12]
        self._store, self._pace = store, pace
        self._over = threading.Event()
        self._writing = threading.Lock()
        there = read_lease(store)
        if there is None and LOCK in store.names():  # somebody may be writing it just now
            pace.sleep(pace.settle)
            there = read_lease(store)
        if there is not None:
            self._refuse_living(there)
        self._write()
        pace.sleep(pace.settle)
        self.check()
        threading.Thread(target=self._refresh, name="output lease", daemon=True).start()

    def check(self) -> None:
        """See Lease."""
        there = read_lease(self._store)
        if there is not None and there["nonce"] != self.nonce:
            raise taken(self._store.where)

    def close(self) -> None:
        """See Lease."""
        if self._over.is_set():
            return
        self._over.set()
        with self._writing, contextlib.suppress(OSError, JobError):
            self.check()
            self._store.delete(LOCK)

    def _refresh(self) -> None:
        while not self._over.wait(self._pace.refresh):
            try:
                with self._writing:
                    self.check()
                    if not self._over.is_set():
                        self._write()
            except OSError:
                continue  # the next time, or somebody takes it
            except JobError:
                return

    def _write(self) -> None:
        document = {
            "nonce": self.nonce,
            "owner": f"process {os.getpid()} on {socket.gethostname()}, run {self.nonce}",
            "time": self._pace.now(),
            "machine": _machine(),
            "process": os.getpid(),
        }
        self._store.put(LOCK, json.dumps(document).encode())

    def _refuse_living(self, there: dict[str, Any]) -> None:
        age = max(self._pace.now() - there["time"], 0.0)
        if age > self._pace.stale or _is_dead(there):
            return
        told = (
            f"a run that has not ended writes to it: {there['owner']}, seen {age:.0f} s ago; if it "
            f"is dead, the folder is free in {self._pace.stale - age:.0f} s"
        )
        raise JobError(self._store.where, told)


def read_lease(store: Store) -> dict[str, Any] | None:
    """What the lease of a store says; None where there is none, or one that was never whole."""
    try:
        with store.open(LOCK) as file:
            document: dict[str, Any] = json.loads(file.read())
    except (FileNotFoundError, ValueError):
        return None
    return document if {"nonce", "owner", "time", "machine", "process"} <= set(document) else None


def _machine() -> str:
    """Where process numbers mean the same; empty where the system does not tell."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return ""


def _is_dead(there: dict[str, Any]) -> bool:
    if there["machine"] != _machine() or not there["machine"]:
        return False
    try:
        os.kill(int(there["process"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
