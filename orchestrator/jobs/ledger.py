"""What of a job is done. Pure: counts go in, finished parts come out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.jobs.manifest import PartEntry
from orchestrator.jobs.parts import Part
from orchestrator.jobs.rejects import Reject, Stage


@dataclass(frozen=True)
class Settled:
    """What became of one batch: so many records gave results, the rest was set aside.

    ``rejected`` counts those by stage.
    """

    records: int
    rejected: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """A part whose batches are settled; ``records`` of it gave results, others are ``rejected``.

    ``batches`` is None for the whole part; where a job stopped before that, so many of its batches
    are settled, from the first on.
    """

    part: Part
    records: int
    rejected: Mapping[str, int] = field(default_factory=dict)
    batches: int | None = None


@dataclass
class _Open:
    """``batches`` is None until the part is read to its end; ``aside`` counts the rejects told.

    ``begun``: what the output has of it.
    """

    begun: PartEntry | None = None
    settled: dict[int, Settled] = field(default_factory=dict)
    batches: int | None = None
    aside: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if self.begun is not None:
            self.aside.update(self.begun.rejected)

    @property
    def start(self) -> int:
        """The number of the first batch that is left."""
        return 0 if self.begun is None or self.begun.begun is None else self.begun.begun.batches

    @property
    def records(self) -> int:
        """Those that gave results."""
        return self.done(list(self.settled)).records

    def done(self, batches: Sequence[int]) -> Settled:
        """What became of these batches, and of those before ``start``."""
        some = [self.settled[batch] for batch in batches]
        rejected: Counter[str] = Counter()
        for one in some:
            rejected.update(one.rejected)
        records = sum(one.records for one in some)
        if self.begun is None:
            return Settled(records, rejected)
        return Settled(records + self.begun.records, rejected + Counter(self.begun.rejected))


class Ledger:
    """Counts what the unfinished parts have; their results lie where they were made.

    A part's batches are numbered from 0 and each is settled once; ``end`` says how many there are.
    Whichever of the two comes last gets the finished part. Records are counted as set aside at
    once, by ``reject``, and held against the pipeline when their batch is settled, with the records
    of it that gave results. Parts that the output has the beginning of are ``begun``; their batches
    go on behind that. ``resumed``: a run before this one has done something.
    """

    #: A job whose first records all fail in the pipeline is broken, not unlucky.
    PATIENCE = 10

    def __init__(
        self,
        parts: Sequence[Part],
        begun: Mapping[int, PartEntry] | None = None,
        resumed: bool = False,
    ) -> None:
        begun = begun or {}
        self.read = sum(entry.records for entry in begun.values())
        self.rejected: Counter[str] = Counter()
        for entry in begun.values():
            self.rejected.update(entry.rejected)
        self._failed: Counter[str] = Counter()
        self._last: dict[Stage, Reject] = {}
        self._resumed = resumed or bool(begun)
        self._parts = {part.index: part for part in parts}
        self._open = {part.index: _Open(begun.get(part.index)) for part in parts}

    def settle(self, part: Part, batch: int, settled: Settled) -> Finished | None:
        """Count what became of a batch; its rejects have been told before."""
        at = self._of(part)
        if batch in at.settled or batch < at.start:
            raise ValueError(f"batch {batch} of {part.name} was settled before")
        at.settled[batch] = settled
        self.read += settled.records
        self._failed.update(settled.rejected)
        return self._if_whole(part)

    def end(self, part: Part, batches: int) -> Finished | None:
        """The part is read: it has so many batches."""
        self._of(part).batches = batches
        return self._if_whole(part)

    def reject(self, part: Part, reject: Reject) -> None:
        """Count a record as set aside."""
        self._of(part).aside[reject.stage.value] += 1
        self.rejected[reject.stage.value] += 1
        self._last[reject.stage] = reject

    @property
    def set_aside(self) -> int:
        """How many records were."""
        return sum(self.rejected.values())

    def again(self, part: Part, afresh: bool = False) -> None:
        """Forget all of a part that the output does not have; ``afresh``: that too."""
        begun = None if afresh else self._of(part).begun
        self._replace(part.index, _Open(begun))

    def begun(self, part: Part, entry: PartEntry) -> None:
        """The output has this of a part; what else was done of it is forgotten."""
        self._replace(part.index, _Open(entry))

    def forget(self) -> None:
        """Forget all of every part that the output does not have: nothing more will be saved."""
        for index, at in self._open.items():
            if at.settled or at.aside or at.batches is not None:
                self._replace(index, _Open(at.begun))

    def saved(self, part: Part) -> None:
        """The part is written."""
        self._open.pop(part.index, None)

    @property
    def ended(self) -> bool:
        """Whether every part is read to its end and settled."""
        return all(_whole(at) for at in self._open.values())

    def hopeless(self) -> tuple[int, Reject] | None:
        """How many records all settled batches had and the last failure, if nothing came of them.

        That is if they are enough to tell: ``PATIENCE`` failures, or all records that there are.
        """
        count = sum(self._failed.values())
        if self.read or not count:
            return None
        last = self._last.get(Stage.PIPELINE) or self._last[Stage.READ]
        enough = self._failed[Stage.PIPELINE.value] >= self.PATIENCE
        return (count, last) if enough or (self.ended and not self._resumed) else None

    def leftovers(self) -> list[Finished]:
        """What a job that stops can still save: parts that are whole, and how others begin.

        Without a record that gave a result there is nothing to save: it may all be one fault.
        """
        found = [self._left(index, at) for index, at in sorted(self._open.items())]
        return [one for one in found if one is not None and one.records]

    def _left(self, index: int, at: _Open) -> Finished | None:
        if _whole(at):
            return _finished(self._parts[index], at)
        stop = at.start
        while stop in at.settled:
            stop += 1
        if stop == at.start:
            return None
        done = at.done(range(at.start, stop))
        return Finished(self._parts[index], done.records, done.rejected, stop)

    def _of(self, part: Part) -> _Open:
        if part.index not in self._open:
            raise ValueError(f"{part.name} was settled before")
        return self._open[part.index]

    def _if_whole(self, part: Part) -> Finished | None:
        at = self._of(part)
        return _finished(part, at) if _whole(at) else None

    def _replace(self, index: int, now: _Open) -> None:
        lost = self._open[index]
        self.read += now.records - lost.records
        self.rejected += now.aside - lost.aside
        self.rejected -= lost.aside - now.aside
        for settled in lost.settled.values():
            self._failed.subtract(settled.rejected)
        self._open[index] = now


def _whole(at: _Open) -> bool:
    return at.batches is not None and at.start + len(at.settled) == at.batches


def _finished(part: Part, at: _Open) -> Finished:
    done = at.done(list(at.settled))
    return Finished(part, done.records, done.rejected)
