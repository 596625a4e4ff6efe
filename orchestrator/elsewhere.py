"""Deployments that came from another process with a handle, or to the workers of a job."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from actors.queue import Priority
from orchestrator.errors import DeploymentError
from orchestrator.facade import Orchestrator
from orchestrator.handle import Models
from orchestrator.placement import DeploymentPlan

if TYPE_CHECKING:  # see facade
    from orchestrator.runtime.calls.following import Following, Lender
    from orchestrator.runtime.calls.lending import Lent
    from orchestrator.runtime.calls.traffic import Traffic
    from orchestrator.runtime.deployments.joined import Joined
    from orchestrator.runtime.deployments.running import Running
    from orchestrator.runtime.deployments.status import Status
    from orchestrator.runtime.jobs.batch import PreparedJob
    from orchestrator.runtime.jobs.jobspec import JobSpec

#: What handles that came from elsewhere share in this process, by the deployment's name.
_attachments: dict[str, Orchestrator] = {}


def attached(name: str) -> Orchestrator:
    """A named deployment for handles from elsewhere: it connects when it is first used."""
    made = Orchestrator(name)
    made._by_itself = True
    return _attachments.setdefault(name, made)


#: What this process has lent, and what was lent to it, by the name of its board.
owners: WeakValueDictionary[str, Orchestrator] = WeakValueDictionary()
_borrowers: "dict[str, _Borrowed]" = {}


def borrowed(board: str, name: str) -> Orchestrator:
    """A deployment that another process owns, or this one."""
    return owners.get(board) or _borrowers.setdefault(board, _Borrowed(board, name))


class _Borrowed(Orchestrator):
    """It connects when a model is first called, and ends with its owner."""

    def __init__(self, board: str, name: str) -> None:
        super().__init__(name)
        self._board = board
        self._lent: Lent | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return borrowed, (self._board, self._name)

    def _traffic(self) -> "Traffic":
        with self._starting:
            if self._lent is None:
                from orchestrator.runtime.calls.lending import Lent

                self._lent = Lent(self._board, self._name)
            return self._lent

    def _started(self) -> "Running | Joined":
        text = "it belongs to another process: here its models can be called, and nothing else"
        raise DeploymentError(self._name, (text,))

    def _require(self) -> "Running | Joined":
        return self._started()


class ForJobs:
    """What a batch job, in this process and in its workers, asks of the deployment it runs on."""

    def __init__(self, running: Orchestrator) -> None:
        self._on = running

    def prepared(self, spec: "JobSpec") -> "PreparedJob":
        """A job that is checked against what runs.

        Raises:
            JobError, DeploymentError: see PreparedJob.
        """
        from orchestrator.runtime.jobs.batch import PreparedJob

        return PreparedJob(spec, self.plan, self._on._require().signatures)

    @property
    def plan(self) -> DeploymentPlan:
        """The plan that runs."""
        return self._on.plan

    @property
    def lender(self) -> "Lender":
        """Who tells workers how to reach the cards."""
        return self._on._require()

    def models_for(self, priority: Priority) -> Models:
        """All models, for calls of this priority where they name none."""
        return Models(self._on, priority)

    def models_of(self, priority: Priority) -> "Callable[[Following], Models]":
        """Makes ``models_for`` in a worker, of what it was told."""
        return partial(_models_of, priority)

    def status(self) -> "Status":
        """Cards and models, as of now."""
        return self._on.status()

    def expect(self, settled: int, total: int | None) -> None:
        """See Orchestrator."""
        self._on.expect(settled, total)


def _models_of(priority: Priority, following: "Following") -> Models:
    return Models(_Elsewhere(following), priority)


class _Elsewhere(Orchestrator):
    """A deployment that another process of the same job started."""

    def __init__(self, following: "Following") -> None:
        super().__init__(following.plan)
        self._following = following

    def _traffic(self) -> "Traffic":
        return self._following
