"""Run a module of ours in a process of its own: for what must not be loaded here, or may die.

``python -m actors.machine.child PIPE MODULE ARGUMENTS`` is that process. It leads a group with
whatever it starts, and that group ends with it, with whoever waits for it, or when it takes too
long.
"""

import os
import runpy
import signal
import subprocess
import sys
import threading
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
    output goes into files, since a pipe stays open for as long as a compiler's own children live.

    Raises:
        ChildError: it took too long, or ended with a status other than 0; with its last line.
    """
    with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
        given.write(told.encode())
        given.seek(0)
        child, held = start(module, arguments, env=env, stdin=given, stdout=out, stderr=err)
        try:
            status = child.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise ChildError(f"took longer than {timeout_seconds:g} s") from None
        finally:
            end(child)
            os.close(held)
        if status:
            lines = _text(err).splitlines() or _text(out).splitlines() or ["no message"]
            raise ChildError(f"ended with status {status}: {lines[-1]}")
        return _text(out)


def start(
    module: str,
    arguments: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    **streams: Any,  # noqa: ANN401 - as subprocess has them
) -> tuple[subprocess.Popen[Any], int]:
    """Start ``python -m module``; the process, and the pipe that ends it when it is closed."""
    paths = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    its_end, held = os.pipe()
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "actors.machine.child", str(its_end), module, *arguments],
            env={**os.environ, **(env or {}), "PYTHONPATH": paths},
            pass_fds=[its_end, *pass_fds],
            start_new_session=True,
            **streams,
        )
    except BaseException:
        os.close(held)
        raise
    finally:
        os.close(its_end)
    return child, held


def end(child: subprocess.Popen[Any]) -> None:
    """Kill a process that leads a group, and the group.

    One that a driver holds does not end, and is not waited for.
    """
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        child.wait(_END_SECONDS)


def main(pipe: str, module: str, *arguments: str) -> None:
    """The process. ``pipe``: nobody writes there; it is closed when nobody waits any more."""
    os.set_inheritable(int(pipe), False)
    threading.Thread(target=_end_with, args=[int(pipe)], daemon=True).start()
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with(pipe: int) -> None:
    os.read(pipe, 1)
    os.killpg(0, signal.SIGKILL)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace").strip()


if __name__ == "__main__":
    main(*sys.argv[1:])
