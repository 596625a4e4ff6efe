"""A GE session: what the Model objects of one ModelGroup share when their provider is ``ge``.

The group's id is the session's (ge_graph_executor.cc of 2.7.0). Its graphs reuse one memory, as
large as the largest graph's, and nothing keeps them from running at the same time, which CANN
forbids; here such a run is refused. Constants are shared with ``ge.externalWeight=1``, and then by
name alone: a name that the session has seen keeps the values of the model that brought it.
"""

import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from actors.emulator.arena import Arena
from actors.emulator.device import LedgerEntry
from actors.files.onnxfile import Constant, read_constants, read_onnx
from actors.memory import AllocationRule

SECTION = "ge_session_options"
_EXTERNAL = "ge.externalWeight"
_POLICY = "ge.exec.staticMemoryPolicy"
#: Policies with which the graphs of a session reuse one memory; the library sets 2 by itself.
_REUSING = ("2", "4")
#: A member's constant, and the model and the constant there that the session had first.
Replaced = tuple[Constant, Path, Constant]


class GeSession:
    """One session of one process. Building is serialised by the library's own lock."""

    def __init__(self, number: int, options: Mapping[str, str]) -> None:
        self.number = number
        self.shares_constants = options.get(_EXTERNAL) == "1"
        self.reuses_memory = options.get(_POLICY, _REUSING[0]) in _REUSING
        self._options = dict(options)
        self._origins: dict[str, tuple[Path, Constant]] = {}
        self._running = threading.Lock()
        self._arena: Arena | None = None
        self._largest = 0
        self._folder: Path | None = None

    @property
    def ledger_path(self) -> str:
        """Under what the session's own memory stands in the ledger."""
        return f"GE session {self.number}"

    def require_equal(self, options: Mapping[str, str]) -> None:
        """Raise ValueError unless a further member has the session's options."""
        if dict(options) != self._options:
            raise ValueError(
                "Session options is not equal in diff config infos when models' weights are "
                f"shared: {self._options} and {dict(options)}"
            )

    def held_bytes(self, onnx: Path) -> int:
        """Bytes of a member's constants that the session holds already, from other files.

        Raises:
            ValueError: a name was seen with another type or shape.
        """
        return sum(mine.nbytes for mine, _, _ in self._seen(onnx.resolve()))

    def serve(self, onnx: Path) -> Path:
        """The file to run for a member: a copy with the first values where names were seen before.

        Raises:
            ValueError: a name was seen with another type or shape.
        """
        source = onnx.resolve()
        seen = self._seen(source)
        for constant in read_constants(source):
            self._origins.setdefault(constant.name, (source, constant))
        return self._patched(source, seen) if seen else onnx

    def entry(self, rule: AllocationRule, nbytes: int) -> LedgerEntry:
        """The session's one memory if a graph that needs ``nbytes`` joins."""
        largest = max(self._largest, nbytes)
        return LedgerEntry(self.ledger_path, -self.number, private=rule.alloc(largest))

    def join(self, nbytes: int) -> None:
        """A graph that needs ``nbytes`` has been charged for."""
        self._largest = max(self._largest, nbytes)

    def arena(self) -> Arena:
        """The session's one memory, as large as the largest graph so far."""
        size = max(self._largest, 1)
        if self._arena is None:
            self._arena = Arena(size)
        elif size > self._arena.nbytes:
            self._arena.resize(size)
        return self._arena

    @contextmanager
    def executing(self) -> Iterator[None]:
        """Run a graph alone in the session's memory.

        Raises:
            ValueError: another graph of the session is running.
        """
        if not self.reuses_memory:
            yield
            return
        if not self._running.acquire(blocking=False):
            raise ValueError(
                f"graphs of GE session {self.number} reuse one memory and must not run at the "
                "same time"
            )
        try:
            yield
        finally:
            self._running.release()

    def _seen(self, source: Path) -> list[Replaced]:
        found = []
        for mine in read_constants(source):
            origin, first = self._origins.get(mine.name, (source, mine))
            if (first.kind, first.dims) != (mine.kind, mine.dims):
                raise ValueError(
                    f"parameter {mine.name} of {source} is {mine.dims}, the session has it "
                    f"from {origin} as {first.dims}"
                )
            if origin != source:
                found.append((mine, origin, first))
        return found

    def _patched(self, onnx: Path, replaced: list[Replaced]) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="ge-session-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        folder = self._folder / str(len(list(self._folder.iterdir())))
        for name in (onnx.name, *read_onnx(onnx).external_data):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(onnx.parent / name, folder / name)
        for constant, origin, first in replaced:
            with (folder / (constant.file or onnx.name)).open("r+b") as file:
                file.seek(constant.offset)
                file.write(_bytes(origin, first))
        return folder / onnx.name


def _bytes(model: Path, constant: Constant) -> bytes:
    with (model.parent / (constant.file or model.name)).open("rb") as file:
        file.seek(constant.offset)
        return file.read(constant.nbytes)
