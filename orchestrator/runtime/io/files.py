"""The files of a job's input: a file, or all below a folder, on this machine or behind a URL.

Paths and URLs go through pyarrow's file systems (local, ``s3://``, ``gs://``, ``hdfs://``), and
through fsspec for every other scheme, so that an object store is read as a local folder is.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pyarrow import fs

from orchestrator.errors import JobError
from orchestrator.runtime.io.store import is_ours
from orchestrator.sources import SourceError, file_system, reason

#: What stores say of an object that differs when it was written anew, as fsspec passes it on.
_CHANGES = (
    *("ETag", "etag", "md5Hash", "md5", "content_md5", "checksum", "generation", "version_id"),
    *("mtime", "LastModified", "last_modified", "updated", "created"),
)


@dataclass(frozen=True)
class _Known:
    """A file when it was listed; ``changed`` is what differs when it was written anew."""

    size: int
    changed: str


class InputFiles:
    """Files by their paths below ``where`` with ``/``, sorted; hidden ones are skipped.

    So are the records that a job keeps beside its output, which may be another job's input. May be
    sent to other processes.

    Raises:
        JobError: nothing is there, it cannot be listed, or its file system is not known here.
    """

    def __init__(self, where: str | Path) -> None:
        self.where = str(where)
        try:
            self._system, self._root = file_system(self.where)
        except SourceError as error:
            raise JobError(self.where, str(error)) from error
        handler = getattr(self._system, "handler", None)
        self._store: Any = getattr(handler, "fs", None)
        with self._told(self.where, "cannot be listed"):
            known = self._system.get_file_info(self._root)
        if known.type is fs.FileType.NotFound:
            raise JobError(self.where, "no such file or folder")
        self.is_file = known.type is fs.FileType.File
        if self.is_file:
            self._root = self._root.rpartition("/")[0]
            found = {known.base_name: self._known_as(known)}
        else:
            found = self._below()
        self._known = {name: found[name] for name in sorted(found)}
        self.names: tuple[str, ...] = tuple(self._known)

    def size(self, name: str) -> int:
        """Bytes of a file when it was listed."""
        return self._known[name].size

    def stamp(self, name: str) -> str:
        """Size and time of change, or what an object store says instead."""
        known = self._known[name]
        return f"{known.size} {known.changed}"

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A file to read and seek in; OSError within, and at opening, comes out as JobError.

        Raises:
            JobError: it is not there any more, has another size, or cannot be read.
        """
        with (
            self._told(name, "cannot be read"),
            self._system.open_input_file(f"{self._root}/{name}") as file,
        ):
            if file.size() != self.size(name):
                raise JobError(
                    name,
                    f"has {file.size()} bytes and had {self.size(name)} when the job began: "
                    "it changes while it is read",
                )
            yield file

    def seen_from_here(self) -> bool:
        """Whether this process, wherever it runs, finds the first file as it was listed."""
        name, known = next(iter(self._known.items()))
        try:
            found = self._system.get_file_info(f"{self._root}/{name}")
        except (OSError, pa.ArrowException):
            return False
        return (found.type, found.size) == (fs.FileType.File, known.size)

    def only(self, suffixes: Sequence[str]) -> tuple[str, ...]:
        """The files with these endings; a file that was named itself, whatever its ending is."""
        if self.is_file:
            return self.names
        return tuple(name for name in self.names if name.lower().endswith(tuple(suffixes)))

    def _below(self) -> dict[str, _Known]:
        selector = fs.FileSelector(self._root, recursive=True)
        with self._told(self.where, "cannot be listed"):
            infos = self._system.get_file_info(selector)
        found = {}
        for info in infos:
            name = info.path[len(self._root) :].lstrip("/")
            hidden = any(step.startswith(".") for step in name.split("/"))
            if info.type is not fs.FileType.Directory and not hidden and not is_ours(name):
                found[name] = self._known_as(info)
        return found

    def _known_as(self, info: fs.FileInfo) -> _Known:
        if info.mtime_ns is not None:
            return _Known(info.size, str(info.mtime_ns))
        told = {} if self._store is None else self._store.info(info.path)
        return _Known(info.size, " ".join(f"{told[one]}" for one in _CHANGES if one in told))

    @contextlib.contextmanager
    def _told(self, where: str, problem: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise JobError(where, f"{problem}: {reason(error)}") from error
