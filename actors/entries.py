"""What waits on a card, what runs there, and their priorities. Pure."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from actors.shapes import Bucket

T = TypeVar("T")

Priority = Literal["online", "batch"]
#: What each priority gets of the time while both want all of it.
PRIORITIES: Mapping[Priority, float] = {"online": 0.9, "batch": 0.1}


@dataclass(slots=True, eq=False)
class Entry(Generic[T]):
    """One request, or one piece of a large one, waiting for its batch. Never changed.

    ``limit`` is the most rows of a batch of this bucket; ``rows`` never exceeds it. ``sender`` is
    the driver that sent it, ``expires`` when nobody waits for it any more. (Not frozen: making a
    frozen one takes several times as long, and there is one for every request.)
    """

    model: str
    bucket: Bucket
    rows: int
    limit: int
    arrived: float
    item: T
    priority: Priority = "online"
    sender: int = 0
    expires: float = math.inf


@dataclass(slots=True, eq=False)
class Batch(Generic[T]):
    """Entries that run together. ``expected``: the seconds that were charged for it beforehand.

    Batches of one ``kind`` take about the same time; ``number`` counts those of its lane. (Never
    changed, and not frozen: see Entry.)
    """

    model: str
    entries: Sequence[Entry[T]]
    taken: float
    lead: Priority
    rows: Mapping[Priority, int]
    kind: Hashable
    expected: float
    number: int
