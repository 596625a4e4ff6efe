"""Where an output lies, as the rest of a job sees it: files that are there whole or not at all.

A folder of this machine is one kind of store. Names beginning with an underscore are a job's own
records, and those beginning with a point are files that somebody has not finished.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Protocol

from orchestrator.errors import JobError

MANIFEST, SUCCESS, LOCK = "_manifest.jsonl", "_SUCCESS", "_lock"
#: The folder of a manifest whose lines are objects.
MANIFESTS = "_manifest"
SUMMARY = "_summary.json"
#: How the names of files begin that belong to a part: its rows; what it set aside; its beginning.
PARTS = (PART, REJECTS, BEGUN) = ("part-", "_rejects-", "_begun-")
_OURS = frozenset({MANIFEST, SUCCESS, LOCK, SUMMARY})
_DRAFTS = (".part-", "._")
_CHUNK = 1 << 20
#: How the command line has what messages call resume=True; see JobError.
RESUME = {"resume=True": "--resume"}
_NO_OPTIONS: Mapping[str, str] = {}


@dataclass(frozen=True)
class Written:
    """A file that is whole: the name that it has now, its bytes, and their SHA-256."""

    name: str
    bytes: int
    sha256: str


class Lease(Protocol):
    """The right to write to a store, of one run at a time. ``nonce`` is that run's own."""

    @property
    def nonce(self) -> str:
        """What no other run has."""

    def check(self) -> None:
        """Raises JobError when another run has taken the store."""

    def close(self) -> None:
        """Let others have it; never raises."""


class Journal(Protocol):
    """The lines of a manifest, which are only ever added."""

    def read(self) -> str | None:
        """All lines that were written by whoever began it last; None where there is none."""

    def begin(self, text: str) -> None:
        """Put these lines in place of all others."""

    def add(self, line: str) -> None:
        """Add a line that stays whatever happens then; one that fails leaves nothing. OSError."""

    def check(self) -> None:
        """Raises JobError when it was begun anew by somebody else."""

    def close(self) -> None:
        """No more lines; never raises."""


class Store(Protocol):
    """Files by name. Methods raise OSError for what the system refuses. May be sent to others."""

    @property
    def where(self) -> str:
        """The path or URL."""

    @property
    def manifest(self) -> str:
        """The name of its manifest."""

    def make(self) -> None:
        """Make it if need be, and see whether it can be written to; it stays empty if it was.

        Raises:
            JobError: it is none.
        """

    def names(self) -> set[str]:
        """What is directly in it."""

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A file to read; FileNotFoundError when it is not there."""

    def put(self, name: str, data: bytes) -> None:
        """Write a file whole, in place of one that is there."""

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""

    def draft(self, name: str, fill: Callable[[IO[bytes]], None]) -> Written:
        """Write a file that nobody takes for finished."""

    def publish(self, draft: str, name: str) -> str:
        """Make a draft appear, under ``name`` or one of its own, which is told."""

    def own(self) -> Lease:
        """Take it.

        Raises:
            JobError: a run that has not ended has it.
        """

    def owner(self) -> str:
        """Who has it, or had it last; empty where it is not seen from here."""

    def journal(self, lease: Lease) -> Journal:
        """The manifest."""


def is_ours(name: str) -> bool:
    """Whether a file is one that a job keeps beside its parts, and no other job takes for input."""
    return name in _OURS or name.startswith((f"{MANIFESTS}/", REJECTS, BEGUN))


def is_draft(name: str) -> bool:
    """Whether a file is one that nobody finished."""
    return name.startswith(_DRAFTS)


def taken(where: str) -> JobError:
    """What a run is told that no longer owns its output."""
    told = "another run has taken the folder: this one ends, and what it has listed stays"
    return JobError(where, told)


def checksum(file: IO[bytes]) -> tuple[int, str]:
    """Bytes of a file from here to its end, and their SHA-256 in hexadecimal."""
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


@contextlib.contextmanager
def explained(where: str, problem: str, options: Mapping[str, str] = _NO_OPTIONS) -> Iterator[None]:
    """OSError within comes out as JobError about the place."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise JobError(where, f"{problem}: {reason}", options) from error
