"""What callers wait for and a job is still to send: the reason for cards that follow the work."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from orchestrator.autoscale import Waiting


@dataclass(frozen=True)
class Sent:
    """What a process sends, by model: rows that its callers wait for, rows that were answered."""

    waiting: Mapping[str, int] = field(default_factory=dict)
    answered: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Job:
    """Records that were settled, and rows of each model answered, at first; records as of now."""

    first: tuple[int, Mapping[str, int]]
    settled: int
    total: int


class Outlook:
    """Of this process, which sends ``here``, and of the workers of its job. Thread-safe."""

    def __init__(self, here: Callable[[], Sent]) -> None:
        self._here = here
        self._workers: dict[Hashable, Sent] = {}
        self._job: _Job | None = None

    def hear(self, worker: Hashable, sent: Sent) -> None:
        """What a worker sends."""
        self._workers[worker] = sent

    def expect(self, settled: int, total: int | None) -> None:
        """A job has settled so many records, of so many; of none: it has ended.

        From this, and from the rows that it has sent, follows what it is still to send.
        """
        if not total:
            self._job = None
            self._workers.clear()
            return
        first = self._job.first if self._job else (settled, self._all()[1])
        self._job = _Job(first, settled, total)

    def waiting(self) -> dict[str, Waiting]:
        """Rows that are waited for, and those that the job is still to send."""
        backlog, answered = self._all()
        coming = _coming(self._job, answered)
        return {
            name: Waiting(backlog.get(name, 0), coming.get(name, 0.0))
            for name in backlog.keys() | coming.keys()
        }

    def _all(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        waiting: Counter[str] = Counter()
        answered: Counter[str] = Counter()
        for sent in (self._here(), *self._workers.copy().values()):
            waiting.update(sent.waiting)
            answered.update(sent.answered)
        return waiting, answered


def _coming(job: _Job | None, answered: Mapping[str, int]) -> dict[str, float]:
    if job is None or job.settled <= job.first[0]:
        return {}
    left = (job.total - job.settled) / (job.settled - job.first[0])
    return {name: left * (rows - job.first[1].get(name, 0)) for name, rows in answered.items()}
