"""What an output folder knows of its job: the manifest, the lock of its owner, the end mark.

A part exists when the manifest lists it. Everything else in the folder that looks like a part is
what a run left behind that did not get so far, and the next run removes it.
"""

import contextlib
import fcntl
import hashlib
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from orchestrator.errors import JobError
from orchestrator.jobs import Job, PartEntry, changes, header_line, manifest_text, read_manifest

MANIFEST, SUCCESS, LOCK = "_manifest.jsonl", "_SUCCESS", "_lock"
SUMMARY, REJECTS = "_summary.json", "_rejects.jsonl"
#: What a job keeps beside its parts, and no other job takes for input.
OURS = frozenset({MANIFEST, SUCCESS, LOCK, SUMMARY, REJECTS})
_CHUNK = 1 << 20


class JobRecord:
    """Opened by ``begin`` or ``resume``, of one owner at a time, and held until ``close``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: IO[str] | None = None
        self._manifest: IO[str] | None = None
        self._writing = threading.Lock()

    def begin(self, job: Job) -> None:
        """Start the record of a new job in a folder that has none.

        Raises:
            JobError: somebody else has just done the same.
        """
        self._own()
        self._replace(header_line(job.facts))

    def resume(self, job: Job, accept_changes: bool) -> dict[int, PartEntry]:
        """The parts of an earlier run that stay as they are.

        Those stay whose records are the same and whose file is as the manifest says.

        Raises:
            JobError: the folder holds no job, a damaged manifest, or another job and the changes
                are not accepted; or a run that has not ended writes to it.
        """
        self._own()
        facts, entries = self._read()
        differ = changes(facts, job.facts)
        if differ and not accept_changes:
            raise JobError(
                str(self.folder),
                f"its job began with another state of {', '.join(differ)}: --accept-changes goes "
                "on all the same, redoing the parts whose records differ; or name a new folder",
            )
        inputs = {part.index: digest for part, digest in zip(job.parts, job.inputs, strict=True)}
        kept = {
            index: entry
            for index, entry in sorted(entries.items())
            if inputs.get(index) == entry.input and self._is_whole(entry)
        }
        if len(kept) < len(job.parts):
            (self.folder / SUCCESS).unlink(missing_ok=True)
        self._replace(manifest_text(job.facts, kept.values()))
        return kept

    def add(self, entry: PartEntry) -> None:
        """List a part whose file is there. Thread-safe."""
        assert self._manifest is not None, "begin or resume comes first"
        with self._writing:
            self._manifest.write(entry.line())
            self._manifest.flush()
            os.fsync(self._manifest.fileno())

    def finish(self) -> None:
        """Say that every part is there."""
        (self.folder / SUCCESS).touch()

    def close(self) -> None:
        """Let others have the folder."""
        for file in (self._manifest, self._lock):
            if file is not None:
                file.close()
        self._lock = self._manifest = None

    def _own(self) -> None:
        """Take the folder's lock, which the kernel gives back when this process ends.

        The file stays: who removed it could remove one that somebody else has locked just now.
        """
        self._lock = (self.folder / LOCK).open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = owner_of(self.folder) or "another process"
            self._lock.close()
            self._lock = None
            raise JobError(
                str(self.folder), f"a run that has not ended writes to it: {owner}"
            ) from error
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self._lock.flush()

    def _read(self) -> tuple[dict[str, str], dict[int, PartEntry]]:
        try:
            return read_manifest((self.folder / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise JobError(
                str(self.folder), f"has no {MANIFEST}, so there is no job in it to resume"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise JobError(
                str(self.folder), f"{MANIFEST} cannot be relied on: {error}; name a new folder"
            ) from error

    def _is_whole(self, entry: PartEntry) -> bool:
        if entry.file is None:
            return True
        path = self.folder / entry.file
        with contextlib.suppress(OSError):
            return path.stat().st_size == entry.bytes and checksum(path) == entry.sha256
        return False

    def _replace(self, text: str) -> None:
        path = self.folder / MANIFEST
        fresh = self.folder / f".{MANIFEST}.new"
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        self._manifest = path.open("a", encoding="utf-8")


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def owner_of(folder: Path) -> str:
    """Who writes to the folder, as told there; empty where it is not seen from here."""
    try:
        return (folder / LOCK).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def finished_job(folder: Path) -> bool:
    """Whether the folder holds a job that came to its end."""
    return (folder / SUCCESS).exists()


def is_untouched(folder: Path) -> bool:
    """Whether a new job may begin here: no files, or those of a job that finished no part."""
    names = {path.name for path in folder.iterdir()}
    if names == {MANIFEST, LOCK}:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return not read_manifest((folder / MANIFEST).read_text(encoding="utf-8"))[1]
    return names <= {LOCK}


def has_job(folder: Path) -> bool:
    """Whether the folder holds a job, finished or not."""
    return (folder / MANIFEST).exists()


def part_files(entries: Mapping[int, PartEntry]) -> set[str]:
    """Names of the parts' files."""
    return {entry.file for entry in entries.values() if entry.file is not None}
