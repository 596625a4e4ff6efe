"""A process for each trial, and several of them at once where cards are tried together.

A child is told what to do by a file, says on its standard output that everything is built, waits
for a line on its standard input, runs, and leaves its answer in another file. So of several, none
runs before all have built.
"""

import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from actors.claims.networks import convert
from actors.claims.trial import Taken, Trial, TrialError, carry_out
from actors.errors import OrchestratorError
from actors.lite import LIBRARY_ERRORS, library_name, load_library
from actors.messages import Provider

#: Longer than anything here takes, online conversion of a large model included.
TIMEOUT_SECONDS = 1800.0
_BUILT = "all built\n"
#: Lines of the native log that an error quotes.
_LOG_LINES = 3


@dataclass(frozen=True)
class Conversion:
    """Networks that were written here, to become MindIR files."""

    paths: tuple[str, ...]
    provider: Provider

    def __str__(self) -> str:
        return f"converting {', '.join(Path(path).name for path in self.paths)}"


Job = Trial | Conversion


def run(*trials: Trial, logs: Path | None = None) -> tuple[Taken, ...]:
    """Carry out trials at the same time, each in a process of its own.

    ``logs``: a folder where each process's native log is kept.

    Raises:
        LibraryError: the library of the card kind is not installed.
        TrialError: any of them failed.
    """
    answers = _run(trials, logs)
    return tuple(answer for answer in answers if isinstance(answer, Taken))


def convert_apart(paths: Sequence[str], provider: Provider, logs: Path | None = None) -> None:
    """Convert networks in a process of its own, as the library must not be loaded in this one.

    Raises:
        LibraryError: mindspore_lite is not installed.
        TrialError: it has no Converter, or a conversion failed.
    """
    _run([Conversion(tuple(paths), provider)], logs)


def _run(jobs: Sequence[Job], logs: Path | None) -> list[object]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ascend-claims-")))
        children = [
            stack.enter_context(_Child(job, folder / str(number), logs))
            for number, job in enumerate(jobs)
        ]
        for child in children:
            child.wait_built()
        for child in children:
            child.go_on()
        return [child.answer() for child in children]


class _Child:
    """One process. Leaving the block ends it, whatever it does."""

    def __init__(self, job: Job, folder: Path, logs: Path | None) -> None:
        folder.mkdir()
        self._job, self._logs = job, logs
        self._log, self._answer = folder / "log", folder / "answer"
        (folder / "job").write_bytes(pickle.dumps(job))
        paths = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "actors.claims", str(folder / "job"), str(self._answer)],
                env={**os.environ, "PYTHONPATH": paths},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._timer = threading.Timer(TIMEOUT_SECONDS, self._process.kill)

    def __enter__(self) -> "_Child":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._process.kill()
        self._process.communicate()
        self._keep_log()

    def wait_built(self) -> None:
        """Wait until everything is built, or it has ended. Other lines are the library's."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith(_BUILT):
                return

    def go_on(self) -> None:
        """Let it run what it has built."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # it has ended; its answer says why

    def answer(self) -> object:
        """What it found. A process that dies after its answer has answered."""
        self._process.communicate()
        if not self._answer.exists():
            raise TrialError(str(self._job), self._death())
        found = pickle.loads(self._answer.read_bytes())
        if isinstance(found, OrchestratorError):
            raise found
        return found

    def _death(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()[-_LOG_LINES:]
        told = " / ".join(lines) or "empty"
        return f"its process ended with status {self._process.returncode} | native log: {told}"

    def _keep_log(self) -> None:
        """Under the names of the job and of the process, which CANN's own log files go by too."""
        if self._logs is not None:
            name = re.sub(r"[^\w.]+", "-", str(self._job))
            shutil.copyfile(self._log, self._logs / f"{self._process.pid}-{name}.log")


def main(job_path: str, answer_path: str) -> None:
    """The child. It ends without the library's own exit, which races with what still lives."""
    job: Job = pickle.loads(Path(job_path).read_bytes())
    answer = _answered(job)
    draft = Path(answer_path).with_suffix(".draft")
    draft.write_bytes(pickle.dumps(answer))
    draft.rename(answer_path)
    sys.stdout.flush()
    os._exit(0)


def _answered(job: Job) -> object:
    try:
        if isinstance(job, Trial):
            return carry_out(job, _tell_and_wait)
        _convert(job)
    except OrchestratorError as error:
        return error
    return None


def _convert(job: Conversion) -> None:
    library = load_library("ascend")
    if not hasattr(library, "Converter"):
        raise TrialError(str(job), f"{library_name(library)} has no Converter")
    try:
        for path in job.paths:
            convert(library, path, job.provider)
    except LIBRARY_ERRORS as error:
        raise TrialError(str(job), str(error)) from error


def _tell_and_wait() -> None:
    sys.stdout.write(f"\n{_BUILT}")
    sys.stdout.flush()
    if not sys.stdin.readline():
        os._exit(1)  # nobody waits for it any more
