"""Whose memory is on a card: of our own processes, which give it back, or of somebody else's.

Memory of a process of ours that ended is worth waiting for; that of a stranger who lives is not.
Every process of ours that takes a real card leaves its pid on the node, with the time of its start,
since pids are used again. ``npu-smi`` says which processes hold memory; where its pids are those of
another pid namespace, as in many containers, nobody can be told apart and nobody is a stranger.
"""

import contextlib
import os
import socket
from pathlib import Path

from actors.machine import npusmi, verdicts
from actors.machine.npusmi import Holder


def enter() -> None:
    """Note that this process takes cards, and forget those of ours that ended.

    Without a folder to write to, later processes take this one for a stranger while it lives.
    """
    with contextlib.suppress(OSError):
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.iterdir():
            if file.name.isdigit() and not _is_ours(int(file.name)):
                file.unlink(missing_ok=True)
        (folder / str(os.getpid())).write_text(_started(os.getpid()))


def holders(npu_id: str) -> tuple[Holder, ...]:
    """Living processes that hold memory of a card and are not ours; none where nobody can tell.

    This process must hold memory of it already: if it is not listed, the listed pids are not those
    by which processes are known here.
    """
    card = npusmi.read_card(npu_id)
    listed = card.holders if card else ()
    if os.getpid() not in [holder.pid for holder in listed]:
        return ()
    return tuple(h for h in listed if _started(h.pid) and not _is_ours(h.pid))


def _is_ours(pid: int) -> bool:
    try:
        noted = (_folder() / str(pid)).read_text()
    except OSError:
        return False
    return bool(noted) and noted == _started(pid)


def _started(pid: int) -> str:
    """When a process began, in ticks since the machine did; empty if there is none."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return told.rpartition(")")[2].split()[19]


def _folder() -> Path:
    return verdicts.folder().with_name("processes") / socket.gethostname()
