"""The requests and the replies of one actor call on their way, small arrays of all as plain bytes.

Ray's pickler calls back into Python for every object that is none of Python's own, and sends every
array by itself: a call of many small requests would spend most of its time there, and a call of one
as much there as on all else. What is bytes it sends as it is. The memory of large arrays travels
by itself, without a copy, as a buffer of Python's own; what they are is told beside it.
"""

import itertools
import math
import pickle
from collections.abc import Sequence
from pickle import PickleBuffer
from typing import Any

import numpy as np

from actors.messages import Answers, Array, Arrays, Reply, Request

#: An array of more bytes travels by itself.
_SMALL = 32 << 10
#: Small arrays of more bytes together travel as one large one.
_INLINE = 64 << 10
#: numpy's kinds of plain numbers; whatever else there may be travels by itself.
_PLAIN = frozenset("biufc")

#: What travels by itself: memory of arrays (there is no type for what Ray makes of a PickleBuffer),
#: or an array whose dtype cannot be told.
_Large = list[Any]
#: A call's head, pickled; with large arrays these beside it.
Parcel = bytes | tuple[bytes, _Large]
#: One input of some requests of equal names, dtypes and shapes: its name and what its arrays have
#: in common (no dtype: they are sent as they are), with the bytes of all of them, or the place of
#: those among what is large; or, where each is large, the places of each.
_Column = tuple[str, str, tuple[int, ...], bytes | int | list[int]]
#: Which requests these are, and their inputs.
_Alike = tuple[list[int], list[_Column]]


def pack_requests(requests: Sequence[Request], reservation: int, now: float) -> Parcel:
    """For ``unpack_requests`` in the card's process; all of one model and priority."""
    _, model, _, priority, _ = requests[0]
    ids = [request.id for request in requests]
    expires = [request.expires for request in requests]
    left = [at - now for at in expires] if min(expires) < math.inf else None
    return pack((model, priority, reservation, ids, left), [one.inputs for one in requests])


def unpack_requests(parcel: Parcel, now: float) -> tuple[list[Request], int]:
    """What was packed, and the reservation; small arrays are views of their requests' bytes."""
    (model, priority, reservation, ids, left), inputs = unpack(parcel)
    seconds = left or itertools.repeat(math.inf, len(ids))
    requests = [
        Request(number, model, arrays, priority, now + left)
        for number, left, arrays in zip(ids, seconds, inputs, strict=True)
    ]
    return requests, reservation


def pack_answers(answers: Answers) -> Parcel:
    """For ``unpack_answers`` in the driver's process."""
    ids = [reply.id for reply in answers.replies]
    errors = {at: error for at, (_, _, error) in enumerate(answers.replies) if error is not None}
    outputs = [reply.outputs or {} for reply in answers.replies]
    return pack((ids, errors, answers.seconds), outputs)


def unpack_answers(parcel: Parcel) -> Answers:
    """What was packed; a reply with an error has no outputs."""
    (ids, errors, seconds), outputs = unpack(parcel)
    replies = [Reply(number, arrays) for number, arrays in zip(ids, outputs, strict=True)]
    for at, error in errors.items():
        replies[at] = Reply(ids[at], None, error)
    return Answers(replies, seconds)


def pack(head: object, groups: Sequence[Arrays]) -> Parcel:
    """Arrays by name, many times, behind something of Python's own; ``unpack`` gives them back."""
    members: dict[tuple[Any, ...], list[int]] = {}
    for at, arrays in enumerate(groups):
        layout = tuple([(name, array.dtype, array.shape) for name, array in arrays.items()])
        members.setdefault(layout, []).append(at)
    large: _Large = []
    alike: list[_Alike] = [
        (places, [_column(name, [groups[at][name] for at in places], large) for name, _, _ in one])
        for one, places in members.items()
    ]
    sent = pickle.dumps((head, len(groups), alike), protocol=pickle.HIGHEST_PROTOCOL)
    return (sent, large) if large else sent


def unpack(parcel: Parcel) -> tuple[Any, list[dict[str, Array]]]:
    """What was packed: equal values, dtypes and shapes, C-contiguous where they were small."""
    sent, large = (parcel, []) if isinstance(parcel, bytes) else parcel
    head, count, alike = pickle.loads(sent)
    groups: list[dict[str, Array]] = [{} for _ in range(count)]
    for places, columns in alike:
        for column in columns:
            name, arrays = column[0], _arrays(column, len(places), large)
            for at, array in zip(places, arrays, strict=True):
                groups[at][name] = array
    return head, groups


def _column(name: str, arrays: list[Array], large: _Large) -> _Column:
    first, place = arrays[0], len(large)
    kind, shape, plain = first.dtype.str, first.shape, first.dtype.kind in _PLAIN
    if first.nbytes > _SMALL or not plain:
        large += [_memory(a) for a in arrays] if plain else arrays
        return name, kind if plain else "", shape, list(range(place, len(large)))
    data = b"".join([array.tobytes() for array in arrays])
    if len(data) <= _INLINE:
        return name, kind, shape, data
    large.append(PickleBuffer(data))
    return name, kind, shape, place


def _memory(array: Array) -> PickleBuffer:
    contiguous: Any = np.ascontiguousarray(array)  # numpy's stubs do not call it a buffer
    return PickleBuffer(contiguous)


def _arrays(column: _Column, count: int, large: _Large) -> list[Array]:
    _, kind, shape, where = column
    if isinstance(where, list):
        sent = [large[place] for place in where]
        return [np.ndarray(shape, kind, memory) for memory in sent] if kind else sent
    every: Array = np.ndarray(
        (count, *shape), kind, large[where] if isinstance(where, int) else where
    )
    return [every[at, ...] for at in range(count)]
