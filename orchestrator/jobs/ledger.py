"""What of a job is done. Pure: counts go in, finished parts come out."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.jobs.parts import Part
from orchestrator.jobs.rejects import Reject, Stage


@dataclass(frozen=True)
class Settled:
    """What became of one batch: so many records gave results, the rest was set aside."""

    records: int
    rejects: tuple[Reject, ...] = ()


@dataclass(frozen=True)
class Finished:
    """A part whose batches are settled; ``records`` of it gave results.

    ``whole`` is False for what can be saved of a part when a job stops before all its batches are
    settled.
    """

    part: Part
    records: int
    rejects: tuple[Reject, ...] = ()
    whole: bool = True


@dataclass
class _Open:
    """``batches`` is None until the part is read to its end; ``aside`` are the rejects told."""

    settled: dict[int, Settled] = field(default_factory=dict)
    batches: int | None = None
    aside: list[Reject] = field(default_factory=list)


class Ledger:
    """Counts what the unfinished parts have; their results lie where they were made.

    A part's batches are numbered from 0 and each is settled once; ``end`` says how many there are.
    Whichever of the two comes last gets the finished part. Records are counted as set aside at
    once, by ``reject``, and held against the pipeline when their batch is settled, with the records
    of it that gave results. ``resumed``: other parts are done already.
    """

    #: A job whose first records all fail in the pipeline is broken, not unlucky.
    PATIENCE = 10

    def __init__(self, parts: Sequence[Part], resumed: bool = False) -> None:
        self.read = 0
        self.rejects: list[Reject] = []
        self._failed: list[Reject] = []
        self._resumed = resumed
        self._parts = {part.index: part for part in parts}
        self._open: dict[int, _Open] = {part.index: _Open() for part in parts}

    def settle(self, part: Part, batch: int, settled: Settled) -> Finished | None:
        """Count what became of a batch; its rejects have been told before."""
        at = self._of(part)
        if batch in at.settled:
            raise ValueError(f"batch {batch} of {part.name} was settled before")
        at.settled[batch] = settled
        self.read += settled.records
        self._failed += settled.rejects
        return self._if_whole(part)

    def end(self, part: Part, batches: int) -> Finished | None:
        """The part is read: it has so many batches."""
        self._of(part).batches = batches
        return self._if_whole(part)

    def reject(self, part: Part, reject: Reject) -> None:
        """Count a record as set aside."""
        self._of(part).aside.append(reject)
        self.rejects.append(reject)

    def again(self, part: Part) -> bool:
        """Forget all of a part that will be done anew; whether records of it were set aside."""
        lost = self._of(part)
        self.read -= sum(settled.records for settled in lost.settled.values())
        gone = {id(reject) for reject in lost.aside}
        self.rejects = [reject for reject in self.rejects if id(reject) not in gone]
        settled = {id(reject) for one in lost.settled.values() for reject in one.rejects}
        self._failed = [reject for reject in self._failed if id(reject) not in settled]
        self._open[part.index] = _Open()
        return bool(gone)

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
        if self.read or not self._failed:
            return None
        failed = [reject for reject in self._failed if reject.stage is Stage.PIPELINE]
        if self.ended and not self._resumed:
            return len(self._failed), (failed or self._failed)[-1]
        return (len(self._failed), failed[-1]) if len(failed) >= self.PATIENCE else None

    def leftovers(self) -> list[Finished]:
        """The parts that have results and are not saved: what a job that stops can still save."""
        return [
            _finished(self._parts[index], at)
            for index, at in sorted(self._open.items())
            if any(settled.records for settled in at.settled.values())
        ]

    def _of(self, part: Part) -> _Open:
        if part.index not in self._open:
            raise ValueError(f"{part.name} was settled before")
        return self._open[part.index]

    def _if_whole(self, part: Part) -> Finished | None:
        at = self._of(part)
        return _finished(part, at) if _whole(at) else None


def _whole(at: _Open) -> bool:
    return at.batches is not None and len(at.settled) == at.batches


def _finished(part: Part, at: _Open) -> Finished:
    batches = [settled for _, settled in sorted(at.settled.items())]
    return Finished(
        part,
        sum(batch.records for batch in batches),
        tuple(reject for batch in batches for reject in batch.rejects),
        _whole(at),
    )
