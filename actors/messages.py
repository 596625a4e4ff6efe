"""What crosses the wire between the driver and a card. Frozen, small, and importable everywhere."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, NamedTuple

from actors import shapes
from actors.errors import OrchestratorError
from actors.histogram import Counted
from actors.machine.hostmemory import HostMemory
from actors.memory import ASCEND, AllocationRule, CardMemory, Footprint
from actors.queue import Priority
from actors.shapes import BatchRule, Gear, Signature, TensorSpec

Array = shapes.Array
Arrays = shapes.Arrays
CardKind = Literal["ascend", "cpu", "emulated"]
NOTHING_SHARED = "cards of kind cpu share nothing: each thread has its own weights and workspace"
Provider = Literal["acl", "ge"]
ConfigSections = Mapping[str, Mapping[str, str]]

#: A driver's requests have ids that are equal above so many bits.
SENDER_BITS = 32


class CardState(str, Enum):
    """Where a card's process stands."""

    EMPTY = "empty"
    """Started, identified, no models yet."""
    LOADING = "loading"
    """Declaring, sizing, building or warming up its models."""
    READY = "ready"
    """Answers requests."""
    DRAINING = "draining"
    """Finishes what it has and takes nothing new."""
    STOPPED = "stopped"
    """Done; the process is about to end."""
    FAILED = "failed"
    """A load failed, or a model on what it had answered before: the process is of no more use."""


@dataclass(frozen=True)
class CardIdentity:
    """Which card a process was given: npu-smi's ``npu_id``, the process's own ``device_id``.

    ``ray_id`` is Ray's id, which is CANN's number (``actors.device`` tells the three apart).
    ``visible`` is the list of such numbers that the process sees, as CANN reads it; empty: all.
    ``package`` is the version of this project there.
    """

    node_id: str
    npu_id: str
    device_id: int
    pid: int
    library: str = ""
    visible: str = ""
    package: str = ""
    ray_id: str = ""


