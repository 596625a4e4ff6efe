"""Processes of a Ray of ours that outlive it, found by the files that they hold open.

Ray ends its processes itself, except when its own start fails half-way: then agents stay, with
names that do not say whose they are. But each writes a log in the session's folder, and that folder
is ours alone.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

_PATIENCE_SECONDS = 5.0


def end_leftovers(folder: Path) -> None:
    """Kill every other process that has a file below ``folder`` open for writing. Linux only."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (found := [pid for pid in _others() if _writes_below(pid, folder)]) and (
        time.monotonic() < deadline
    ):
        for pid in found:
            with contextlib.suppress(OSError):  # it may have ended meanwhile
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _others() -> Iterator[int]:
    proc = Path("/proc")
    if proc.is_dir():
        pids = (int(entry.name) for entry in proc.iterdir() if entry.name.isdigit())
        yield from (pid for pid in pids if pid != os.getpid())


def _writes_below(pid: int, folder: Path) -> bool:
    try:
        links = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # it ended, or belongs to somebody else
        return False
    return any(_leads_below(link, folder) and _is_written(pid, link.name) for link in links)


def _leads_below(link: Path, folder: Path) -> bool:
    try:
        return link.readlink().is_relative_to(folder)
    except OSError:  # closed meanwhile, as others of the same process may not be
        return False


def _is_written(pid: int, number: str) -> bool:
    """Whether a file descriptor was opened for writing, as proc(5) tells: flags, in octal."""
    with contextlib.suppress(OSError):  # closed meanwhile
        for line in Path(f"/proc/{pid}/fdinfo/{number}").read_text().splitlines():
            if line.startswith("flags:"):
                return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return False
