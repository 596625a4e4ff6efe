"""Memory of the host that models take while they load, and afterwards.

A load reads files more than once and copies what it reads; inputs are kept in pinned buffers, for
each Model object. Linux counts both for the process: ``VmRSS`` now, ``VmHWM`` at most (proc(5)).
"""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
#: Writing this there makes VmHWM count anew (proc(5), since Linux 4.0).
_RESET, _ANEW = Path("/proc/self/clear_refs"), "5"
#: What the library has of a file while it reads it: its bytes, and the graph made of them.
_AT_ONCE = 2


@dataclass(frozen=True)
class HostMemory:
    """Bytes of the host's memory that models take; all 0 where nobody knows.

    ``process`` is what a process takes before its models, ``peak`` the most above that while they
    load, ``steady`` what stays. ``estimated``: not all of it was measured; see ``estimate``.
    """

    process: int = 0
    peak: int = 0
    steady: int = 0
    estimated: bool = False

    @property
    def lasting(self) -> int:
        """What a process with its models keeps; 0: nobody has measured it."""
        return 0 if self.estimated else self.process + self.steady


class HostWatch:
    """Made before a process loads its models, asked afterwards."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):  # what was needed before counts too, then
            _RESET.write_text(_ANEW)
        self._before = _bytes_of("VmRSS")

    def found(self) -> HostMemory:
        """What was taken since; nothing known where Linux does not tell."""
        peak, now = _bytes_of("VmHWM"), _bytes_of("VmRSS")
        before = self._before
        return HostMemory(before, max(peak - before, 0), max(now - before, 0))


def resident_bytes(pid: int) -> int:
    """What a process has now; 0 where it has gone, or Linux does not tell."""
    return _field(Path(f"/proc/{pid}/status"), "VmRSS")


def estimate(file_bytes: int, threads: int) -> HostMemory:
    """Of a model whose load nobody has measured.

    By its sources (2.7) the library reads the files once to size the model and once for each
    thread, every time into a buffer of which it makes a graph. Counted as if nothing were given
    back in between: a start that waits a little longer does no harm, one that comes too early does.
    """
    taken = file_bytes * _AT_ONCE * (1 + threads)
    return HostMemory(0, taken, taken, estimated=True)


def together(models: Iterable[tuple[HostMemory, int]]) -> HostMemory:
    """Models in one process, each with what its further threads add.

    They load one after the other, so the largest excess over what stays is the peak.
    """
    found = list(models)
    steady = sum(one.steady + more for one, more in found)
    excess = max((one.peak - one.steady for one, _ in found), default=0)
    process = max((one.process for one, _ in found), default=0)
    estimated = any(one.estimated for one, _ in found)
    return HostMemory(process, steady + max(excess, 0), steady, estimated)


def _bytes_of(name: str) -> int:
    return _field(_STATUS, name)


def _field(file: Path, name: str) -> int:
    """A line ``name:  123 kB``."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)
