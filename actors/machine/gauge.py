"""How many bytes of a card are free: asked of pyACL, else of npu-smi, else not known.

pyACL answers only a thread that has set the device, and a device must be set once and never reset
under live models. So one thread that lives as long as the process makes all calls to it; others ask
that thread, or look at what it published last. ACL is never finalised here.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from actors.errors import CardError
from actors.machine import npusmi, pyacl
from actors.messages import CardKind

#: aclrtMemAttr: what is asked for, in this order; some products have no HBM and answer 0 of 0.
_HBM, _DDR = 1, 0
#: How often somebody who waits for memory has it read, and how often it is read for nobody.
_INTERVAL_SECONDS = 0.25
_REFRESH_SECONDS = 10.0


@dataclass(frozen=True)
class Reading:
    """Bytes of one card at one moment. ``source``: who said so."""

    free: int
    total: int
    source: str

    def __str__(self) -> str:
        return f"{self.free:,} of {self.total:,} bytes free ({self.source})"


#: Reads the card; None where nobody can tell. Called in one thread only, always the same.
Source = Callable[[], Reading | None]


class Gauge:
    """One card's free memory, read by one thread of its own: when asked, then from time to time."""

    def __init__(self, source: Source) -> None:
        """Start the thread; ``close`` ends it."""
        self._source = source
        self._changed = threading.Condition()
        self._asked = self._answered = 0
        self._closed = False
        self._latest: Reading | None = None
        self._problem: CardError | None = None
        self._thread = threading.Thread(target=self._work, name="card-memory", daemon=True)
        self._thread.start()

    @property
    def latest(self) -> Reading | None:
        """What was published last, some seconds ago at most; never waits."""
        return self._latest

    def read(self) -> Reading | None:
        """A reading that began after this call; None where nobody can tell.

        Raises:
            CardError: the card cannot be used at all.
        """
        with self._changed:
            self._asked += 1
            mine = self._asked
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._answered >= mine or self._closed)
            if self._problem is not None:
                raise self._problem
            return self._latest

    def wait_for(self, nbytes: int, seconds: float) -> Reading | None:
        """Read until so many bytes are free, at most so long; the last reading.

        Raises:
            CardError: the card cannot be used at all.
        """
        until = time.monotonic() + seconds
        while True:
            found = self.read()
            left = until - time.monotonic()
            if found is None or found.free >= nbytes or left <= 0:
                return found
            with self._changed:
                self._changed.wait_for(lambda: self._closed, min(left, _INTERVAL_SECONDS))

    def close(self) -> None:
        """End the thread. What it has set up stays: the models live on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                idle = None if not self._answered else _REFRESH_SECONDS
                self._changed.wait_for(lambda: self._asked > self._answered or self._closed, idle)
                if self._closed:
                    return
                asked = self._asked
            try:
                found, problem = self._source(), None
            except CardError as error:
                found, problem = None, error
            with self._changed:
                self._latest, self._problem, self._answered = found, problem, asked
                self._changed.notify_all()


def open_gauge(kind: CardKind, library: ModuleType, device_id: int, npu_id: str = "") -> Gauge:
    """The gauge of a card; pyACL is imported here, after the library as the wheels need it."""
    return Gauge(_source(kind, library, device_id, npu_id))


def _source(kind: CardKind, library: ModuleType, device_id: int, npu_id: str) -> Source:
    if kind == "emulated":
        return lambda: _ledger(library, device_id)
    if kind == "cpu":
        return lambda: None
    try:
        acl = pyacl.import_acl()
    except pyacl.NoAclError:
        return lambda: _smi(npu_id)
    return AclSource(acl, device_id)


class AclSource:
    """pyACL on one device; initialised and set at the first call, in the thread that calls."""

    def __init__(self, acl: Any, device_id: int) -> None:  # noqa: ANN401 - a module without types
        self._acl = acl
        self._device_id = device_id
        self._is_set = False

    def __call__(self) -> Reading:
        """Bytes free and in all, of HBM, or of DDR on cards without it.

        Raises:
            AclError: ACL cannot be initialised, has no such device, or does not answer.
        """
        if not self._is_set:
            pyacl.start(self._acl, self._device_id)
            self._is_set = True
        for kind in (_HBM, _DDR):
            free, total, code = self._acl.rt.get_mem_info(kind)
            if not code and total:
                return Reading(int(free), int(total), "pyACL")
        raise pyacl.AclError("acl.rt.get_mem_info", code)


def _ledger(library: ModuleType, device_id: int) -> Reading | None:
    try:
        found = library.memory(device_id)
    except IndexError:  # the library was reset meanwhile, and this card is no more
        return None
    return Reading(found.free, found.capacity, "emulated")


def _smi(npu_id: str) -> Reading | None:
    mine = npusmi.read_card(npu_id)
    if mine is None or not mine.total_bytes:
        return None
    return Reading(mine.free_bytes, mine.total_bytes, "npu-smi")
