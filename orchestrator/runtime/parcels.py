"""The requests and the replies of one actor call on their way, small arrays of all in one buffer.

Ray's pickler calls back into Python for every object that is none of Python's own, and sends every
array by itself: a call of many small requests would spend most of its time there. Large arrays
travel as they are, without a copy.
"""

import itertools
import math
from collections.abc import Sequence

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
#: Of one model and priority: these, the reservation (0: none), ids, and the seconds until each of
#: them expires, unless none does. Plain tuples: see above.
RequestParcel = tuple[str, Priority, int, list[int], list[float] | None, Parcel]


def pack_requests(requests: Sequence[Request], reservation: int, now: float) -> RequestParcel:
    """For ``unpack_requests`` in the card's process; all of one model and priority."""
    _, model, _, priority, _ = requests[0]
    seconds = [request.expires - now for request in requests]
    ids = [request.id for request in requests]
    expire = seconds if min(seconds) < math.inf else None
    return model, priority, reservation, ids, expire, pack([one.inputs for one in requests])


def unpack_requests(parcel: RequestParcel, now: float) -> tuple[list[Request], int]:
    """What was packed, and the reservation; small arrays are views of one buffer."""
    model, priority, reservation, ids, expire, inputs = parcel
    seconds = expire or itertools.repeat(math.inf, len(ids))
    requests = [
        Request(number, model, arrays, priority, now + left)
        for number, left, arrays in zip(ids, seconds, unpack(inputs), strict=True)
    ]
    return requests, reservation


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
