"""One emulated card: its ledger of device memory, its lock and its clock."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace

from actors.emulator.arena import Arena, Engine
from actors.emulator.clock import Clock
from actors.emulator.handover import Handover
from actors.emulator.lingering import Lingering
from actors.memory import AllocationRule, CardMemory

#: Guards ledgers and registrations. One lock, since a Model may be collected anywhere.
STATE = threading.RLock()


class DeviceFullError(RuntimeError):
    """An allocation exceeds what the card has left."""

    def __init__(self, device: int, part: str, nbytes: int, free: int) -> None:
        super().__init__(device, part, nbytes, free)
        self.device = device
        self.part = part
        self.nbytes = nbytes
        self.free = free

    def __str__(self) -> str:
        return (
            f"Malloc device memory failed: {self.nbytes:,} bytes for {self.part}, "
            f"device {self.device} has {self.free:,} bytes free"
        )


@dataclass(frozen=True)
class LedgerEntry:
    """The bytes of one Model object, or of what the Model objects of one path share (object 0).

    Each allocation is rounded for itself by the card's rule. ``engine`` is what ONNX Runtime's own
    session took from the process beyond the weights, ``slack`` what an arena for overlapping runs
    may take beyond their peaks: no part of the card's memory.
    """

    path: str
    object: int
    weights: int = 0
    private: int = 0
    io: int = 0
    objects: int = 0
    engine: int = 0
    slack: int = 0


@dataclass(frozen=True)
class DeviceMemory:
    """One card's ledger. ``workspace`` is the shared one, ``private`` all others.

    ``others``: bytes of other processes of the card, among them those that ended a moment ago.
    """

    capacity: int
    overhead: int
    weights: int
    workspace: int
    private: int
    io: int
    objects: int
    engine_bytes: int
    busy_seconds: float
    models: tuple[LedgerEntry, ...]
    others: int = 0

    @property
    def free(self) -> int:
        """Bytes that are left for this process."""
        return self.capacity - self.card_memory.total - self.others

    @property
    def card_memory(self) -> CardMemory:
        """The same parts as the planner's sum."""
        return CardMemory(
            overhead=self.overhead,
            weights=self.weights,
            workspace=self.workspace,
            private=self.private,
            io=self.io,
            objects=self.objects,
        )


class Device:
    """A card of this process. ``lock`` is held around executions that share the workspace.

    The shared workspace is sized by ``cal_max_size_of_workspace`` and taken by the first build that
    needs it; ``has_allocated`` is then set for the life of the process (2.7.0, acl_mem_manager.cc).
    """

    def __init__(
        self,
        index: int,
        capacity: int,
        overhead: int,
        rule: AllocationRule,
        lingering: Lingering | None = None,
    ) -> None:
        self.index = index
        self.rule = rule
        self.lock = Handover()
        self.clock = Clock()
        self.has_allocated = False
        self.workspace_bytes = 0
        self.weight_bytes: dict[str, int] = {}
        self.engines: dict[str, Engine] = {}
        self.users: dict[str, int] = {}
        self._capacity = capacity
        self._overhead = overhead
        self._guard = STATE
        self._workspace = 0
        self._arena: Arena | None = None
        self._entries: dict[tuple[str, int], LedgerEntry] = {}
        self._lingering = lingering
        self._note()

    def size(self, path: str, weights: int, workspace: int) -> None:
        """Record a member's sizes; a path's first weight size stays, workspaces take the max."""
        self.weight_bytes.setdefault(path, weights)
        self.workspace_bytes = max(self.workspace_bytes, workspace)

    def shared_arena(self) -> Arena:
        """The card's one workspace; its memory is taken by whoever asks first.

        Raises:
            DeviceFullError: it does not fit.
            ValueError: it is larger than an arena can be.
        """
        with self._guard:
            if self._arena is None:
                arena = Arena(self.workspace_bytes)
                nbytes = self.rule.alloc(self.workspace_bytes)
                self._require("the shared workspace", nbytes)
                self._arena, self._workspace = arena, nbytes
                self.has_allocated = True
                self._note()
            return self._arena

    def charge(self, entry: LedgerEntry) -> None:
        """Put an entry into the ledger, in place of one with the same path and object.

        What the engine was found to cost for that one stays.

        Raises:
            DeviceFullError: the card has too little left; the ledger is unchanged.
        """
        with self._guard:
            key = (entry.path, entry.object)
            before = self._entries.get(key)
            more = _total([entry]) - (_total([before]) if before else 0)
            self._require(entry.path, more)
            if before:
                entry = replace(entry, engine=before.engine, slack=before.slack)
            self._entries[key] = entry
            self._note()

    def note_engine(self, path: str, number: int, nbytes: int) -> None:
        """Record what making a session cost beyond its weights."""
        with self._guard:
            self._entries[path, number] = replace(self._entries[path, number], engine=nbytes)

    def note_slack(self, path: str, number: int, nbytes: int) -> None:
        """Record what an arena for overlapping runs may take beyond their peaks."""
        with self._guard:
            self._entries[path, number] = replace(self._entries[path, number], slack=nbytes)

    def discard(self, path: str, number: int) -> None:
        """Take an entry out of the ledger."""
        with self._guard:
            self._entries.pop((path, number), None)
            self._note()

    def release_shared(self, path: str, key: str, owner: int) -> None:
        """Free the workspace and one path's shared weights, once no model is alive at all."""
        with self._guard:
            self._arena, self._workspace = None, 0
            if self.engines.pop(key, None) is not None:
                self.discard(path, owner)
            self._note()

    def memory(self) -> DeviceMemory:
        """The ledger now."""
        with self._guard:
            entries = tuple(self._entries.values())
            return DeviceMemory(
                capacity=self._capacity,
                overhead=self._overhead,
                weights=sum(entry.weights for entry in entries),
                workspace=self._workspace,
                private=sum(entry.private for entry in entries),
                io=sum(entry.io for entry in entries),
                objects=sum(entry.objects for entry in entries),
                engine_bytes=sum(entry.engine + entry.slack for entry in entries),
                busy_seconds=self.clock.busy_seconds,
                models=entries,
                others=self._others(),
            )

    def close(self) -> None:
        """Leave the card, as the end of the process does."""
        with self._guard:
            if self._lingering is not None:
                self._lingering.close()
                self._lingering = None

    def _require(self, part: str, nbytes: int) -> None:
        free = self._capacity - self._used() - self._others()
        if nbytes > free:
            raise DeviceFullError(self.index, part, nbytes, free)

    def _used(self) -> int:
        return self._overhead + self._workspace + _total(self._entries.values())

    def _others(self) -> int:
        return 0 if self._lingering is None else self._lingering.held_by_others()

    def _note(self) -> None:
        if self._lingering is not None:
            self._lingering.note(self._used())


def _total(entries: Iterable[LedgerEntry]) -> int:
    return sum(entry.weights + entry.private + entry.io + entry.objects for entry in entries)
