"""The driver side's branch of the error tree; its root and the card side's are in actors.errors.

OrchestratorError
├── DeploymentError         a deployment file or object says something that cannot be
├── PlanRefusedError        no placement satisfies the constraints
├── ClusterError            Ray could not be started or joined, or will not let us in
├── NoSuchDeploymentError   no deployment of that name runs in the cluster
├── CardsUnavailableError   the cluster has fewer cards than the deployment names
├── CardLostError           the process of a card ended, or its node did (a CardError)
│   └── CardHangsError      it did nothing any more and was ended
├── CallFailedError         a call to a card failed on its way, by a mistake of ours (a CardError)
├── NoRoomError             there was no memory for a call on its way (a CardError)
├── PackageDiffersError     a node has another version of this project (a CardError)
├── RequestFailedError      a request that every replica tried failed, with its story
│   └── DeadlineError       a request that had no answer when its time was over
├── OverloadedError         a request that found no room and did not want to wait
└── JobError                a batch job's input or output cannot be used
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from actors.errors import (
    CardError,
    DoesNotFitError,
    InvalidRequestError,
    LoadError,
    NotServingError,
    NotWantedError,
    OrchestratorError,
    PredictError,
)

__all__ = [
    "CallFailedError",
    "CardError",
    "CardLostError",
    "CardsUnavailableError",
    "ClusterError",
    "DeadlineError",
    "DeploymentError",
    "DoesNotFitError",
    "InvalidRequestError",
    "JobError",
    "LoadError",
    "NoRoomError",
    "NoSuchDeploymentError",
    "NotServingError",
    "NotWantedError",
    "OrchestratorError",
    "OverloadedError",
    "PackageDiffersError",
    "PlanRefusedError",
    "PredictError",
    "RequestFailedError",
]


@dataclass(eq=False, repr=False)
class DeploymentError(OrchestratorError):
    """A deployment says something that cannot be.

    ``problems`` are complete lines of text; one about a line of the file begins with its number.
    """

    source: str
    problems: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(
            f"{self.source}:{problem}" if problem[:1].isdigit() else f"{self.source}: {problem}"
            for problem in self.problems
        )


@dataclass(eq=False, repr=False)
class PlanRefusedError(OrchestratorError):
    """No placement satisfies the constraints. ``changes`` are the nearest ones that would."""

    reason: str
    details: tuple[str, ...]
    changes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [self.reason, *(f"  {detail}" for detail in self.details)]
        if self.changes:
            lines.append("  fits if: " + ", or ".join(self.changes))
        return "\n".join(lines)


@dataclass(eq=False, repr=False)
class ClusterError(OrchestratorError):
    """Ray could not be started or joined. ``hint`` is the nearest thing to try."""

    address: str
    problem: str
    hint: str

    def __str__(self) -> str:
        return f"Ray at {self.address}: {self.problem}: {self.hint}"


@dataclass(eq=False, repr=False)
class NoSuchDeploymentError(OrchestratorError):
    """No deployment of that name runs in the cluster. ``known`` are those that do."""

    name: str
    known: tuple[str, ...] = field(default_factory=tuple)

    def __str__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        others = f", there are: {', '.join(self.known)}" if self.known else ""
        return (
            f"no deployment{name} runs in this cluster{others}: "
            "orchestrator up starts one from its file"
        )


@dataclass(eq=False, repr=False)
class CardLostError(CardError):
    """The process of a card ended, or its node did; what it was doing may or may not have run."""

    card: str
    reason: str

    def __str__(self) -> str:
        return f"card {self.card}: {self.reason}"


class CardHangsError(CardLostError):
    """The process of a card does nothing any more and was ended."""


@dataclass(eq=False, repr=False)
class CallFailedError(CardError):
    """A call failed between driver and card. Neither its requests nor the card are to blame."""

    card: str
    model: str
    problem: str

    def __str__(self) -> str:
        return (
            f"card {self.card}: the call for model {self.model} failed on its way: {self.problem}"
        )


@dataclass(eq=False, repr=False)
class NoRoomError(CardError):
    """A host's memory or object store had no room for a call or its answers. That may pass."""

    card: str
    problem: str

    def __str__(self) -> str:
        return f"card {self.card}: no room for a call on its way: {self.problem}"


@dataclass(eq=False, repr=False)
class PackageDiffersError(CardError):
    """A node has another version of this project than the process that wants its cards."""

    card: str
    node_id: str
    there: str
    here: str

    def __str__(self) -> str:
        who = f"{self.card}: its node {self.node_id[:12]}" if self.node_id else self.card
        return (
            f"{who} has ascend-orchestrator {self.there}, and {self.here} runs here: install the "
            "same on every node and start Ray there again, or send it with the job (runtime_env "
            "py_modules), and take deployments of another version down first"
        )


@dataclass(eq=False, repr=False)
class CardsUnavailableError(OrchestratorError):
    """The cluster has fewer cards than the deployment names."""

    wanted: int
    found: int
    resource: str
    hint: str

    def __str__(self) -> str:
        return (
            f"the deployment wants {self.wanted} cards and the cluster has {self.found} free of "
            f"resource {self.resource}: {self.hint}"
        )


@dataclass(eq=False, repr=False)
class RequestFailedError(OrchestratorError):
    """A request that failed for good. ``story`` says what was tried, where and how it ended.

    ``cards`` are those that failed or died on it. ``blamed``: by all that is known the request is
    to blame: the library failed on it, or cards died while it was alone on them. Where it is not,
    what failed was on its way, such as every card being gone, and the same may be answered later.
    ``deadly``: first and end of its rows that cards died of; empty where none did.
    """

    model: str
    story: tuple[str, ...]
    cards: tuple[str, ...] = field(default_factory=tuple)
    blamed: bool = field(default_factory=bool)
    deadly: tuple[int, ...] = field(default_factory=tuple)

    def __str__(self) -> str:
        return f"model {self.model}: request failed: " + "; ".join(self.story)


@dataclass(eq=False, repr=False)
class DeadlineError(RequestFailedError):
    """A request that had no answer when its time was over. It is not tried any further."""

    seconds: float = field(default_factory=float)

    def __str__(self) -> str:
        told = "; ".join(self.story)
        return f"model {self.model}: no answer within the {self.seconds:g} s allowed: {told}"


@dataclass(eq=False, repr=False)
class OverloadedError(OrchestratorError):
    """A request that found no room and did not want to wait; nothing was sent."""

    model: str
    inside: int
    nbytes: int
    waiting: int
    limit: int
    most_bytes: int

    def __str__(self) -> str:
        return (
            f"model {self.model}: overloaded: this driver has {self.inside} requests for it under "
            f"way, of at most {self.limit}, with {self.nbytes:,} bytes of inputs, of at most "
            f"{self.most_bytes:,}, and {self.waiting} more wait to be let in: call again later, "
            "let calls wait, or raise max_in_flight or max_bytes_in_flight"
        )


@dataclass(eq=False, repr=False)
class JobError(OrchestratorError):
    """A batch job's input or output cannot be used.

    ``options``: what the problem says of options of ``run``, and how the command line has that.
    """

    where: str
    problem: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"

    def on_command_line(self) -> str:
        """The same for those who gave their options there."""
        problem = self.problem
        for said, there in self.options.items():
            problem = problem.replace(said, there)
        return f"{self.where}: {problem}"
