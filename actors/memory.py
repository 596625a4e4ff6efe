"""What a set of models takes on one card, in integer bytes.

The only place with this arithmetic: planner, card, emulator, report and tests all call it. The rule
(one workspace per process and device, sized to the largest; weights once per model) is MindSpore
Lite's ``ModelGroup``; the rounding is ``aclrtMalloc``'s as CANN documents it. Sizing a group widens
that one workspace whatever the group shares (2.7.0, model_process.cc:593-614): also for models that
share weights alone and run in workspaces of their own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from actors.errors import DoesNotFitError


@dataclass(frozen=True)
class AllocationRule:
    """How one device allocation is rounded: ``n + pad``, up to the granule of its size."""

    pad: int
    granule: int
    large_granule: int
    large_above: int

    def alloc(self, nbytes: int) -> int:
        """Bytes that a request of ``nbytes`` takes from the card; nothing for nothing."""
        if nbytes == 0:
            return 0
        granule = self.large_granule if nbytes > self.large_above else self.granule
        return -(-(nbytes + self.pad) // granule) * granule


#: aclrtMalloc with HUGE_FIRST (CANN docs): 32 bytes more; 2 MiB pages above 1 MiB, else 4 KiB.
ASCEND = AllocationRule(pad=32, granule=4 << 10, large_granule=2 << 20, large_above=1 << 20)
#: No rounding: sizes that are final already.
EXACT = AllocationRule(pad=0, granule=1, large_granule=1, large_above=0)


@dataclass(frozen=True)
class Sizes:
    """A model as measured, before rounding.

    ``tensors``: bytes of each input and output at the largest gear; ``workspace``: the largest over
    the gears (dynamic models: at ``max_shape``).
    """

    weights: int
    workspace: int
    tensors: tuple[int, ...]
    object_bytes: int = 0
    streams: int = 0
    dynamic: bool = False


@dataclass(frozen=True)
class Footprint:
    """A model as it is charged to a card: final bytes, with its threads and its sharing.

    ``io`` and ``object_bytes`` are per thread. A dynamic model never shares its workspace.
    ``widens_workspace``: a static model that is sized though it has a workspace of its own. If
    others share the card's workspace, that one is as large as this model's all the same.
    ``session_bytes``: the measured peak of all models of its GE session together, in final bytes
    (0: not measured). Those of them that are on one card never take more.
    """

    name: str
    weights: int
    workspace: int
    io: int
    object_bytes: int = 0
    streams: int = 0
    threads: int = 1
    dynamic: bool = False
    share_weights: bool = True
    share_workspace: bool = True
    widens_workspace: bool = False
    session_bytes: int = 0

    @property
    def shares(self) -> bool:
        """Whether the workspace comes from the card's shared one."""
        return self.share_workspace and not self.dynamic

    @property
    def sized(self) -> int:
        """What sizing makes the card's shared workspace, if anybody uses it."""
        return self.workspace if self.shares or self.widens_workspace else 0

    @property
    def weight_total(self) -> int:
        """Weights on the card: one copy, or one per thread."""
        return self.weights * (1 if self.share_weights else self.threads)

    @property
    def private_workspace(self) -> int:
        """Workspace that only this model uses, over all its threads."""
        return 0 if self.shares else self.workspace * self.threads

    @property
    def io_total(self) -> int:
        """Input and output buffers over all threads."""
        return self.io * self.threads

    @property
    def object_total(self) -> int:
        """What the Model objects themselves cost beyond their tensors, over all threads."""
        return self.object_bytes * self.threads

    @property
    def own(self) -> int:
        """Everything but the shared workspace."""
        return self.weight_total + self.private_workspace + self.io_total + self.object_total


def footprint(
    name: str,
    sizes: Sizes,
    rule: AllocationRule,
    *,
    threads: int = 1,
    share_weights: bool = True,
    share_workspace: bool = True,
    widens_workspace: bool = False,
) -> Footprint:
    """Round measured sizes, each allocation for itself."""
    return Footprint(
        name=name,
        weights=rule.alloc(sizes.weights),
        workspace=rule.alloc(sizes.workspace),
        io=sum(rule.alloc(nbytes) for nbytes in sizes.tensors),
        object_bytes=sizes.object_bytes,
        streams=sizes.streams,
        threads=threads,
        dynamic=sizes.dynamic,
        share_weights=share_weights,
        share_workspace=share_workspace,
        widens_workspace=widens_workspace,
    )


@dataclass(frozen=True)
class CardMemory:
    """The bytes of one card by part. ``workspace`` is the shared one, ``private`` all others.

    ``sized`` is no bytes but how large the shared workspace is as soon as a model uses it;
    ``session`` is what the parts have for the models of a measured GE session, ``session_peak``
    what those take at most.
    """

    overhead: int = 0
    weights: int = 0
    workspace: int = 0
    private: int = 0
    io: int = 0
    objects: int = 0
    streams: int = 0
    sized: int = field(default=0, compare=False, repr=False)
    session: int = field(default=0, compare=False, repr=False)
    session_peak: int = field(default=0, compare=False, repr=False)

    @property
    def saved(self) -> int:
        """What the GE session takes less than its models would alone, as was measured."""
        return max(self.session - self.session_peak, 0)

    @property
    def total(self) -> int:
        """Bytes used; streams are counted apart."""
        parts = self.weights + self.workspace + self.private + self.io + self.objects
        return self.overhead + parts - self.saved

    def plus(self, model: Footprint) -> "CardMemory":
        """The card with one more model: everything adds up, the shared workspace takes the max."""
        sized = max(self.sized, model.sized)
        used = self.workspace or (model.shares and model.workspace)
        return CardMemory(
            overhead=self.overhead,
            weights=self.weights + model.weight_total,
            workspace=sized if used else 0,
            private=self.private + model.private_workspace,
            io=self.io + model.io_total,
            objects=self.objects + model.object_total,
            streams=self.streams + model.streams * model.threads,
            sized=sized,
            session=self.session + (model.own if model.session_bytes else 0),
            session_peak=max(self.session_peak, model.session_bytes),
        )

    def parts(self) -> str:
        """The parts that are not zero, for messages: ``weights 31,457,280 + io 8,192``."""
        named = {
            "overhead": self.overhead,
            "weights": self.weights,
            "shared workspace": self.workspace,
            "private workspaces": self.private,
            "io": self.io,
            "objects": self.objects,
        }
        told = " + ".join(f"{part} {nbytes:,}" for part, nbytes in named.items() if nbytes)
        return f"{told} - saved in the GE session {self.saved:,}" if self.saved else told


def card_memory(
    footprints: Iterable[Footprint], overhead: int = 0, *, share_workspace: bool = True
) -> CardMemory:
    """Sum what adds up and take the largest of what is shared.

    ``share_workspace=False`` is a card on which every model keeps a workspace of its own.
    """
    used = CardMemory(overhead=overhead)
    for model in footprints:
        used = used.plus(model if share_workspace else apart(model))
    return used


def apart(model: Footprint) -> Footprint:
    """The same model on a card that shares no workspace; its weights stay as they were."""
    return replace(model, share_workspace=False)


def unshared(model: Footprint) -> Footprint:
    """The same model with weights and workspace of its own for every thread."""
    return replace(model, share_weights=False, share_workspace=False, session_bytes=0)


def require_fit(card: str, used: CardMemory, capacity: int, reserve: int = 0) -> None:
    """Raise DoesNotFitError, with the numbers, when ``used`` exceeds ``capacity - reserve``."""
    if used.total > capacity - reserve:
        raise DoesNotFitError(card, used.total, capacity - reserve, used.parts())
