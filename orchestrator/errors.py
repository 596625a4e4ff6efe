"""The driver side's branch of the error tree; its root and the card side's are in actors.errors.

OrchestratorError
├── DeploymentError         a deployment file or object says something that cannot be
├── UnsupportedError        a field or option whose feature does not exist yet
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
    "UnsupportedError",
]


class DeploymentError(OrchestratorError):
    """A deployment says something that cannot be.

    ``problems`` are complete lines of text; one about a line of the file begins with its number.
    """

    def __init__(self, source: str, problems: tuple[str, ...]) -> None:
        super().__init__(source, problems)
        self.source = source
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(
            f"{self.source}:{problem}" if problem[:1].isdigit() else f"{self.source}: {problem}"
            for problem in self.problems
        )


class UnsupportedError(OrchestratorError):
    """A field that is part of the format and whose feature does not exist yet."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field

    def __str__(self) -> str:
        return f"not supported yet: {self.field}"


class PlanRefusedError(OrchestratorError):
    """No placement satisfies the constraints. ``changes`` are the nearest ones that would."""

    def __init__(self, reason: str, details: tuple[str, ...], changes: tuple[str, ...]) -> None:
        super().__init__(reason, details, changes)
        self.reason = reason
        self.details = details
        self.changes = changes

    def __str__(self) -> str:
        lines = [self.reason, *(f"  {detail}" for detail in self.details)]
        if self.changes:
            lines.append("  fits if: " + ", or ".join(self.changes))
        return "\n".join(lines)


class ClusterError(OrchestratorError):
    """Ray could not be started or joined. ``hint`` is the nearest thing to try."""

    def __init__(self, address: str, problem: str, hint: str) -> None:
        super().__init__(address, problem, hint)
        self.address = address
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"Ray at {self.address}: {self.problem}: {self.hint}"


class NoSuchDeploymentError(OrchestratorError):
    """No deployment of that name runs in the cluster. ``known`` are those that do."""

    def __init__(self, name: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(name, known)
        self.name = name
        self.known = known

    def __str__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        others = f", there are: {', '.join(self.known)}" if self.known else ""
        return (
            f"no deployment{name} runs in this cluster{others}: "
            "orchestrator up starts one from its file"
        )


class CardLostError(CardError):
    """The process of a card ended, or its node did; what it was doing may or may not have run."""

    def __init__(self, card: str, reason: str) -> None:
        super().__init__(card, reason)
        self.card = card
        self.reason = reason

    def __str__(self) -> str:
        return f"card {self.card}: {self.reason}"


class CardHangsError(CardLostError):
    """The process of a card does nothing any more and was ended."""


class CallFailedError(CardError):
    """A call failed between driver and card. Neither its requests nor the card are to blame."""

    def __init__(self, card: str, model: str, problem: str) -> None:
        super().__init__(card, model, problem)
        self.card = card
        self.model = model
        self.problem = problem

    def __str__(self) -> str:
        return (
            f"card {self.card}: the call for model {self.model} failed on its way: {self.problem}"
        )


class NoRoomError(CardError):
    """A host's memory or object store had no room for a call or its answers. That may pass."""

    def __init__(self, card: str, problem: str) -> None:
        super().__init__(card, problem)
        self.card = card
        self.problem = problem

    def __str__(self) -> str:
        return f"card {self.card}: no room for a call on its way: {self.problem}"


class PackageDiffersError(CardError):
    """A node has another version of this project than the process that wants its cards."""

    def __init__(self, card: str, node_id: str, there: str, here: str) -> None:
        super().__init__(card, node_id, there, here)
        self.card = card
        self.node_id = node_id
        self.there = there
        self.here = here

    def __str__(self) -> str:
        who = f"{self.card}: its node {self.node_id[:12]}" if self.node_id else self.card
        return (
            f"{who} has ascend-orchestrator {self.there}, and {self.here} runs here: install the "
            "same on every node and start Ray there again, or send it with the job (runtime_env "
            "py_modules), and take deployments of another version down first"
        )


class CardsUnavailableError(OrchestratorError):
    """The cluster has fewer cards than the deployment names."""

    def __init__(self, wanted: int, found: int, resource: str, hint: str) -> None:
        super().__init__(wanted, found, resource, hint)
        self.wanted = wanted
        self.found = found
        self.resource = resource
        self.hint = hint

    def __str__(self) -> str:
        return (
            f"the deployment wants {self.wanted} cards and the cluster has {self.found} free of "
            f"resource {self.resource}: {self.hint}"
        )


class RequestFailedError(OrchestratorError):
    """A request that failed for good. ``story`` says what was tried, where and how it ended.

    ``cards`` are those that failed or died on it. ``blamed``: by all that is known the request is
    to blame: the library failed on it, or cards died while it was alone on them. Where it is not,
    what failed was on its way, such as every card being gone, and the same may be answered later.
    ``deadly``: first and end of its rows that cards died of; empty where none did.
    """

    def __init__(
        self,
        model: str,
        story: tuple[str, ...],
        cards: tuple[str, ...] = (),
        blamed: bool = False,
        deadly: tuple[int, ...] = (),
    ) -> None:
        super().__init__(model, story, cards, blamed, deadly)
        self.model = model
        self.story = story
        self.cards = cards
        self.blamed = blamed
        self.deadly = deadly

    def __str__(self) -> str:
        return f"model {self.model}: request failed: " + "; ".join(self.story)


class DeadlineError(RequestFailedError):
    """A request that had no answer when its time was over. It is not tried any further."""

    def __init__(self, model: str, seconds: float, story: tuple[str, ...]) -> None:
        super().__init__(model, story)
        self.args = (model, seconds, story)
        self.seconds = seconds

    def __str__(self) -> str:
        told = "; ".join(self.story)
        return f"model {self.model}: no answer within the {self.seconds:g} s allowed: {told}"


class OverloadedError(OrchestratorError):
    """A request that found no room and did not want to wait; nothing was sent."""

    def __init__(
        self, model: str, inside: int, nbytes: int, waiting: int, limit: int, most_bytes: int
    ) -> None:
        super().__init__(model, inside, nbytes, waiting, limit, most_bytes)
        self.model = model
        self.inside = inside
        self.nbytes = nbytes
        self.waiting = waiting
        self.limit = limit
        self.most_bytes = most_bytes

    def __str__(self) -> str:
        return (
            f"model {self.model}: overloaded: this driver has {self.inside} requests for it under "
            f"way, of at most {self.limit}, with {self.nbytes:,} bytes of inputs, of at most "
            f"{self.most_bytes:,}, and {self.waiting} more wait to be let in: call again later, "
            "let calls wait, or raise max_in_flight or max_bytes_in_flight"
        )


class JobError(OrchestratorError):
    """A batch job's input or output cannot be used."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem)
        self.where = where
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"
