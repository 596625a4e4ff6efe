"""Every error of this project, from one root.

    OrchestratorError
    ├── InvalidRequestError     a request fails its checks; it never reached a card
    ├── CardError               something is wrong with a card or on it
    │   ├── DoesNotFitError     the planned bytes exceed what the card has
    │   ├── LibraryError        the library of a card kind cannot be used here
    │   ├── LoadError           a model could not be declared, sized or built
    │   ├── PredictError        the library failed while running a batch
    │   ├── CardBrokenError     a model fails on what it has answered before
    │   ├── NotServingError     a card, a model or a deployment takes no requests now
    │   └── NotWantedError      nobody waits for the answer any more
    ├── ConversionError         a model could not be converted
    └── (the driver's own errors: orchestrator/errors.py)

The fields of an error are its arguments and kept in ``args``, so that it survives the trip through
pickle and Ray; the text is made in ``__str__``. Defaults come from factories: as attributes of the
class they would hide the fields of an error that Ray raises anew on the other side.
"""

from dataclasses import dataclass, field, fields


@dataclass(eq=False, repr=False)
class OrchestratorError(Exception):
    """Root of the tree: anything that a user can cause or must be told."""

    def __post_init__(self) -> None:
        self.args = tuple(getattr(self, one.name) for one in fields(self))


@dataclass(eq=False, repr=False)
class InvalidRequestError(OrchestratorError):
    """A request that no card would accept: wrong name, dtype, rank or size. Never retried."""

    model: str
    problem: str

    def __str__(self) -> str:
        return f"model {self.model}: {self.problem}"


@dataclass(eq=False, repr=False)
class ConversionError(OrchestratorError):
    """A model could not be converted."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path} was not converted: {self.problem}"


class CardError(OrchestratorError):
    """Something is wrong with a card or on it."""


@dataclass(eq=False, repr=False)
class DoesNotFitError(CardError):
    """The planned bytes of a card's models exceed what the card has."""

    card: str
    needed_bytes: int
    available_bytes: int
    parts: str
    why: str = field(default_factory=str)

    def __str__(self) -> str:
        short = self.needed_bytes - self.available_bytes
        return (
            f"card {self.card}: its models need {self.needed_bytes:,} bytes ({self.parts}) "
            f"and it has {self.available_bytes:,}: {short:,} bytes too few"
            + (f"; {self.why}" if self.why else "")
        )


@dataclass(eq=False, repr=False)
class LibraryError(CardError):
    """The library that a card kind needs cannot be used in this process."""

    kind: str
    problem: str
    cure: str

    def __str__(self) -> str:
        return f"cards of kind {self.kind} cannot be used here: {self.problem}. {self.cure}"


@dataclass(eq=False, repr=False)
class LoadError(CardError):
    """A model could not be declared, sized or built. That process is of no further use."""

    card: str
    model: str
    path: str
    problem: str

    def __str__(self) -> str:
        return f"card {self.card}: model {self.model} ({self.path}) did not load: {self.problem}"


@dataclass(eq=False, repr=False)
class PredictError(CardError):
    """The library failed while running a batch that had passed every check."""

    card: str
    model: str
    problem: str

    def __str__(self) -> str:
        return f"card {self.card}: model {self.model} failed: {self.problem}"


@dataclass(eq=False, repr=False)
class CardBrokenError(CardError):
    """A model failed, and then again on an input that it had answered before."""

    card: str
    model: str
    problem: str

    @property
    def reason(self) -> str:
        """What is wrong, without the card."""
        return f"model {self.model} fails on what it has answered before: {self.problem}"

    def __str__(self) -> str:
        return f"card {self.card} is broken: {self.reason}"


@dataclass(eq=False, repr=False)
class NotServingError(CardError):
    """A card, a model or a deployment, ``who``, takes no requests now. ``cure``: what helps."""

    who: str
    why: str
    cure: str = field(default_factory=str)

    def __str__(self) -> str:
        told = f"{self.who} takes no requests: {self.why}"
        return f"{told}: {self.cure}" if self.cure else told


@dataclass(eq=False, repr=False)
class NotWantedError(CardError):
    """A request that was cancelled, or whose time was over, before the card had begun it."""

    card: str
    model: str

    def __str__(self) -> str:
        return f"card {self.card}: nobody waits for this request for model {self.model} any more"
