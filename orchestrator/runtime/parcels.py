"""The requests and the replies of one actor call on their way, small arrays of all in one buffer.

Ray's pickler calls back into Python for every object that is none of Python's own, and sends every
array by itself: a call of many small requests would spend most of its time there. Large arrays
travel as they are, without a copy.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.errors import OrchestratorError
from actors.messages import Answers, Array, Arrays, Reply, Request
from actors.queue import Priority

#: An array of more bytes travels by itself.
_SMALL = 32 << 10
_ALIGNMENT = 64
#: numpy's kinds of plain numbers; whatever else there may be travels by itself.
_PLAIN = frozenset("biufc")

#: An array's name and its place: in the buffer, with dtype and shape, or among the large ones.
Place = tuple[str, int, str, tuple[int, ...]] | tuple[str, int]
Parcel = tuple[npt.NDArray[np.uint8], list[Array], list[list[Place]]]
ReplyParcel = tuple[list[tuple[int, OrchestratorError | None]], Parcel, float]


class RequestParcel(NamedTuple):
    """Requests of one model and priority. ``seconds`` until they expire; None: none of them does.

    ``reservation``: see CardActor.reserve; 0: none.
    """

    model: str
    priority: Priority
    reservation: int
    ids: list[int]
    seconds: list[float] | None
    inputs: Parcel


def pack_requests(requests: Sequence[Request], reservation: int, now: float) -> RequestParcel:
    """For ``unpack_requests`` in the card's process; all of one model and priority."""
    _, model, _, priority, _ = requests[0]
    seconds = [request.expires - now for request in requests]
    return RequestParcel(
        model,
        priority,
        reservation,
        [request.id for request in requests],
        seconds if min(seconds) < math.inf else None,
        pack([request.inputs for request in requests]),
    )


def unpack_requests(parcel: RequestParcel, now: float) -> list[Request]:
    """What was packed; small arrays are views of one buffer."""
    seconds = parcel.seconds or itertools.repeat(math.inf, len(parcel.ids))
    return [
        Request(number, parcel.model, arrays, parcel.priority, now + left)
        for number, left, arrays in zip(parcel.ids, seconds, unpack(parcel.inputs), strict=True)
    ]


def pack_answers(answers: Answers) -> ReplyParcel:
    """For ``unpack_answers`` in the driver's process."""
    heads = [(reply.id, reply.error) for reply in answers.replies]
    return heads, pack([reply.outputs or {} for reply in answers.replies]), answers.seconds


def unpack_answers(parcel: ReplyParcel) -> Answers:
    """What was packed; a reply with an error has no outputs."""
    heads, outputs, seconds = parcel
    replies = [
        Reply(number, arrays if error is None else None, error)
        for (number, error), arrays in zip(heads, unpack(outputs), strict=True)
    ]
    return Answers(replies, seconds)


def pack(groups: Sequence[Arrays]) -> Parcel:
    """Arrays by name, many times; ``unpack`` gives them back."""
    small: list[tuple[int, Array]] = []
    large: list[Array] = []
    contents: list[list[Place]] = []
    end = 0
    for arrays in groups:
        places: list[Place] = []
        for name, array in arrays.items():
            if array.nbytes > _SMALL or array.dtype.kind not in _PLAIN:
                places.append((name, len(large)))
                large.append(array)
            else:
                places.append((name, end, array.dtype.str, array.shape))
                small.append((end, array))
                end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        contents.append(places)
    buffer = np.empty(end, np.uint8)
    for at, array in small:
        np.ndarray(array.shape, array.dtype, buffer, at)[...] = array
    return buffer, large, contents


def unpack(parcel: Parcel) -> list[dict[str, Array]]:
    """What was packed: equal values, dtypes and shapes, C-contiguous where they were small."""
    buffer, large, contents = parcel
    return [
        {
            place[0]: large[place[1]]
            if len(place) == 2
            else np.ndarray(place[3], place[2], buffer, place[1])
            for place in places
        }
        for places in contents
    ]
