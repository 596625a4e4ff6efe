"""What of a job is done. Pure: results go in, finished parts come out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from orchestrator.jobs.parts import Part
from orchestrator.jobs.rejects import Reject, Stage

Result = TypeVar("Result")


@dataclass(frozen=True)
class Settled(Generic[Result]):
    """What became of one batch: ``records`` gave these results, the rest was set aside."""

    records: int
    results: tuple[Result, ...]
    rejects: tuple[Reject, ...] = ()

    def __add__(self, other: "Settled[Result]") -> "Settled[Result]":
        return Settled(
            self.records + other.records,
            self.results + other.results,
            self.rejects + other.rejects,
        )


@dataclass(frozen=True)
class Finished(Generic[Result]):
    """A part whose batches are settled: their results in the order of its records.

    Records that were set aside have none, so there may be no result at all. ``whole`` is False for
    what can be saved of a part when a job stops before all its batches are settled.
    """

    part: Part
    settled: Settled[Result]
    whole: bool = True


@dataclass
class _Open(Generic[Result]):
    """``batches`` is None until the part is read to its end."""

    settled: dict[int, Settled[Result]] = field(default_factory=dict)
    batches: int | None = None


class Ledger(Generic[Result]):
    """Keeps the results of unfinished parts, and counts.

    A part's batches are numbered from 0 and each is settled once; ``end`` says how many there are.
    Whichever of the two comes last gets the finished part; its results are kept until it is
    ``saved``. Records are counted as set aside at once, by ``reject``. ``resumed``: other parts are
    done already.
    """

    #: A job whose first records all fail in the pipeline is broken, not unlucky.
    PATIENCE = 10

    def __init__(self, parts: Sequence[Part], resumed: bool = False) -> None:
        self.read = 0
        self.rejects: list[Reject] = []
        self._resumed = resumed
        self._parts = {part.index: part for part in parts}
        self._open: dict[int, _Open[Result]] = {part.index: _Open() for part in parts}

    def settle(self, part: Part, batch: int, settled: Settled[Result]) -> Finished[Result] | None:
        """Keep what became of a batch; its rejects have been told before."""
        at = self._of(part)
        if batch in at.settled:
            raise ValueError(f"batch {batch} of {part.name} was settled before")
        at.settled[batch] = settled
        self.read += settled.records
        return self._if_whole(part)

    def end(self, part: Part, batches: int) -> Finished[Result] | None:
        """The part is read: it has so many batches."""
        self._of(part).batches = batches
        return self._if_whole(part)

    def reject(self, reject: Reject) -> None:
        """Count a record as set aside."""
        self.rejects.append(reject)

    def saved(self, part: Part) -> None:
        """Forget the results of a part: they are written."""
        self._open.pop(part.index, None)

    @property
    def ended(self) -> bool:
        """Whether every part is read to its end and settled."""
        return all(_whole(at) for at in self._open.values())

    def hopeless(self) -> Reject | None:
        """The latest failure, if the pipeline has only failed so far and often enough to tell.

        Often enough is ``PATIENCE`` times, or on all records that there are.
        """
        if self.read or not self.rejects:
            return None
        failed = [reject for reject in self.rejects if reject.stage is Stage.PIPELINE]
        if self.ended and not self._resumed:
            return (failed or self.rejects)[-1]
        return failed[-1] if len(failed) >= self.PATIENCE else None

    def leftovers(self) -> list[Finished[Result]]:
        """The parts that have results and are not saved: what a job that stops can still save."""
        return [
            _finished(self._parts[index], at)
            for index, at in sorted(self._open.items())
            if any(settled.records for settled in at.settled.values())
        ]

    def _of(self, part: Part) -> _Open[Result]:
        if part.index not in self._open:
            raise ValueError(f"{part.name} was settled before")
        return self._open[part.index]

    def _if_whole(self, part: Part) -> Finished[Result] | None:
        at = self._of(part)
        return _finished(part, at) if _whole(at) else None


def _whole(at: "_Open[Result]") -> bool:
    return at.batches is not None and len(at.settled) == at.batches


def _finished(part: Part, at: "_Open[Result]") -> Finished[Result]:
    batches = [settled for _, settled in sorted(at.settled.items())]
    settled = Settled(
        sum(batch.records for batch in batches),
        tuple(result for batch in batches for result in batch.results),
        tuple(reject for batch in batches for reject in batch.rejects),
    )
    return Finished(part, settled, _whole(at))
