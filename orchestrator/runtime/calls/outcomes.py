"""What a call ends with, as callers are told."""

from actors.errors import OrchestratorError
from actors.messages import Array
from actors.shapes import merge
from orchestrator.dispatch import Bundle
from orchestrator.errors import CallFailedError, NoRoomError, RequestFailedError
from orchestrator.runtime.calls.asked import Call

#: Outputs of at most this many bytes are copied, so that a small answer that somebody keeps does
#: not keep the whole call's bytes in the object store.
_COPY_BELOW = 64 << 10


def as_ours(outcome: BaseException, bundle: Bundle) -> OrchestratorError:
    """What a call ended with, as one of our own errors."""
    if isinstance(outcome, OrchestratorError):
        return outcome
    if isinstance(outcome, MemoryError):
        return NoRoomError(bundle.slot, repr(outcome))
    return CallFailedError(bundle.slot, bundle.model, repr(outcome))


def naming(error: OrchestratorError, rows: tuple[int, int]) -> OrchestratorError:
    """The failure of a piece, with the rows that it has in its caller's request."""
    if not isinstance(error, RequestFailedError):
        return error
    return RequestFailedError(error.model, error.story, error.cards, error.blamed, rows)


def merged(call: Call) -> dict[str, Array]:
    """The outputs of all pieces of a request, in their order; nobody may change them."""
    outputs = dict(merge(call.asked.rule, [call.outputs[i] for i in call.ids]))
    for array in outputs.values():
        array.flags.writeable = False  # as what comes from shared memory is anyway
    return outputs


def kept(array: Array) -> Array:
    """A small output gets memory of its own; a large one stays a view of the call's."""
    return array.copy() if array.nbytes <= _COPY_BELOW else array
