"""A process for each trial, and several of them at once where cards are tried together.

A child is told what to do by a file, says through a pipe of its own that everything is built, waits
for a line on its standard input, runs, and leaves its answer in another file. So of several, none
runs before all have built. What it prints goes into a file: CANN's compilers are processes too, may
outlive it, and hold open what it has open. So nobody waits for the end of a stream, and what it has
started is killed with it. They write into the working folder, too: it has one of its own.
"""

import os
import pickle
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from actors.claims.networks import convert
from actors.claims.trial import Taken, TooSlowError, Trial, TrialError, carry_out
from actors.errors import OrchestratorError
from actors.lite import LIBRARY_ERRORS, library_name, load_library
from actors.machine.child import end, start
from actors.messages import Provider

#: Longer than anything here takes, online conversion of a large model included.
TIMEOUT_SECONDS = 1800.0
#: How often it is looked whether a process that has not built yet still lives.
_LOOK_SECONDS = 0.2
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

#: Takes what is done now, for people who wait: ``building a.mindir on card 0, unshared``.
Tell = Callable[[str], None]


def tell_nobody(step: str) -> None:
    """Nobody waits."""


def run(
    *trials: Trial,
    logs: Path | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    tell: Tell = tell_nobody,
) -> tuple[Taken, ...]:
    """Carry out trials at the same time, each in a process of its own.

    ``logs``: a folder where each process's native log is kept.

    Raises:
        LibraryError: the library of the card kind is not installed.
        TrialError: any of them failed; TooSlowError, which is one: or took too long.
    """
    what = " and ".join(map(str, trials))
    tell(f"building {what}")
    answers = _run(trials, logs, timeout_seconds, lambda: tell(f"running {what}"))
    return tuple(answer for answer in answers if isinstance(answer, Taken))


def convert_apart(
    paths: Sequence[str], provider: Provider, logs: Path | None = None, tell: Tell = tell_nobody
) -> None:
    """Convert networks in a process of its own, as the library must not be loaded in this one.

    Raises:
        LibraryError: mindspore_lite is not installed.
        TrialError: it has no Converter, or a conversion failed.
    """
    job = Conversion(tuple(paths), provider)
    tell(str(job))
    _run([job], logs, TIMEOUT_SECONDS)


def _run(
    jobs: Sequence[Job],
    logs: Path | None,
    timeout_seconds: float,
    built: Callable[[], None] = lambda: None,
) -> list[object]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ascend-claims-")))
        children = [
            stack.enter_context(_Child(job, folder / str(number), logs, timeout_seconds))
            for number, job in enumerate(jobs)
        ]
        for child in children:
            child.wait_built()
        built()
        for child in children:
            child.go_on()
        return [child.answer() for child in children]


class _Child:
    """One process. Leaving the block ends it, and whatever it has started."""

    def __init__(self, job: Job, folder: Path, logs: Path | None, timeout_seconds: float) -> None:
        folder.mkdir()
        self._job, self._logs, self._seconds = job, logs, timeout_seconds
        self._until = time.monotonic() + timeout_seconds
        self._log, self._answer = folder / "log", folder / "answer"
        (folder / "job").write_bytes(pickle.dumps(job))
        self._built, its_end = os.pipe()
        arguments = [str(folder / "job"), str(self._answer), str(its_end)]
        with self._log.open("wb") as log:
            self._process, self._held = start(
                "actors.claims",
                arguments,
                pass_fds=[its_end],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=folder,
                text=True,
            )
        os.close(its_end)

    def __enter__(self) -> "_Child":
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process)
        os.close(self._held)
        os.close(self._built)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._keep_log()

    def wait_built(self) -> None:
        """Wait until everything is built, or it has ended, or its time is over."""
        while time.monotonic() < self._until:
            ready, _, _ = select.select([self._built], [], [], _LOOK_SECONDS)
            if ready or self._process.poll() is not None:
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
        try:
            self._process.wait(max(0.0, self._until - time.monotonic()))
        except subprocess.TimeoutExpired:
            end(self._process)
            if not self._answer.exists():
                told = f"took longer than {self._seconds:g} s | {self._last_lines()}"
                raise TooSlowError(str(self._job), told) from None
        if not self._answer.exists():
            told = f"its process ended with status {self._process.returncode}"
            raise TrialError(str(self._job), f"{told} | {self._last_lines()}")
        found = pickle.loads(self._answer.read_bytes())
        if isinstance(found, OrchestratorError):
            raise found
        return found

    def _last_lines(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()[-_LOG_LINES:]
        return f"native log: {' / '.join(lines) or 'empty'}"

    def _keep_log(self) -> None:
        """Under the names of the job and of the process, which CANN's own log files go by too."""
        if self._logs is not None:
            name = re.sub(r"[^\w.]+", "-", str(self._job))
            shutil.copyfile(self._log, self._logs / f"{self._process.pid}-{name}.log")


def main(job_path: str, answer_path: str, built: str) -> None:
    """The child. It ends without the library's own exit, which races with what still lives.

    ``built``: its end of a pipe, which programs that it starts do not inherit.
    """
    os.set_inheritable(int(built), False)
    job: Job = pickle.loads(Path(job_path).read_bytes())
    answer = _answered(job, int(built))
    draft = Path(answer_path).with_suffix(".draft")
    draft.write_bytes(pickle.dumps(answer))
    draft.rename(answer_path)
    sys.stdout.flush()
    os._exit(0)


def _answered(job: Job, built: int) -> object:
    try:
        if isinstance(job, Trial):
            return carry_out(job, lambda: _tell_and_wait(built))
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


def _tell_and_wait(built: int) -> None:
    os.write(built, b"1")
    if not sys.stdin.readline():
        os._exit(1)  # nobody waits for it any more
