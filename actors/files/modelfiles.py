"""Which files a model consists of, and their hashes.

They are the model's own file, the files beside it that hold its weights, the ``.ini`` of its name,
and the Lite config file that its deployment names. What they hold, together with the options of
the build, is what a model is known by: a path says nothing, since anybody may write to it.
"""

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from actors.files.mindir import NotAMindIRError, read_mindir
from actors.files.onnxfile import NotAModelError, read_onnx
from actors.messages import CardKind, ModelFiles, ModelOrder, StoredFile

#: Where, among a model's files, the config file lies that its deployment names.
CONFIG_FOLDER = "config"
_PIECE = 1 << 20


class ModelFileError(ValueError):
    """What is wrong with a model's files, in words for its user."""


@dataclass(frozen=True)
class Stamp:
    """Bytes of a file, and what differs when it was written anew; empty where nobody tells."""

    nbytes: int
    changed: str


class Folder(Protocol):
    """Where a model's files lie: a folder of this machine, or what a URL names."""

    @property
    def where(self) -> str:
        """Its path or URL."""
        ...

    def stamp(self, name: str) -> Stamp | None:
        """Of a file; None if there is none of that name.

        Raises:
            ModelFileError: nobody can tell.
        """
        ...

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A file to read from its beginning. OSError: it cannot be read."""
        ...


class Store(Protocol):
    """What hashes a file, and says where its header can be read."""

    def take(self, folder: Folder, name: str) -> StoredFile:
        """Hash a file that is there.

        Raises:
            ModelFileError: it cannot be read, or kept.
        """
        ...

    def readable(self, folder: Folder, stored: StoredFile) -> Path:
        """The same on this machine."""
        ...


@dataclass(frozen=True)
class LocalFolder:
    """A folder of this machine, or of storage that it has mounted."""

    path: Path

    @property
    def where(self) -> str:
        """Its path."""
        return str(self.path)

    def stamp(self, name: str) -> Stamp | None:
        """See Folder."""
        try:
            status = (self.path / name).stat()
        except OSError:
            return None
        changed = f"{status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
        return Stamp(status.st_size, changed) if (self.path / name).is_file() else None

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """See Folder."""
        return (self.path / name).open("rb")


class InPlace:
    """Hashes the files of a LocalFolder where they are; each is read once while it stays as is."""

    def take(self, folder: Folder, name: str) -> StoredFile:
        """See Store."""
        path, stamp = Path(folder.where, name), folder.stamp(name)
        try:
            return StoredFile(name, file_digest(path), stamp.nbytes if stamp else 0)
        except OSError as error:
            raise ModelFileError(f"{path} cannot be read: {error.strerror}") from None

    def readable(self, folder: Folder, stored: StoredFile) -> Path:
        """See Store."""
        return Path(folder.where, stored.name)


def served_file(path: str, kind: CardKind) -> Path:
    """The file that is read for a model's path: on an emulated card the .onnx beside it."""
    return Path(path).with_suffix(".onnx") if kind == "emulated" else Path(path)


def options_of(order: ModelOrder) -> dict[str, Any]:
    """What a build depends on besides files, as plain data."""
    return {
        "provider": order.provider,
        "precision": order.precision,
        "dynamic": order.dynamic,
        "gears": None if order.gears is None else [asdict(gear) for gear in order.gears],
        "config": {section: dict(values) for section, values in order.config.items()},
    }


def files_of(order: ModelOrder, kind: CardKind, folder: Folder, store: Store) -> ModelFiles:
    """Every file of a model that lies in ``folder``, and the digest of all with its options.

    Raises:
        ModelFileError: one cannot be read, or lies where it must not.
    """
    found = files_in(order.path, kind, folder, store)
    config = ""
    if order.config_path is not None:
        path = Path(order.config_path)
        stored = store.take(LocalFolder(path.parent), path.name)
        config = f"{CONFIG_FOLDER}/{path.name}"
        found = (*found, StoredFile(config, stored.sha256, stored.nbytes))
    return ModelFiles(found, digest_of(found, options_of(order)), config)


