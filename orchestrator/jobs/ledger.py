"""What of a job is done. Pure: results go in, finished parts come out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from orchestrator.jobs.parts import Part
from orchestrator.jobs.rejects import Reject, Stage

Result = TypeVar("Result")


@dataclass(frozen=True)
class Finished(Generic[Result]):
    """A part whose records are settled: the results in the order of its records.

    Records that were set aside have none, so there may be no result at all. ``whole`` is False for
    what can be saved of a part when a job stops before all its records are settled.
    """

    part: Part
    results: tuple[Result, ...]
    rejects: tuple[Reject, ...] = ()
    whole: bool = True


class Ledger(Generic[Result]):
    """Keeps the results of unfinished parts, and counts.

    Every record is settled once: by ``done`` or by ``reject``. The one that settles the last record
    of a part gets the finished part; its results are kept until it is ``saved``.
    """

    #: A job whose first records all fail in the pipeline is broken, not unlucky.
    PATIENCE = 10

    def __init__(self, parts: Sequence[Part]) -> None:
        self.total = sum(len(part.records) for part in parts)
        self.read = 0
        self.rejects: list[Reject] = []
        self._part = {record: part for part in parts for record in part.records}
        self._unsaved: dict[int, dict[str, Result | Reject]] = {part.index: {} for part in parts}

    def done(self, record: str, result: Result) -> Finished[Result] | None:
        """Settle a record with its result."""
        self.read += 1
        return self._settle(record, result)

    def reject(self, reject: Reject) -> Finished[Result] | None:
        """Settle a record by setting it aside."""
        self.rejects.append(reject)
        return self._settle(reject.record, reject)

    def saved(self, part: Part) -> None:
        """Forget the results of a part: they are written."""
        self._unsaved.pop(part.index, None)

    @property
    def settled(self) -> int:
        """Records that are done or set aside."""
        return self.read + len(self.rejects)

    def hopeless(self) -> Reject | None:
        """The latest failure, if the pipeline has only failed so far and often enough to tell.

        Often enough is ``PATIENCE`` times, or on all records that there are.
        """
        if self.read or not self.rejects:
            return None
        failed = [reject for reject in self.rejects if reject.stage is Stage.PIPELINE]
        if self.settled == self.total:
            return (failed or self.rejects)[-1]
        return failed[-1] if len(failed) >= self.PATIENCE else None

    def leftovers(self) -> list[Finished[Result]]:
        """The parts that have results and are not saved: what a job that stops can still save."""
        found = []
        for _, settled in sorted(self._unsaved.items()):
            if settled and not all(isinstance(one, Reject) for one in settled.values()):
                part = self._part[next(iter(settled))]
                found.append(_finished(part, settled))
        return found

    def _settle(self, record: str, result: Result | Reject) -> Finished[Result] | None:
        part = self._part[record]
        settled = self._unsaved.get(part.index)
        if settled is None or record in settled:
            raise ValueError(f"record {record!r} was settled before")
        settled[record] = result
        finished = _finished(part, settled)
        return finished if finished.whole else None


def _finished(part: Part, settled: dict[str, Result | Reject]) -> Finished[Result]:
    in_order = [settled[record] for record in part.records if record in settled]
    return Finished(
        part,
        tuple(one for one in in_order if not isinstance(one, Reject)),
        tuple(one for one in in_order if isinstance(one, Reject)),
        whole=len(settled) == len(part.records),
    )
