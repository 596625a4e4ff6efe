"""Whose fault it is that a pipeline failed: that of the records, or of what serves them."""

from collections.abc import Iterator

from orchestrator.errors import InvalidRequestError, OrchestratorError, RequestFailedError
from orchestrator.jobs import Reject, Stage


def not_the_records(error: BaseException) -> OrchestratorError | None:
    """What of a pipeline's failure would meet any other records too; None: they are to blame.

    Records are to blame for requests that no card takes, that fail on cards or kill them, and for
    whatever a user's own code raises of itself. A closed or overloaded deployment, a lost cluster,
    an allowed time that is over: all else of this project's errors says nothing about records.
    """
    ours = (one for one in _told(error) if isinstance(one, OrchestratorError))
    return next((one for one in ours if not _blames(one)), None)


def rejected(record: str, error: BaseException) -> Reject:
    """The reject of a record that is to blame."""
    ours = isinstance(error, OrchestratorError)
    reason = str(error) if ours else f"{type(error).__name__}: {error}"
    failed = (one for one in _told(error) if isinstance(one, RequestFailedError))
    cards = sorted({card for one in failed for card in one.cards})
    return Reject(record, Stage.PIPELINE, reason, ", ".join(cards))


def deadly_rows(error: BaseException) -> tuple[int, ...]:
    """First and end of the rows of some request that cards died of; empty where none did."""
    failed = (one for one in _told(error) if isinstance(one, RequestFailedError))
    return next((one.deadly for one in failed if one.deadly), ())


def _blames(error: OrchestratorError) -> bool:
    if isinstance(error, RequestFailedError):
        return error.blamed
    return isinstance(error, InvalidRequestError)


def _told(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from, and all of these that a group holds."""
    yield error
    if error.__cause__ is not None:
        yield from _told(error.__cause__)
    for one in getattr(error, "exceptions", ()):  # of an ExceptionGroup, which Python 3.10 lacks
        if isinstance(one, BaseException):
            yield from _told(one)