@dataclass(frozen=True)
class StoredFile:
    """One file of a model, by its name in the model's folder and by what it holds."""

    name: str
    sha256: str
    nbytes: int


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model. ``digest`` is the SHA-256 of all of them and of the build's options.

    ``config`` is the name, among them, of the config file that the deployment names; empty: none.
    """

    files: tuple[StoredFile, ...]
    digest: str
    config: str = ""

    @property
    def short(self) -> str:
        """Of the digest, what tables show."""
        return self.digest[:12]


@dataclass(frozen=True)
class ModelOrder:
    """One model as a card is told to build it.

    ``path`` is resolved once, by the driver, and used as that exact string in every library call.
    ``gears`` is None for a fixed model; for a dynamic one it holds the declared largest shapes.
    ``config`` are Lite's options by section and override ``config_path`` (both go to the library).
    ``compile_at_build`` lets a card of kind ascend load a file that was not converted for it.
    ``footprint`` is what the plan charges; None while a model is only being measured. ``share`` is
    the planned part of the card's time, relative to the other models of the card. ``version`` is a
    label of the user's. ``files`` is what was planned with; None: whatever is there.
    """

    name: str
    path: str
    provider: Provider = "acl"
    threads: int = 1
    share_weights: bool = True
    share_workspace: bool = True
    gears: tuple[Gear, ...] | None = None
    dynamic: bool = False
    batching: BatchRule = field(default_factory=BatchRule)
    precision: str | None = None
    config_path: str | None = None
    config: ConfigSections = field(default_factory=dict)
    compile_at_build: bool = False
    footprint: Footprint | None = None
    share: float = 1.0
    files: ModelFiles | None = None
    version: str = ""

    @property
    def may_compile(self) -> bool:
        """Whether its build may compile it: that of a GE graph does, whatever its file holds."""
        return self.compile_at_build or self.provider == "ge"

    @property
    def shares_weights_alone(self) -> bool:
        """Whether it joins a group of paths for its weights and has workspaces of its own.

        With one thread there is nobody to share weights with, and a group would only widen the
        card's shared workspace. Models of provider GE are grouped as objects, which sizes nothing.
        """
        grouped = self.provider == "acl" and self.share_weights and self.threads > 1
        return grouped and (self.dynamic or not self.share_workspace)


@dataclass(frozen=True)
class CardOrder:
    """A slot's whole model set: a card gets it once in the life of its process.

    ``memory_wait_seconds`` is how long memory that a process which ended still holds is waited for,
    ``memory_return_seconds`` how long it holds that on an emulated card. ``deployment`` is a name
    for metrics, ``host`` what loading the models takes of the host's memory.
    """

    slot: str
    kind: CardKind
    capacity_bytes: int
    models: tuple[ModelOrder, ...]
    overhead_bytes: int = 0
    reserve_bytes: int = 0
    share_workspace: bool = True
    rule: AllocationRule = ASCEND
    release: str | None = None
    mix_ge_and_acl: bool = False
    memory_wait_seconds: float = 60.0
    memory_return_seconds: float = 0.0
    deployment: str = ""
    host: HostMemory = field(default_factory=HostMemory)


class Request(NamedTuple):
    """One caller's rows for one model. ``id`` is unique in the deployment.

    ``priority``: online requests go before those of priority batch. ``expires``: when nobody waits
    for it any more, by ``time.monotonic`` of the process that has it.
    """

    id: int
    model: str
    inputs: Arrays
    priority: Priority = "online"
    expires: float = math.inf

    @property
    def sender(self) -> int:
        """The driver that sent it: each takes its ids from a block of its own."""
        return self.id >> SENDER_BITS


class Reply(NamedTuple):
    """The answer to one request: outputs, or the error that this request alone met."""

    id: int
    outputs: Arrays | None
    error: OrchestratorError | None = None


class Answers(NamedTuple):
    """What a call to a card brings back: a reply for each request, and its seconds on the card."""

    replies: list[Reply]
    seconds: float


@dataclass(frozen=True)
class ModelMemory:
    """One model's bytes on its card, over its threads, as planned and as the ledger has them.

    ``workspace`` is what the model has to itself; None for one that uses the card's shared one.
    """

    planned: Footprint
    weights: int | None
    workspace: int | None
    io: int | None


@dataclass(frozen=True)
class MemoryReport:
    """Planned against measured. ``measured`` by part is None where only a sum is known, or nothing.

    ``measured_bytes`` is what the card's process takes by what ``source`` says of the card's free
    memory (pyACL, npu-smi, emulated), None where nobody can tell. ``others_bytes`` is what others
    held of the card's capacity before the first model. ``resident_bytes`` is the process's resident
    memory as the operating system counts it (for kinds whose card memory is host memory),
    ``engine_bytes`` what the emulator's engine itself costs.
    """

    slot: str
    planned: CardMemory
    unshared: CardMemory
    measured: CardMemory | None
    capacity_bytes: int
    reserve_bytes: int
    resident_bytes: int
    engine_bytes: int
    models: tuple[ModelMemory, ...]
    measured_bytes: int | None = None
    others_bytes: int = 0
    source: str = "not measured"

    @property
    def residual_bytes(self) -> int | None:
        """What the card takes beyond its plan, below 0 for less; None where it is not measured."""
        return None if self.measured_bytes is None else self.measured_bytes - self.planned.total


@dataclass(frozen=True)
class LoadReport:
    """What a card says once its models are ready."""

    identity: CardIdentity
    signatures: Mapping[str, Signature]
    memory: MemoryReport
    seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelStats:
    """Counters of one model since its card started. Times are sums in seconds.

    ``histograms``, of its batches: ``rows``, and in seconds ``wait`` (of the request that waited
    longest), ``copy`` (joining the inputs, in and out of the library's tensors) and ``predict``.
    """

    requests: int = 0
    rows: int = 0
    padded_rows: int = 0
    batches: int = 0
    errors: int = 0
    queued: int = 0
    in_flight: int = 0
    wait_seconds: float = 0.0
    predict_seconds: float = 0.0
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    histograms: Mapping[str, Counted] = field(default_factory=dict)


@dataclass(frozen=True)
class Working:
    """A batch that has run for so many seconds; ``expected``: what the largest took to warm up."""

    model: str
    seconds: float
    expected: float


@dataclass(frozen=True)
class CardStats:
    """One card's state and counters. ``busy_share`` is None where the library does not tell.

    ``running``: batches that Model objects work on now; ``working``: what these are.
    ``occupied_seconds``: how long there was at least one, which every kind of card knows.
    """

    slot: str
    state: CardState
    identity: CardIdentity
    models: Mapping[str, ModelStats]
    uptime_seconds: float
    busy_share: float | None = None
    running: int = 0
    working: tuple[Working, ...] = ()
    occupied_seconds: float = 0.0


@dataclass(frozen=True)
class GearMeasurement:
    """One gear: bytes of workspace and of every tensor, and milliseconds per call."""

    gear: Gear
    workspace_bytes: int
    tensor_bytes: tuple[int, ...]
    execute_ms: float
    copy_in_ms: float = 0.0
    copy_out_ms: float = 0.0


@dataclass(frozen=True)
class Measurement:
    """What a probe found out about one model. Sizes before rounding.

    ``overhead_bytes`` is what the process's context took of the card; None where it was not seen.
    ``drift_bytes`` is what many runs of all gears took and did not give back. ``compiled``: nobody
    ran it, its compiled file tells its weights and workspace, and its times are not known. ``host``
    is of one Model object. ``copies_estimated``: the library times whole calls, and what copies of
    the same bytes take was subtracted.
    """

    weight_bytes: int
    object_bytes: int
    streams: int
    dynamic: bool
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    gears: tuple[GearMeasurement, ...]
    library: str
    overhead_bytes: int | None = None
    drift_bytes: int = 0
    compiled: bool = False
    host: HostMemory | None = None
    copies_estimated: bool = False

    @property
    def workspace_bytes(self) -> int:
        """The largest workspace over the gears."""
        return max(gear.workspace_bytes for gear in self.gears)

    @property
    def tensor_bytes(self) -> tuple[int, ...]:
        """Bytes of each input and output at the gear where it is largest: what a card allocates."""
        return tuple(map(max, zip(*(gear.tensor_bytes for gear in self.gears), strict=True)))

    @property
    def largest(self) -> GearMeasurement:
        """The gear whose tensors take the most bytes."""
        return max(self.gears, key=lambda gear: sum(gear.tensor_bytes))
