"""When a process may load, so that its host's memory holds the peaks of all loads there.

Whatever deployment they are of, the processes of one host share a list in its cache: a file for
each that waits or loads, locked for as long as it does, and free again however it ends.
"""

import contextlib
import fcntl
import json
import os
import platform
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ray._common.utils import get_system_memory
from ray._private.utils import get_used_memory

from actors.machine.hostmemory import resident_bytes
from actors.machine.kept import kept_folder

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_PIDS = Path("/proc/self/ns/pid")
_LOCK = "lock"
_LOOK_SECONDS = 0.1
#: Ray ends processes of a host that has less than the rest left, unless it is told another share.
_MOST_USED, _MOST_USED_VARIABLE = 0.95, "RAY_memory_usage_threshold"


@dataclass(frozen=True)
class Load:
    """A load that waits, or has ``begun``: a process that had ``before`` bytes takes ``peak`` more.

    ``number``: first come, first served. ``pids`` is the namespace in which it is called ``pid``.
    """

    number: int
    peak: int
    before: int
    pid: int
    pids: str
    begun: bool = False

    def to_come(self, here: str) -> int:
        """What it may still take, beyond what it has; all of it where its process is not seen."""
        if self.pids != here:
            return self.peak
        return max(self.peak - max(resident_bytes(self.pid) - self.before, 0), 0)


def may_begin(mine: Load, others: Collection[Load], room: int, here: str = "") -> bool:
    """Whether a load may begin when the host has so much room: nobody waits for it any longer.

    One may always run, since waiting would not make more room.
    """
    if any(one.number < mine.number for one in others if not one.begun):
        return False
    begun = [one for one in others if one.begun]
    return not begun or mine.peak + sum(one.to_come(here) for one in begun) <= room


class Turn:
    """A process's place in the list of its host: from ``wait`` until ``end``, or its own end.

    Raises:
        OSError: the cache cannot be used.
    """

    def __init__(self, peak: int, folder: Path | None = None) -> None:
        self._folder = (folder or kept_folder("starts")) / _host()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._here = _namespace()
        with self._alone():
            number = max((one.number for one in self._loads()), default=0) + 1
            pid = os.getpid()
            self._mine = Load(number, peak, resident_bytes(pid), pid, self._here)
            self._path = self._folder / f"{number:09}"
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._write()

    def wait(self, over: threading.Event) -> None:
        """Return when the load may begin, or when it is ``over`` with the process."""
        while not over.is_set():
            with self._alone():
                if may_begin(self._mine, self._others(), host_room(), self._here):
                    self._mine = replace(self._mine, begun=True)
                    self._write()
                    return
            over.wait(_LOOK_SECONDS)

    def others(self) -> list[Load]:
        """Who else waits or loads on this host now."""
        with self._alone():
            return self._others()

    def end(self) -> None:
        """The load is over: others may come."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        os.close(self._file)

    def _others(self) -> list[Load]:
        return [one for one in self._loads() if one.number != self._mine.number]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._folder / _LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self) -> None:
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps(asdict(self._mine)).encode(), 0)

    def _loads(self) -> Iterator[Load]:
        """All that are in the list; those whose process has gone leave it."""
        for path in self._folder.iterdir():
            if path.name == _LOCK:
                continue
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield Load(**json.load(file))
                else:
                    path.unlink()


def host_room() -> int:
    """What the host's processes may take, of all that it or this container has, before Ray acts."""
    most = float(os.environ.get(_MOST_USED_VARIABLE, _MOST_USED))
    used: int = get_used_memory()  # type: ignore[no-untyped-call]
    return int(get_system_memory() * most) - used


def _host() -> str:
    """Hosts may share a cache; containers of one host share its memory."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return platform.node()


def _namespace() -> str:
    """In which process ids mean what they mean here."""
    try:
        return str(_PIDS.readlink())
    except OSError:
        return platform.node()
