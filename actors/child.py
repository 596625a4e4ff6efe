"""Run a module of ours in a process of its own: for what must not be loaded here, or may die."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO


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
    paths = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
        given.write(told.encode())
        given.seek(0)
        try:
            child = subprocess.run(
                [sys.executable, "-m", module, *arguments],
                env={**os.environ, **(env or {}), "PYTHONPATH": paths},
                stdin=given,
                stdout=out,
                stderr=err,
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ChildError(f"took longer than {timeout_seconds:g} s") from None
        if child.returncode:
            lines = _text(err).splitlines() or _text(out).splitlines() or ["no message"]
            raise ChildError(f"ended with status {child.returncode}: {lines[-1]}")
        return _text(out)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace").strip()
