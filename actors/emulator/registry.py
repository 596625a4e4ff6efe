"""The library's state in this process: its cards, and which paths were registered for sharing.

Registration is by the exact path string, for all devices alike and for the life of the process
(2.7.0, model_manager.h).
"""

import itertools
import threading
from collections.abc import Iterable, Mapping

from actors.emulator import arena, nativelog
from actors.emulator.config import Sections, merge
from actors.emulator.device import STATE, Device
from actors.emulator.gesession import GeSession
from actors.emulator.types import ModelGroupFlag
from actors.memory import ASCEND

#: The release that a process starts with: the newest whose sources were read to the bottom.
NEWEST = "2.7"
_DEFAULT_CAPACITY = 64 << 30
#: Models built for target cpu take host memory, which nobody counts.
_HOST_CAPACITY = 1 << 62


class Library:
    """Cards, registrations and declarations of one process."""

    def __init__(self) -> None:
        self.lock = STATE
        self.building = threading.RLock()
        self.numbers = itertools.count(1)
        self.release = NEWEST
        self.has_cards = True
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

    def start_afresh(self, release: str = NEWEST, has_cards: bool = True) -> None:
        """Forget everything, as a new process has nothing: one card, and an empty ledger.

        Models that are still alive keep what they have and no longer count.
        """
        with self.building, self.lock:
            self.wipe()
            self._declared.clear()
            self.alive.clear()
            self._sessions.clear()
            self._ge_device = None
            self.release, self.has_cards = release, has_cards
            self.host = Device(-1, _HOST_CAPACITY, 0, ASCEND)
            self.replace_devices([Device(0, _DEFAULT_CAPACITY, 0, ASCEND)])
            arena.release()

    def replace_devices(self, devices: Iterable[Device]) -> None:
        """Leave the cards of before and take these."""
        for device in self.devices:
            device.close()
        self.devices = list(devices)


LIBRARY = Library()
