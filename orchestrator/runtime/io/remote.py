"""An object store, behind a URL, as the place of an output.

Objects appear whole and are never renamed: a part is written under a name of its writer's own, and
is one because the manifest lists it. The manifest's lines are objects as well. Those of one run
begin with its number, so that what a run writes which has lost the store counts for nothing.
"""

import contextlib
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import IO

from pyarrow import fs

from orchestrator.errors import JobError
from orchestrator.runtime.io.lease import ObjectLease, Pace, read_lease
from orchestrator.runtime.io.store import MANIFESTS, Lease, Written, checksum, taken
from orchestrator.sources import SourceError, file_system, reason

#: File systems of pyarrow that have no folders to be made.
_FLAT = ("s3", "gcs", "abfs")
_RUN = re.compile(r"(\d{6})-[0-9a-f]+\.jsonl")
_READS = 16
_CHUNK = 1 << 20
_PACE = Pace()


@dataclass(frozen=True)
class RemoteStore:
    """See Store."""

    where: str
    manifest = MANIFESTS

    @cached_property
    def _system(self) -> tuple[fs.FileSystem, str]:
        try:
            return file_system(self.where)
        except SourceError as error:
            raise JobError(self.where, str(error)) from error

    def make(self) -> None:
        """See Store; whether it can be written to shows when it is taken.

        Raises:
            JobError: it is a file, or its file system is not known here.
        """
        if self.has(""):
            raise JobError(self.where, "is a file; the output is a folder")
        self.make_folder("")

    def make_folder(self, name: str) -> None:
        """Make a folder in it, where there are such."""
        system, root = self._system
        if system.type_name not in _FLAT:
            with _as_os_error():
                system.create_dir(f"{root}/{name}".rstrip("/"), recursive=True)

    def names(self, folder: str = "") -> set[str]:
        """See Store; or what is in a folder of it."""
        system, root = self._system
        handler = getattr(system, "handler", None)
        if handler is not None:
            handler.fs.invalidate_cache()  # of listings, which others make longer
        selector = fs.FileSelector(f"{root}/{folder}".rstrip("/"), allow_not_found=True)
        with _as_os_error():
            return {info.base_name for info in system.get_file_info(selector)}

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        system, root = self._system
        with _as_os_error():
            known = system.get_file_info(f"{root}/{name}".rstrip("/"))
        return bool(known.type is fs.FileType.File)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """See Store."""
        system, root = self._system
        with _as_os_error():
            file = system.open_input_file(f"{root}/{name}")
        with file:
            yield file

    def put(self, name: str, data: bytes) -> None:
        """See Store."""
        system, root = self._system
        with _as_os_error(), system.open_output_stream(f"{root}/{name}") as file:
            file.write(data)

    def delete(self, name: str) -> None:
        """See Store."""
        system, root = self._system
        with _as_os_error(), contextlib.suppress(FileNotFoundError):
            system.delete_file(f"{root}/{name}")

    def draft(self, name: str, fill: Callable[[IO[bytes]], None]) -> Written:
        """See Store; made on this machine's disk, then written whole under a name of its own."""
        stem, dot, suffix = name.partition(".")
        own = f"{stem}-{uuid.uuid4().hex[:12]}{dot}{suffix}"
        system, root = self._system
        with tempfile.TemporaryFile() as file:
            fill(file)
            file.seek(0)
            size, digest = checksum(file)
            file.seek(0)
            with _as_os_error(), system.open_output_stream(f"{root}/{own}") as there:
                while chunk := file.read(_CHUNK):
                    there.write(chunk)
        return Written(own, size, digest)

    def publish(self, draft: str, name: str) -> str:
        """See Store: it is there."""
        return draft

    def own(self) -> Lease:
        """See Store.

        Raises:
            JobError: a run that has not ended has it.
        """
        return ObjectLease(self, _PACE)

    def owner(self) -> str:
        """See Store."""
        try:
            there = read_lease(self)
        except (OSError, JobError):
            return ""
        return "" if there is None else str(there["owner"])

    def journal(self, lease: Lease) -> "ObjectJournal":
        """See Store."""
        return ObjectJournal(self, lease.nonce)


class ObjectJournal:
    """Each run's lines: an object with those that it begins with, and one for each that it adds."""

    def __init__(self, store: RemoteStore, nonce: str) -> None:
        self._store, self._nonce = store, nonce
        self._run, self._lines = "", 0

    def read(self) -> str | None:
        """See Journal."""
        names = sorted(self._store.names(MANIFESTS))
        found = None
        for first in reversed([name for name in names if _RUN.fullmatch(name)]):
            run = first.removesuffix(".jsonl")
            added = [name for name in names if name.startswith(f"{run}-")]
            with ThreadPoolExecutor(_READS) as pool:
                found, *lines = pool.map(self._text, [first, *added])
            if found.endswith("\n"):  # what is cut was never told to be there
                return found + "".join(line for line in lines if line.endswith("\n"))
        return found

    def begin(self, text: str) -> None:
        """See Journal."""
        self._store.make_folder(MANIFESTS)
        before = self._store.names(MANIFESTS)
        runs = [int(known[1]) for name in before if (known := _RUN.fullmatch(name))]
        self._run = f"{max(runs, default=0) + 1:06d}-{self._nonce}"
        self._store.put(f"{MANIFESTS}/{self._run}.jsonl", text.encode())
        for name in before:
            self._store.delete(f"{MANIFESTS}/{name}")

    def add(self, line: str) -> None:
        """See Journal."""
        self._store.put(f"{MANIFESTS}/{self._run}-{self._lines:06d}.json", line.encode())
        self._lines += 1

    def check(self) -> None:
        """See Journal: another run removes what this one began with."""
        if not self._store.has(f"{MANIFESTS}/{self._run}.jsonl"):
            raise taken(self._store.where)

    def close(self) -> None:
        """See Journal."""

    def _text(self, name: str) -> str:
        with self._store.open(f"{MANIFESTS}/{name}") as file:
            return file.read().decode(errors="replace")


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """What a store's library raises comes out as OSError, whatever that is."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        told = reason(error) if str(error).strip() else type(error).__name__
        raise OSError(told) from error
