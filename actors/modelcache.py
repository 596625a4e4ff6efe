"""A node's cache of model files: read-only copies, kept by what they hold.

``files/`` has each file once, named by its hash; ``sets/`` has a folder for each model as it is
built, with links to them under their own names, so that a model's weights, its ``.ini`` and the
``.onnx`` of an emulated card lie beside each other. The library sees these paths alone: what is
written to the source later changes nothing, and every build in a process reads one path.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from actors.kept import kept_folder
from actors.messages import CardKind, ModelFiles, ModelOrder, StoredFile
from actors.modelfiles import (
    Folder,
    ModelFileError,
    Stamp,
    difference,
    file_name,
    files_of,
    pieces,
)

_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY = 0o444
#: Of a model's digest, in the name of its folder.
_DIGEST_SHOWN = 16


class ModelCache:
    """By default in ``$ASCEND_ORCHESTRATOR_CACHE``, else in the user's ``~/.cache``."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or kept_folder("models")
        self._files = self.folder / "files"
        self._models = self.folder / "sets"
        self._seen = self.folder / "seen"

    def take(self, folder: Folder, name: str) -> StoredFile:
        """Copy a file, unless it is known by its stamp and kept already; several take turns.

        Raises:
            ModelFileError: it cannot be read, changes meanwhile, or the disk is full.
        """
        stamp = folder.stamp(name)
        if stamp is None:
            raise ModelFileError(f"there is no file {name} in {folder.where}")
        seen = self._seen / hashlib.sha256(f"{folder.where}/{name}\0{stamp}".encode()).hexdigest()
        try:
            self._seen.mkdir(parents=True, exist_ok=True)
            self._files.mkdir(parents=True, exist_ok=True)
            with _locked(seen.with_suffix(".lock")):
                sha256 = self._known(seen, stamp)
                if not sha256:
                    sha256 = self._copied(folder, name, stamp)
                    if stamp.changed:
                        seen.write_text(sha256)
        except OSError as error:
            raise ModelFileError(self._told(folder, name, stamp, error)) from error
        return StoredFile(name, sha256, stamp.nbytes)

    def readable(self, folder: Folder, stored: StoredFile) -> Path:
        """The copy of a file that was taken."""
        return self._files / stored.sha256

    def holds(self, files: ModelFiles) -> bool:
        """Whether every file is kept here, so that the source need not be there."""
        return all(_size(self._files / one.sha256) == one.nbytes for one in files.files)

    def assemble(self, files: ModelFiles, label: str) -> Path:
        """The folder in which these files, all of which are kept, lie under their own names.

        Raises:
            ModelFileError: the disk is full.
        """
        home = self._models / f"{label}-{files.digest[:_DIGEST_SHOWN]}"
        for stored in files.files:
            place = home / stored.name
            if _size(place) == stored.nbytes:
                continue
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                with _draft(place.parent) as draft:
                    _link(self._files / stored.sha256, draft)
                    draft.replace(place)
            except OSError as error:
                told = f"{stored.name} cannot be put into {home}: {error.strerror}"
                raise ModelFileError(told) from error
        return home

    def stage(self, order: ModelOrder, kind: CardKind, folder: Folder) -> ModelOrder:
        """The order with paths in this cache; what is not kept yet is taken from ``folder``.

        Raises:
            ModelFileError: the files cannot be kept, or are not those that the plan was made with.
        """
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
        return sha256 if _size(self._files / sha256) == stamp.nbytes else ""

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
            draft.replace(self._files / digest.hexdigest())
        return digest.hexdigest()

    def _told(self, folder: Folder, name: str, stamp: Stamp, error: OSError) -> str:
        if error.errno not in _FULL:
            return f"{folder.where}/{name} cannot be copied to {self.folder}: {error}"
        free = shutil.disk_usage(self._files).free
        held = sum(_size(file) or 0 for file in self._files.iterdir())
        return (
            f"{name} has {stamp.nbytes:,} bytes and the disk of the model cache {self.folder} has "
            f"{free:,} free: free {max(stamp.nbytes - free, 1):,} bytes there (older models in it "
            f"take {held:,}: it may be removed, and is filled again), or set "
            "ASCEND_ORCHESTRATOR_CACHE to a folder on a larger disk"
        )


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Whoever comes later waits: cards of one node that start together copy a file once."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """A new file that is not there any more afterwards, unless it was renamed."""
    number, name = tempfile.mkstemp(dir=folder)
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
