"""Run a module of ours in a process of its own: for what must not be loaded here, or may die."""

import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

#: How long a process that was killed may take to end.
_END_SECONDS = 30.0


class ChildError(Exception):
    """It did not end well; the text goes on from its name: ``took longer than 5 s``."""


def run_module(
    module: str,
    arguments: Sequence[str] = (),
    *,
    timeout_seconds: float,
    told: str = "",
    env: Mapping[str, str] | None = None,
) -> str:
    """``python -m module``, which is ``told`` a text; what it writes on standard output.

    It finds modules where this process does. ``env`` goes on top of this process's environment. Its
    output goes into files, since a pipe stays open for as long as a compiler's own children live;
    what it has started ends with it.

    Raises:
        ChildError: it took too long, or ended with a status other than 0; with its last line.
    """
    paths = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
        given.write(told.encode())
        given.seek(0)
        child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, **(env or {}), "PYTHONPATH": paths},
            stdin=given,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            status = child.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise ChildError(f"took longer than {timeout_seconds:g} s") from None
        finally:
            end(child)
        if status:
            lines = _text(err).splitlines() or _text(out).splitlines() or ["no message"]
            raise ChildError(f"ended with status {status}: {lines[-1]}")
        return _text(out)


def end(child: subprocess.Popen[Any]) -> None:
    """Kill a process that leads a group, and all that it has started.

    A child of its own may lead another group, as those started here do; what was orphaned before is
    found by its group. One that a driver holds does not end, and is not waited for.
    """
    groups, todo, below = [child.pid], [child.pid], _below()
    while todo:
        for pid, group in below[todo.pop()]:
            todo.append(pid)
            groups.append(group)
    for group in dict.fromkeys(groups):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        child.wait(_END_SECONDS)


def _below() -> Mapping[int, list[tuple[int, int]]]:
    """Of every process, those that it has started: their ids and groups, as Linux lists them."""
    found = defaultdict(list)
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            _, parent, group = status.read_text().rpartition(")")[2].split()[:3]
            found[int(parent)].append((int(status.parent.name), int(group)))
    return found


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace").strip()
