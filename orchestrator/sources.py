"""Where files come from: paths of this machine, and URLs through pyarrow and fsspec.

pyarrow knows ``file://``, ``s3://``, ``gs://`` and ``hdfs://`` by itself; every other scheme goes
through fsspec. pyarrow is imported where a URL is met, since it brings native libraries along.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

from actors.files.modelcache import ModelCache
from actors.files.modelfiles import (
    Folder,
    InPlace,
    LocalFolder,
    ModelFileError,
    Stamp,
    digest_of,
    file_name,
    files_in,
    files_of,
)
from actors.messages import CardKind, ModelFiles, ModelOrder
from orchestrator.errors import DeploymentError

if TYPE_CHECKING:
    from pyarrow import fs

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class SourceError(Exception):
    """Nothing can be read there; the text says why, without naming the place."""


def is_url(path: str) -> bool:
    """Whether a path names something behind a scheme (``s3://``)."""
    return _URL.match(path) is not None


def file_system(where: str) -> "tuple[fs.FileSystem, str]":
    """The file system of a path or URL, and the path in it.

    Raises:
        SourceError: its scheme is not known here, or it cannot be reached.
    """
    import pyarrow as pa
    from pyarrow import fs

    if not is_url(where):
        return fs.LocalFileSystem(), str(Path(where).absolute())
    try:
        system, path = fs.FileSystem.from_uri(where)
    except pa.ArrowInvalid:  # not one of pyarrow's own
        return _by_fsspec(where)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"cannot be reached: {reason(error)}") from error
    return system, path.rstrip("/")


def reason(error: Exception) -> str:
    """The system's words where there are any: pyarrow repeats the path around them."""
    text = str(error).strip().splitlines()[0]
    return text.partition("Detail: ")[2].partition("] ")[2] or text


@dataclass(frozen=True)
class UrlFolder:
    """The files beside each other behind a URL."""

    where: str

    @cached_property
    def _system(self) -> "tuple[fs.FileSystem, str]":
        try:
            return file_system(self.where)
        except SourceError as error:
            raise ModelFileError(f"{self.where} {error}") from error

    def stamp(self, name: str) -> Stamp | None:
        """See Folder."""
        import pyarrow as pa
        from pyarrow import fs

        system, root = self._system
        try:
            known = system.get_file_info(f"{root}/{name}")
        except (OSError, pa.ArrowException) as error:
            told = f"{self.where}/{name} cannot be read: {reason(error)}"
            raise ModelFileError(told) from error
        if known.type is not fs.FileType.File:
            return None
        return Stamp(int(known.size), str(known.mtime_ns or ""))

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """See Folder."""
        import pyarrow as pa

        system, root = self._system
        try:
            with system.open_input_stream(f"{root}/{name}") as file:
                yield file
        except pa.ArrowException as error:
            raise OSError(reason(error)) from error


def folder_of(path: str) -> Folder:
    """The folder of a model's path or URL."""
    return UrlFolder(path.rpartition("/")[0]) if is_url(path) else LocalFolder(Path(path).parent)


def local_path(path: str, kind: CardKind) -> Path:
    """A model's path on this machine, with the files of such cards beside it.

    What a URL names is copied to this machine's cache, once for as long as it does not change.

    Raises:
        DeploymentError: it cannot be read.
    """
    if not is_url(path):
        return Path(path)
    cache = ModelCache()

    def fill() -> Path:
        files = files_in(path, kind, folder_of(path), cache)
        return cache.assemble(ModelFiles(files, digest_of(files)), Path(file_name(path)).stem)

    try:
        return cache.filled(fill) / file_name(path)
    except ModelFileError as error:
        raise DeploymentError(path, (str(error),)) from error


def local_order(order: ModelOrder, kind: CardKind) -> ModelOrder:
    """The same with its path on this machine.

    Raises:
        DeploymentError: as ``local_path``.
    """
    return replace(order, path=str(local_path(order.path, kind)))


def known_files(order: ModelOrder, kind: CardKind) -> ModelFiles:
    """The files of a model as they are now; those of this machine are only read.

    Raises:
        DeploymentError: one cannot be read.
    """
    cache, folder = ModelCache(), folder_of(order.path)
    try:
        if not is_url(order.path):
            return files_of(order, kind, folder, InPlace())
        return cache.filled(lambda: files_of(order, kind, folder, cache))
    except ModelFileError as error:
        raise DeploymentError(f"model {order.name}", (str(error),)) from error


def _by_fsspec(where: str) -> "tuple[fs.FileSystem, str]":
    from pyarrow import fs

    scheme = where.partition("://")[0]
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        told = f"{scheme}:// is read through fsspec: pip install fsspec, and what it needs"
        raise SourceError(told) from error
    try:
        system, path = url_to_fs(where)
    except (ImportError, ValueError, OSError) as error:
        raise SourceError(f"cannot be reached: {error}") from error
    return fs.PyFileSystem(fs.FSSpecHandler(system)), str(path).rstrip("/")
