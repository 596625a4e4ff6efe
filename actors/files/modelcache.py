"""A node's cache of model files: read-only copies, kept by what they hold.

``files/`` has each file once, named by its hash; ``sets/`` has a folder for each model as it is
built, with links to them under their own names, so that a model's weights, its ``.ini`` and the
``.onnx`` of an emulated card lie beside each other. The library sees these paths alone: what is
written to the source later changes nothing, and every build in a process reads one path.

A file is trusted while it is what it was when its bytes were last hashed, by its time of change and
its place; else it is hashed again, and copied again if it has other bytes.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from actors.files.cacheroom import DRAFT, Room
from actors.files.modelfiles import (
    Folder,
    ModelFileError,
    Stamp,
    difference,
    file_digest,
    file_name,
    files_of,
    pieces,
)
from actors.machine.kept import kept_folder
from actors.messages import CardKind, ModelFiles, ModelOrder, StoredFile

T = TypeVar("T")

_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY = 0o444
#: Of a model's digest, in the name of its folder.
_DIGEST_SHOWN = 16


class CacheFullError(ModelFileError):
    """The disk of the cache is full; ``missing`` bytes at least must become free."""

    def __init__(self, told: str, missing: int) -> None:
        super().__init__(told)
        self.missing = missing


class ModelCache:
    """By default in ``$ASCEND_ORCHESTRATOR_CACHE``, else in the user's ``~/.cache``."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or kept_folder("models")
        self._files = self.folder / "files"
        self._models = self.folder / "sets"
        self._seen = self.folder / "seen"
        self._sound = self.folder / "sound"
        self._room = Room(self.folder)

    def filled(self, fill: Callable[[], T]) -> T:
        """What ``fill`` returns, which takes files and assembles them: none goes meanwhile.

        Where the disk is full, models that no process uses make room, the longest unused first.

        Raises:
            ModelFileError: see ``take``; the disk is full of what is used, or the folder is none
                that can be written to and locked.
        """
        try:
            return self._filled(fill)
        except OSError as error:
            told = f"the model cache {self.folder} cannot be used: {error.strerror}"
            raise ModelFileError(told) from error

    def take(self, folder: Folder, name: str) -> StoredFile:
        """Copy a file, unless it is known by its stamp and kept already; several take turns.

        Within ``filled``, as ``assemble``.

        Raises:
            ModelFileError: it cannot be read, changes meanwhile, or the disk is full.
        """
        stamp = folder.stamp(name)
        if stamp is None:
            raise ModelFileError(f"there is no file {name} in {folder.where}")
        seen = self._seen / hashlib.sha256(f"{folder.where}/{name}\0{stamp}".encode()).hexdigest()
        try:
            with _locked(seen.with_suffix(".lock")):
                sha256 = self._known(seen, stamp)
                if not sha256:
                    sha256 = self._copied(folder, name, stamp)
                    if stamp.changed:
                        seen.write_text(sha256)
        except OSError as error:
            raise self._told(folder, name, stamp, error) from error
        return StoredFile(name, sha256, stamp.nbytes)

    def readable(self, folder: Folder, stored: StoredFile) -> Path:
        """The copy of a file that was taken."""
        return self._files / stored.sha256

    def holds(self, files: ModelFiles) -> bool:
        """Whether every file is kept here, so that the source need not be there."""
        return all(self._is_sound(self._files / one.sha256, one.sha256) for one in files.files)

    def assemble(self, files: ModelFiles, label: str) -> Path:
        """The folder in which these files, all of which are kept, lie under their own names.

        It stays for as long as this process lives.

        Raises:
            ModelFileError: the disk is full.
        """
        home = self._models / f"{label}-{files.digest[:_DIGEST_SHOWN]}"
        for stored in files.files:
            place = home / stored.name
            if self._is_sound(place, stored.sha256):
                continue
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                with _draft(place.parent) as draft:
                    _link(self._files / stored.sha256, draft)
                    draft.replace(place)
            except OSError as error:
                told = f"{stored.name} cannot be put into {home}: {error.strerror}"
                if error.errno in _FULL:
                    raise CacheFullError(told, stored.nbytes) from error
                raise ModelFileError(told) from error
        self._room.use(home.name)
        return home

    def stage(self, order: ModelOrder, kind: CardKind, folder: Folder) -> ModelOrder:
        """The order with paths in this cache; what is not kept yet is taken from ``folder``.

        Raises:
            ModelFileError: the files cannot be kept, or are not those that the plan was made with.
        """
        return self.filled(lambda: self._staged(order, kind, folder))

    def _filled(self, fill: Callable[[], T]) -> T:
        try:
            with self._room.filling():
                done = fill()
        except CacheFullError as error:
            if not self._room.make(error.missing):
                raise
            with self._room.filling():
                done = fill()
        self._room.trim()
        return done

    def _staged(self, order: ModelOrder, kind: CardKind, folder: Folder) -> ModelOrder:
        files = order.files
        if files is None or not self.holds(files):
            found = files_of(order, kind, folder, self)
            differs = difference(files, found) if files is not None else ""
            if differs:
                raise ModelFileError(
                    f"{differs}: copy the planned file to {folder.where} on this node, or plan "
                    "again with what is there now, the same on every node"
                )
            files = files or found
        home = self.assemble(files, order.name)
        config = str(home / files.config) if files.config else None
        path = str(home / file_name(order.path))
        return replace(order, path=path, config_path=config, files=files)

    def _known(self, seen: Path, stamp: Stamp) -> str:
        """The hash of a file that was taken before and has not changed since; else nothing."""
        try:
            sha256 = seen.read_text()
        except FileNotFoundError:
            return ""
        return sha256 if self._is_sound(self._files / sha256, sha256) else ""

    def _is_sound(self, file: Path, sha256: str) -> bool:
        """Whether a file is there and has the bytes that it is to have."""
        try:
            state = _state(file)
        except OSError:
            return False
        note = self._sound / sha256
        with suppress(OSError):
            if state in note.read_text().splitlines():
                return True
        if file_digest(file) != sha256:
            return False
        self._note(sha256, state)
        return True

    def _note(self, sha256: str, state: str) -> None:
        with (self._sound / sha256).open("a") as note:
            note.write(f"{state}\n")

    def _copied(self, folder: Folder, name: str, stamp: Stamp) -> str:
        digest, count = hashlib.sha256(), 0
        if shutil.disk_usage(self._files).free < stamp.nbytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with _draft(self._files) as draft:
            with folder.open(name) as source, draft.open("wb") as copy:
                for piece in pieces(source):
                    digest.update(piece)
                    count += copy.write(piece)
            if count != stamp.nbytes or folder.stamp(name) != stamp:
                raise ModelFileError(f"{folder.where}/{name} changes while it is copied: try again")
            draft.chmod(_READ_ONLY)
            sha256 = digest.hexdigest()
            if not self._is_sound(self._files / sha256, sha256):  # else sets have links to it
                self._note(sha256, _state(draft))
                draft.replace(self._files / sha256)
        return sha256

    def _told(self, folder: Folder, name: str, stamp: Stamp, error: OSError) -> ModelFileError:
        if error.errno not in _FULL:
            told = f"{folder.where}/{name} cannot be copied to {self.folder}: {error}"
            return ModelFileError(told)
        free = shutil.disk_usage(self._files).free
        missing = max(stamp.nbytes - free, 1)
        told = (
            f"{name} has {stamp.nbytes:,} bytes and the disk of the model cache {self.folder} has "
            f"{free:,} free: free {missing:,} bytes there (models that are used now take "
            f"{self._room.nbytes():,} of it), or set ASCEND_ORCHESTRATOR_CACHE to a folder on a "
            "larger disk"
        )
        return CacheFullError(told, missing)


def _state(file: Path) -> str:
    """What differs when a file was written anew, or is another; not when it gets one more name."""
    status = file.stat()
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Whoever comes later waits: cards of one node that start together copy a file once."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """A new file that is not there any more afterwards, unless it was renamed."""
    number, name = tempfile.mkstemp(prefix=DRAFT, dir=folder)
    os.close(number)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _link(source: Path, draft: Path) -> None:
    """Both are ours, and read-only; where a disk knows no links, a copy."""
    draft.unlink()
    try:
        os.link(source, draft)
    except OSError:
        shutil.copy(source, draft)
