"""The library's state in this process: its cards, and which paths were registered for sharing.

Registration is by the exact path string, for all devices alike and for the life of the process
(2.7.0, model_manager.h). ``configure`` and ``reset`` are the emulator's own.
"""

import itertools
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from actors.emulator import arena, nativelog
from actors.emulator.config import Sections, merge, read_file
from actors.emulator.device import STATE, Device, DeviceMemory
from actors.emulator.gesession import GeSession
from actors.emulator.types import ModelGroupFlag
from actors.memory import ASCEND, AllocationRule

#: Releases of the library whose behaviour is emulated.
RELEASES = {"2.7": "2.7.0"}
_DEFAULT_CAPACITY = 64 << 30
#: Models built for target cpu take host memory, which nobody counts.
_HOST_CAPACITY = 1 << 62


class Library:
    """Cards, registrations and declarations of one process."""

    def __init__(self) -> None:
        self.lock = STATE
        self.building = threading.RLock()
        self.numbers = itertools.count(1)
        self.release = "2.7"
        self.alive: set[int] = set()
        self._registered: dict[str, ModelGroupFlag] = {}
        self._declared: dict[str, dict[str, dict[str, str]]] = {}
        self._sessions: dict[int, GeSession] = {}
        self._ge_device: Device | None = None
        self.host = Device(-1, _HOST_CAPACITY, 0, ASCEND)
        self.devices = [Device(0, _DEFAULT_CAPACITY, 0, ASCEND)]

    def device(self, index: int) -> Device:
        """The card with this logical index; out of range is card 0 and a warning (2.7.0)."""
        if index >= len(self.devices):
            nativelog.write(
                f"Device id {index} is out of range: {len(self.devices)} visible, device 0 is used."
            )
            return self.devices[0]
        return self.devices[index]

    def ge_device(self, index: int) -> Device:
        """The card of every GE model: that of the process's first one (ge_device_context.cc)."""
        with self.lock:
            wanted = self.device(index)
            if self._ge_device is None:
                self._ge_device = wanted
            if self._ge_device is not wanted:
                nativelog.write(f"GE is initialized on device {self._ge_device.index} already")
            return self._ge_device

    def session(self, group: int, options: Mapping[str, str]) -> GeSession:
        """The GE session of a group, made by its first build.

        Raises:
            ValueError: it was made with other options.
        """
        with self.lock:
            session = self._sessions.setdefault(group, GeSession(group, options))
            session.require_equal(options)
            return session

    def forget_ge(self) -> None:
        """Forget every GE session, as a new process has none."""
        self._sessions.clear()
        self._ge_device = None

    def register(self, path: str, flag: ModelGroupFlag) -> None:
        """One path's weight and workspace registrations merge; another second flag is ignored."""
        with self.lock:
            first = self._registered.get(path)
            pair = {ModelGroupFlag.SHARE_WEIGHT, ModelGroupFlag.SHARE_WORKSPACE}
            if {first, flag} == pair:
                flag = ModelGroupFlag.SHARE_WEIGHT_WORKSPACE
            elif first is not None:
                flag = first
            self._registered[path] = flag

    def registration(self, path: str) -> ModelGroupFlag | None:
        """How this path string was registered, or None: then it shares nothing."""
        with self.lock:
            return self._registered.get(path)

    def wipe(self) -> None:
        """Forget every registration of the process, as a failed sizing does (2.7.0)."""
        with self.lock:
            self._registered.clear()

    def declare(self, path: str, sections: Sections) -> None:
        """Remember what a model was compiled with."""
        with self.lock:
            self._declared[path] = merge(sections)

    def declared(self, path: str) -> Mapping[str, Mapping[str, str]]:
        """What ``declare`` was told of a path."""
        with self.lock:
            return self._declared.get(path, {})


LIBRARY = Library()


def configure(
    capacities: Sequence[int],
    *,
    release: str = "2.7",
    rule: AllocationRule = ASCEND,
    overheads: Sequence[int] | None = None,
) -> None:
    """Set up the cards of this process, with indexes 0, 1, ... Forgets everything else.

    Args:
        capacities: bytes of each card.
        release: whose behaviour to follow; only 2.7 so far.
        rule: how allocations are rounded.
        overheads: bytes taken on each card before any model; none by default.

    Raises:
        ValueError: no card, a size below 0, lists of different lengths, or another release.
    """
    if release not in RELEASES:
        raise ValueError(f"not supported yet: release {release}; known: {', '.join(RELEASES)}")
    taken = list(overheads) if overheads is not None else [0] * len(capacities)
    if not capacities or len(taken) != len(capacities):
        raise ValueError(f"{len(capacities)} capacities and {len(taken)} overheads")
    if min(*capacities, *taken) < 0:
        raise ValueError(f"sizes must not be negative: {list(capacities)}, {taken}")
    reset()
    with LIBRARY.lock:
        LIBRARY.release = release
        LIBRARY.devices = [
            Device(index, capacity, overhead, rule)
            for index, (capacity, overhead) in enumerate(zip(capacities, taken, strict=True))
        ]


def reset() -> None:
    """Start afresh, as a new process would: one card, no registrations, an empty ledger.

    Models that are still alive keep what they have and no longer count.
    """
    with LIBRARY.building, LIBRARY.lock:
        LIBRARY.wipe()
        LIBRARY._declared.clear()
        LIBRARY.alive.clear()
        LIBRARY.forget_ge()
        LIBRARY.release = "2.7"
        LIBRARY.host = Device(-1, _HOST_CAPACITY, 0, ASCEND)
        LIBRARY.devices = [Device(0, _DEFAULT_CAPACITY, 0, ASCEND)]
        arena.release()


def declare(model_path: str, sections: Sections, config_path: str | None = "") -> None:
    """Tell what a model was compiled with, where no ``.ini`` beside it says so.

    A genuine MindIR carries its shapes; sizing and building read them from the file. Call this
    before ``cal_max_size_of_workspace``. Keys that are not given come from ``config_path``, then
    from the ``.ini``.

    Raises:
        ValueError: the file at ``config_path`` is no Lite configuration.
    """
    from_file = read_file(Path(config_path)) if config_path else {}
    LIBRARY.declare(model_path, merge(from_file, sections))


def memory(device_id: int) -> DeviceMemory:
    """The ledger of one card.

    Raises:
        IndexError: there is no such card.
    """
    return LIBRARY.devices[device_id].memory()