def files_in(path: str, kind: CardKind, folder: Folder, store: Store) -> tuple[StoredFile, ...]:
    """The same without a config file from elsewhere: the file that is served comes first.

    Raises:
        ModelFileError: as ``files_of``.
    """
    main = served_file(file_name(path), kind).name
    if folder.stamp(main) is None:
        raise ModelFileError(f"there is no file {main} in {folder.where}")
    served = store.take(folder, main)
    found = [served]
    for name in _weights_beside(store.readable(folder, served), kind):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ModelFileError(
                f"{main} has weights in {name}, outside of its own folder: write them beside it"
            )
        if folder.stamp(name) is not None:  # else the library will say what it misses
            found.append(store.take(folder, name))
    ini = Path(main).with_suffix(".ini").name
    if folder.stamp(ini) is not None:
        found.append(store.take(folder, ini))
    return tuple(found)


def digest_of(files: Sequence[StoredFile], options: Mapping[str, Any] | None = None) -> str:
    """SHA-256 of what files are called and hold, and of options."""
    contents = [[stored.name, stored.sha256] for stored in files]
    text = json.dumps([contents, options], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def file_name(path: str) -> str:
    """The last part of a path or of a URL."""
    return path.rpartition("/")[2]


def difference(planned: ModelFiles, found: ModelFiles) -> str:
    """How files differ from those that a plan was made with; empty if they do not."""
    here = {stored.name: stored for stored in found.files}
    there = {stored.name: stored for stored in planned.files}
    for name, stored in there.items():
        now = here.get(name)
        if now is None:
            return f"{name} is not there, which the plan was made with"
        if now != stored:
            return (
                f"{name} has {now.nbytes:,} bytes (SHA-256 {now.sha256[:12]}) here, and the plan "
                f"was made with {stored.nbytes:,} bytes (SHA-256 {stored.sha256[:12]})"
            )
    more = sorted(here.keys() - there.keys())
    return f"there is also {more[0]} here, which the plan was not made with" if more else ""


def file_digest(path: Path) -> str:
    """SHA-256 of a file; read again only when its size, time of change or place has changed.

    Raises:
        OSError: it cannot be read.
    """
    status = path.stat()
    changed = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
    return _digest_of(path.resolve(), changed)


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """A file's bytes, not all at once."""
    while piece := file.read(_PIECE):
        yield piece


@functools.lru_cache(maxsize=1024)
def _digest_of(path: Path, _changed: tuple[int, ...]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in pieces(file):
            digest.update(piece)
    return digest.hexdigest()


def weightless(order: ModelOrder, kind: CardKind) -> bool:
    """Whether a model is known to have no weights: as planned, else as its file says.

    The library refuses to group such a model (acl_mem_manager.cc of 2.7), so it shares nothing.
    What cannot be read says nothing.
    """
    if order.footprint is not None:
        return not order.footprint.weights
    try:
        if kind == "emulated":
            return not read_onnx(served_file(order.path, kind)).weight_bytes
        om = read_mindir(Path(order.path)).om
    except (NotAModelError, NotAMindIRError, OSError):
        return False
    return om is not None and not om.weights


def model_bytes(path: str, kind: CardKind) -> int:
    """Bytes of a model's file and of those that hold its weights: a little more than the weights.

    Raises:
        OSError: the file is not there.
    """
    main = served_file(path, kind)
    beside = [main.parent / name for name in _weights_beside(main, kind)]
    return sum(file.stat().st_size for file in (main, *beside) if file == main or file.is_file())


def _weights_beside(path: Path, kind: CardKind) -> tuple[str, ...]:
    """Names of files that hold weights; what is no model is for the library to refuse."""
    try:
        return (read_onnx if kind == "emulated" else read_mindir)(path).external_data
    except (NotAModelError, NotAMindIRError, OSError):
        return ()
