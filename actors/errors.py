"""Every error of this project, from one root.

    OrchestratorError
    ├── InvalidRequestError     a request fails its checks; it never reached a card
    ├── CardError               something is wrong with a card or on it
    │   ├── DoesNotFitError     the planned bytes exceed what the card has
    │   ├── LibraryError        the library of a card kind cannot be used here
    │   ├── LoadError           a model could not be declared, sized or built
    │   ├── PredictError        the library failed while running a batch
    │   ├── CardBrokenError     a model fails on what it has answered before
    │   ├── NotServingError     the card is starting, draining or stopped
    │   └── NotWantedError      nobody waits for the answer any more
    ├── ConversionError         a model could not be converted
    └── (the driver's own errors: orchestrator/errors.py)

All arguments are positional and kept in ``args``, so that an error survives the trip through
pickle and Ray; the text is made in ``__str__``.
"""


class OrchestratorError(Exception):
    """Root of the tree: anything that a user can cause or must be told."""


class InvalidRequestError(OrchestratorError):
    """A request that no card would accept: wrong name, dtype, rank or size. Never retried."""

    def __init__(self, model: str, problem: str) -> None:
        super().__init__(model, problem)
        self.model = model
        self.problem = problem

    def __str__(self) -> str:
        return f"model {self.model}: {self.problem}"


class ConversionError(OrchestratorError):
    """A model could not be converted."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path} was not converted: {self.problem}"


class CardError(OrchestratorError):
    """Something is wrong with a card or on it."""


class DoesNotFitError(CardError):
    """The planned bytes of a card's models exceed what the card has."""

    def __init__(
        self, card: str, needed_bytes: int, available_bytes: int, parts: str, why: str = ""
    ) -> None:
        super().__init__(card, needed_bytes, available_bytes, parts, why)
        self.card = card
        self.needed_bytes = needed_bytes
        self.available_bytes = available_bytes
        self.parts = parts
        self.why = why

    def __str__(self) -> str:
        short = self.needed_bytes - self.available_bytes
        return (
            f"card {self.card}: its models need {self.needed_bytes:,} bytes ({self.parts}) "
            f"and it has {self.available_bytes:,}: {short:,} bytes too few"
            + (f"; {self.why}" if self.why else "")
        )


class LibraryError(CardError):
    """The library that a card kind needs cannot be used in this process."""

    def __init__(self, kind: str, problem: str, cure: str) -> None:
        super().__init__(kind, problem, cure)
        self.kind = kind
        self.problem = problem
        self.cure = cure

    def __str__(self) -> str:
        return f"cards of kind {self.kind} cannot be used here: {self.problem}. {self.cure}"


class LoadError(CardError):
    """A model could not be declared, sized or built. That process is of no further use."""

    def __init__(self, card: str, model: str, path: str, problem: str) -> None:
        super().__init__(card, model, path, problem)
        self.card = card
        self.model = model
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"card {self.card}: model {self.model} ({self.path}) did not load: {self.problem}"


class PredictError(CardError):
    """The library failed while running a batch that had passed every check."""

    def __init__(self, card: str, model: str, problem: str) -> None:
        super().__init__(card, model, problem)
        self.card = card
        self.model = model
        self.problem = problem

    def __str__(self) -> str:
        return f"card {self.card}: model {self.model} failed: {self.problem}"


class CardBrokenError(CardError):
    """A model failed, and then again on an input that it had answered before."""

    def __init__(self, card: str, model: str, problem: str) -> None:
        super().__init__(card, model, problem)
        self.card = card
        self.model = model
        self.problem = problem

    @property
    def reason(self) -> str:
        """What is wrong, without the card."""
        return f"model {self.model} fails on what it has answered before: {self.problem}"

    def __str__(self) -> str:
        return f"card {self.card} is broken: {self.reason}"


class NotServingError(CardError):
    """The card takes no requests now: it is empty, draining or stopped."""

    def __init__(self, card: str, state: str) -> None:
        super().__init__(card, state)
        self.card = card
        self.state = state

    def __str__(self) -> str:
        return f"card {self.card} takes no requests: it is {self.state}"


class NotWantedError(CardError):
    """A request that was cancelled, or whose time was over, before the card had begun it."""

    def __init__(self, card: str, model: str) -> None:
        super().__init__(card, model)
        self.card = card
        self.model = model

    def __str__(self) -> str:
        return f"card {self.card}: nobody waits for this request for model {self.model} any more"
