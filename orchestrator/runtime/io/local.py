"""A folder of this machine, or of storage that it has mounted, as the place of an output.

Files are written under a hidden name, flushed to disk, and renamed; the lock is the kernel's, which
gives it back when its process ends. Where a file system's locks do not hold between machines, or
somebody removes the lock's file, the run that was first finds another's mark and ends.
"""

import contextlib
import errno
import fcntl
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from orchestrator.errors import JobError
from orchestrator.runtime.io.store import LOCK, MANIFEST, Lease, Written, checksum, taken

#: An owner tells its name just after it has the lock: how often that is looked for, and how soon.
_TELLING, _TELLING_SECONDS = 20, 0.05


@dataclass(frozen=True)
class LocalStore:
    """See Store. ``where`` is the path as its user gave it, ``folder`` the same for any process."""

    where: str
    folder: Path
    manifest = MANIFEST

    @staticmethod
    def at(where: Path | str) -> "LocalStore":
        """The folder of that path."""
        return LocalStore(str(where), Path(where).absolute())

    def make(self) -> None:
        """See Store; a full disk or one that is only read shows at the first write.

        Raises:
            JobError: it is a file.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise JobError(self.where, "is a file; the output is a folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.folder) as probe:
            probe.write(bytes(4096))
            probe.flush()
            os.fsync(probe.fileno())

    def names(self) -> set[str]:
        """See Store."""
        return {path.name for path in self.folder.iterdir()}

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """See Store."""
        return (self.folder / name).open("rb")

    def put(self, name: str, data: bytes) -> None:
        """See Store."""
        with _hidden(self.folder, name) as (file, path):
            file.write(data)
        path.replace(self.folder / name)
        self._sync()

    def delete(self, name: str) -> None:
        """See Store."""
        (self.folder / name).unlink(missing_ok=True)

    def draft(self, name: str, fill: Callable[[IO[bytes]], None]) -> Written:
        """See Store."""
        with _hidden(self.folder, name) as (file, path):
            fill(file)
            file.seek(0)
            size, digest = checksum(file)
        return Written(path.name, size, digest)

    def publish(self, draft: str, name: str) -> str:
        """See Store; on disk when this returns."""
        (self.folder / draft).replace(self.folder / name)
        self._sync()
        return name

    def own(self) -> "LocalLease":
        """See Store.

        Raises:
            JobError: a run that has not ended has it, or files cannot be locked here.
        """
        return LocalLease(self)

    def owner(self) -> str:
        """See Store."""
        try:
            return (self.folder / LOCK).read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    def journal(self, lease: Lease) -> "LocalJournal":
        """See Store."""
        return LocalJournal(self)

    def _sync(self) -> None:
        """A name is on disk when its folder is."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class LocalLease:
    """A locked file that says whose it is.

    It stays: who removed it could remove one that somebody else has locked just now.
    """

    def __init__(self, store: LocalStore) -> None:
        self.nonce = uuid.uuid4().hex[:12]
        self._store = store
        self._told = f"process {os.getpid()} on {socket.gethostname()}, run {self.nonce}"
        self._file: int | None = os.open(
            store.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
        try:
            self._lock(self._file)
            os.ftruncate(self._file, 0)
            os.write(self._file, f"{self._told}\n".encode())
        except BaseException:
            self.close()
            raise

    def check(self) -> None:
        """See Lease; without the file the manifest tells."""
        if self._store.owner() not in {self._told, ""}:
            raise taken(self._store.where)

    def close(self) -> None:
        """See Lease; whoever comes next is not to be told this name."""
        if self._file is not None and self._store.owner() == self._told:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, 0)
        _close(self._file)
        self._file = None

    def _lock(self, file: int) -> None:
        where = self._store.where
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                told = f"a run that has not ended writes to it: {self._other()}"
                raise JobError(where, told) from error
            told = (
                f"{LOCK} cannot be locked ({error.strerror}), so nothing would keep two runs "
                f"apart: mount it with locks, or write to local://{self._store.folder}, where a "
                "lease stands in for them"
            )
            raise JobError(where, told) from error

    def _other(self) -> str:
        """Who has it: told there as soon as it is had, and for as long."""
        for _ in range(_TELLING):
            owner = self._store.owner()
            if owner:
                return owner
            time.sleep(_TELLING_SECONDS)
        return "another process"


class LocalJournal:
    """A file of lines."""

    def __init__(self, store: LocalStore) -> None:
        self._store, self._path = store, store.folder / MANIFEST
        self._file: int | None = None
        self._first, self._length = b"", 0

    def read(self) -> str | None:
        """See Journal."""
        try:
            return self._path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None

    def begin(self, text: str) -> None:
        """See Journal."""
        data = text.encode()
        self._store.put(MANIFEST, data)
        self._first, self._length = data[: data.index(b"\n") + 1], len(data)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)

    def add(self, line: str) -> None:
        """See Journal."""
        assert self._file is not None, "begin comes first"
        data = line.encode()
        try:
            at = 0
            while at < len(data):
                at += os.pwrite(self._file, data[at:], self._length + at)
            os.fsync(self._file)
        except OSError:
            with contextlib.suppress(OSError):  # half a line is damage as soon as another follows
                os.ftruncate(self._file, self._length)
            raise
        self._length += len(data)

    def check(self) -> None:
        """See Journal: the first line names the run."""
        try:
            with self._path.open("rb") as file:
                found = file.read(len(self._first))
        except FileNotFoundError:
            found = b""
        if found != self._first:
            raise taken(self._store.where)

    def close(self) -> None:
        """See Journal."""
        _close(self._file)
        self._file = None


def _close(file: int | None) -> None:
    if file is not None:
        with contextlib.suppress(OSError):
            os.close(file)


@contextlib.contextmanager
def _hidden(folder: Path, name: str) -> Iterator[tuple[IO[bytes], Path]]:
    """A file to write that ends up whole under its hidden path, or not at all."""
    handle, path = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file, Path(path)
            file.flush()
            os.fsync(file.fileno())
        Path(path).chmod(0o644)
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise
