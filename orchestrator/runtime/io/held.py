"""Results of parts until they are written: in memory as far as they are few, else on disk."""

import tempfile
import threading
from collections.abc import Sequence

import pyarrow as pa

from orchestrator.errors import JobError

#: Bytes of results that a process keeps in memory.
IN_MEMORY = 256 << 20
#: And of what was set aside.
REJECTS_IN_MEMORY = 16 << 20
#: Where the next table begins in a file: at a multiple of so many bytes.
_ALIGNED = 64

Tables = tuple[pa.Table, ...]


class Held:
    """Tables of batches of parts. Beyond ``most`` bytes they go to files that have no name.

    Those lie in this machine's folder for such (``TMPDIR``), are read by the pages that are asked
    for, and are gone with the process. Thread-safe.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: dict[int, dict[int, Tables]] = {}
        #: The batches of each part that are in memory, and the bytes of all of them.
        self._here: dict[int, set[int]] = {}
        self._bytes: dict[int, int] = {}
        self._changing, self._spilling = threading.Lock(), threading.Lock()

    def put(self, part: int, batch: int, tables: Tables) -> bool:
        """Keep a batch's tables; whether there are too many now, and ``spill`` is to be called."""
        with self._changing:
            self._parts.setdefault(part, {})[batch] = tables
            self._here.setdefault(part, set()).add(batch)
            self._bytes[part] = self._bytes.get(part, 0) + sum(table.nbytes for table in tables)
            return sum(self._bytes.values()) > self._most

    def of(self, part: int, stop: int | None = None) -> list[pa.Table]:
        """Tables of a part in the order of its batches: all, or those before ``stop``."""
        with self._changing:
            batches = sorted(self._parts.get(part, {}).items())
            some = [tables for batch, tables in batches if stop is None or batch < stop]
            return [one for tables in some for one in tables]

    def drop(self, part: int) -> None:
        """Forget a part."""
        with self._changing:
            self._parts.pop(part, None)
            self._here.pop(part, None)
            self._bytes.pop(part, None)

    def spill(self) -> None:
        """Write tables to disk until no more than may be are in memory.

        Raises:
            JobError: there is no room for them.
        """
        with self._spilling:
            while some := self._largest():
                part, batches = some
                try:
                    written = iter(_on_disk([one for tables in batches.values() for one in tables]))
                except OSError as error:
                    where = f"the folder for temporary files ({tempfile.gettempdir()})"
                    told = f"has no room for results until they are written: {error}; TMPDIR names"
                    told += " another, a smaller part_size needs less"
                    raise JobError(where, told, {"part_size": "--part-size"}) from error
                found = {at: tuple(next(written) for _ in old) for at, old in batches.items()}
                with self._changing:
                    if part in self._parts:
                        self._parts[part].update(found)
                        self._here[part] -= found.keys()
                        gone = sum(one.nbytes for tables in found.values() for one in tables)
                        self._bytes[part] -= gone

    def _largest(self) -> tuple[int, dict[int, Tables]] | None:
        """What of the part that has the most in memory is there, if too much is."""
        with self._changing:
            if sum(self._bytes.values()) <= self._most:
                return None
            part = max(self._bytes, key=lambda one: self._bytes[one])
            return part, {batch: self._parts[part][batch] for batch in self._here[part]}


def _on_disk(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """The same tables, in a file of this process alone."""
    stretches = []
    with tempfile.NamedTemporaryFile(prefix="orchestrator-job-") as named:
        with pa.OSFile(named.name, "wb") as file:
            for table in tables:
                file.write(bytes(-file.tell() % _ALIGNED))
                begin = file.tell()
                with pa.ipc.new_stream(file, table.schema) as stream:
                    stream.write_table(table)
                stretches.append((begin, file.tell() - begin))
        with pa.memory_map(named.name) as mapped:
            whole = mapped.read_buffer()
    return [pa.ipc.open_stream(whole.slice(at, size)).read_all() for at, size in stretches]
