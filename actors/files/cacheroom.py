"""Room in a node's cache of model files: who uses which set, and what goes when there is no more.

A process holds a shared lock on every set that it uses, for as long as it lives, however it ends.
What nobody holds goes, the longest unused first: when the disk is full, and above a limit of bytes.
Files of the cache are removed by one process at a time, while no other fills it.
"""

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.files.modelfiles import ModelFileError

#: The most bytes of the cache, such as 200GiB; half of its disk where it is not set.
LIMIT = "ASCEND_ORCHESTRATOR_CACHE_LIMIT"
#: What a file that is being written is called, until it has its own name.
DRAFT = "draft-"
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
#: A draft of that age is one whose process was killed.
_DRAFT_SECONDS = 24 * 3600.0

#: Locks of this process, by the file that is locked: for its life.
_held: dict[Path, int] = {}


class Room:
    """Of the cache in a folder with ``files``, ``sets``, and what is known of them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._used = folder, folder / "used"

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Nothing is removed meanwhile. Any number of processes fill at once."""
        for part in ("files", "sets", "seen", "sound", "used"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    def use(self, name: str) -> None:
        """This process uses a set from now on."""
        path = self._used / name
        if path not in _held:
            _held[path] = _open_locked(path)
        os.utime(path)

    def make(self, nbytes: int) -> bool:
        """Remove what nobody uses until so many bytes are free; whether anything was removed."""
        with self._removing(wait=True):
            return self._remove(nbytes)

    def trim(self) -> None:
        """Remove old drafts, and what is above the limit; later, if others fill the cache now."""
        with contextlib.suppress(BlockingIOError), self._removing(wait=False):
            for draft in self._folder.rglob(f"{DRAFT}*"):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - draft.stat().st_mtime > _DRAFT_SECONDS:
                        draft.unlink()
            over = self.nbytes() - self._limit()
            if over > 0:
                self._remove(over)

    def nbytes(self) -> int:
        """What the cache takes; what several names have counts once."""
        kept = [file.stat() for part in ("files", "sets") for file in _files(self._folder / part)]
        return sum({status.st_ino: status.st_size for status in kept}.values())

    def _limit(self) -> int:
        text = os.environ.get(LIMIT)
        if not text:
            return shutil.disk_usage(self._folder).total // 2
        found = re.fullmatch(r"([0-9.]+) ?([KMGT]iB|)", text.strip())
        if found is None:
            raise ModelFileError(f"{LIMIT}={text}: write a number of bytes, such as 200GiB")
        return int(float(found[1]) * _UNITS[found[2]])

    @contextmanager
    def _removing(self, *, wait: bool) -> Iterator[None]:
        """Nobody fills meanwhile. BlockingIOError: somebody does, and it is not waited for."""
        with (self._folder / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield

    def _remove(self, nbytes: int) -> bool:
        before = self.nbytes()
        self._remove_files()
        for home in sorted((self._folder / "sets").iterdir(), key=self._last_used):
            if before - self.nbytes() >= nbytes:
                break
            if self._let_go(home.name):
                shutil.rmtree(home)
                self._remove_files()
        return self.nbytes() < before

    def _last_used(self, home: Path) -> float:
        try:
            return (self._used / home.name).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _let_go(self, name: str) -> bool:
        """Whether no process uses a set; its mark is gone then."""
        path = self._used / name
        if path in _held:
            return False
        try:
            with path.open("rb") as mark:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
        except FileNotFoundError:
            return True
        except BlockingIOError:
            return False
        return True

    def _remove_files(self) -> None:
        """Files that no set has, and what was noted of files that are gone."""
        kept = set()
        for file in _files(self._folder / "files"):
            if file.stat().st_nlink > 1 or file.name.startswith(DRAFT):
                kept.add(file.name)
            else:
                file.unlink()
        for note in _files(self._folder / "sound"):
            if note.name not in kept:
                note.unlink()
        for seen in _files(self._folder / "seen"):
            if seen.suffix != ".lock" and seen.read_text() not in kept:
                seen.unlink()
        for lock in (self._folder / "seen").glob("*.lock"):
            if not lock.with_suffix("").exists():
                lock.unlink()


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _open_locked(path: Path) -> int:
    """A shared lock on a mark that is there: it may be removed between opening and locking."""
    while True:
        mark = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(mark, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(mark).st_ino:
                return mark
        os.close(mark)
