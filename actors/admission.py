"""The check of requests, done once for each combination of shapes that comes."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from actors.shapes import Arrays, BatchRule, Bucket, Signature, bucket, check, row_limit, split

K = TypeVar("K")
V = TypeVar("V")

#: Combinations of shapes that are remembered; a client that varies more is checked anew.
REMEMBERED = 1024


class Placed(NamedTuple):
    """A checked request: its rows, what it may be joined with, and the most rows of one batch.

    ``piece_rows`` are those of each piece that ``Admission.pieces`` makes. ``plain``: all arrays
    are numpy's own; subclasses may copy, concatenate and pickle in ways of their own.
    ``nbytes``, of all arrays, are of the request and ``piece_bytes`` of its pieces.
    """

    rows: int
    bucket: Bucket
    limit: int
    piece_rows: Sequence[int]
    plain: bool
    nbytes: int
    piece_bytes: Sequence[int]


class Admission:
    """Checks the requests for one model. Thread-safe."""

    def __init__(self, signature: Signature, rule: BatchRule, model: str) -> None:
        self._signature, self._rule, self._model = signature, rule, model
        self._known: dict[Any, Placed] = {}

    def place(self, inputs: Arrays) -> Placed:
        """Check a request; looked up where the same shapes came before.

        Raises:
            InvalidRequestError: the model does not take it; see ``check``.
        """
        seen = None
        try:
            seen = tuple([(name, type(a), a.shape, a.dtype) for name, a in inputs.items()])
            return self._known[seen]
        except (AttributeError, KeyError, TypeError):
            pass  # what the check raises is told alone, without these
        rows = check(self._signature, self._rule, self._model, inputs)
        key = bucket(self._signature, self._rule, inputs)
        limit = row_limit(self._signature, self._rule, key)
        pieces = [min(limit, rows - at) for at in range(0, rows, limit)]
        plain = all(type(array) is np.ndarray for array in inputs.values())
        nbytes = sum(array.nbytes for array in inputs.values())
        piece_bytes = [nbytes * piece // rows for piece in pieces]
        placed = Placed(rows, key, limit, pieces, plain, nbytes, piece_bytes)
        return remember(self._known, seen, placed)

    def pieces(self, inputs: Arrays, placed: Placed) -> list[Arrays]:
        """The parts of a placed request that fit into one batch each, as views, in order.

        Plain arrays, whatever they were.
        """
        if not placed.plain:
            inputs = {name: np.asarray(array) for name, array in inputs.items()}
        if placed.rows <= placed.limit:
            return [inputs]
        return split(self._signature, self._rule, inputs)


def remember(known: dict[K, V], key: K, value: V) -> V:
    """Keep a value, but never more than ``REMEMBERED``; returns it."""
    if len(known) >= REMEMBERED:
        known.clear()
    known[key] = value
    return value
