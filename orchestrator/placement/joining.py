"""The batch that requests of a model are joined into under its demand, and what a row then takes.

A card joins what has come by the time that it is a model's turn (``actors/queue.py``). So how many
rows a batch has, and which gear holds them, follows from how many come and how long they gather:

- while they wait for their turn on a card that is as busy as plans may make it: the mean wait of an
  M/D/1 queue, ``utilisation / (2 (1 - utilisation))`` batches, of the model's own, as nobody knows
  the other models yet. On a card that may be busy always, as a job's, batches are full;
- for ``max_wait``, if that is longer;
- until the fewest cards that could do them all in full batches can do them.

That is what the model needs of a card that is so busy. One that has less to do joins less, for it
has the time, and answers the sooner.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.profiles import BatchTime

Numbers = npt.NDArray[Any]
#: When seconds of gathering count as found, and after how many rounds at the latest.
_CLOSE, _ROUNDS = 1e-6, 100
#: By how much longer they gather from one try to the next where one card is not enough else, and
#: how many rows come meanwhile at the first of these tries: each adds a quarter of a batch at most.
_LONGER, _FIRST = 1.25, 0.25


@dataclass(frozen=True)
class Joined:
    """The mean rows of a batch, and the card's milliseconds for each of them at speed 1."""

    rows: float
    row_ms: float


@dataclass(frozen=True)
class Joining:
    """How one model's requests, of one row each, are joined on a card.

    ``times`` by rows, fewest first; ``most`` rows are joined. ``copies``: what copies take counts
    too, as nothing of the model runs beside them. ``speed`` is that of the fastest card.
    """

    times: Sequence[BatchTime]
    most: int
    max_wait: float
    utilisation: float
    speed: float = 1.0
    copies: bool = False

    @property
    def full(self) -> Joined:
        """Batches as large as they may be."""
        return Joined(float(self.most), float(self._ms[-1]) / self.most)

    def under(self, rps: float, fewest: int, most: int | None) -> Joined:
        """What so many requests a second are joined into, split over the fewest replicas.

        That is as many as full batches need, from ``fewest`` to ``most``.
        """
        if self.utilisation >= 1 or rps <= 0 or self.full.row_ms <= 0:
            return self.full
        room = self.utilisation * self.speed
        needed = math.ceil(rps * self.full.row_ms / 1000 / room - 1e-9)
        rps /= min(max(fewest, needed, 1), most or math.inf)
        seconds = self._seconds(rps)
        joined = self._gathered(rps * seconds)
        while rps * joined.row_ms / 1000 > room and joined.rows < self.most * (1 - _CLOSE):
            seconds = max(_LONGER * seconds, _FIRST / rps)
            joined = self._gathered(rps * seconds)
        return joined

    def _seconds(self, rps: float) -> float:
        """How long they gather: the more do, the longer is a batch, and the wait for a turn."""
        turns = self.utilisation / (2 * (1 - self.utilisation)) / self.speed / 1000
        seconds = self.max_wait
        for _ in range(_ROUNDS):
            joined = self._gathered(rps * seconds)
            longer = max(self.max_wait, turns * joined.rows * joined.row_ms)
            if longer <= seconds * (1 + _CLOSE):
                break
            seconds = longer
        return seconds

    def _gathered(self, coming: float) -> Joined:
        """The batch of a first row and of those that come meanwhile, as many as Poisson says."""
        if coming <= 0 or self.most == 1:
            return Joined(1.0, float(self._ms[0]))
        others = np.arange(self.most - 1)
        chances = np.exp(others * math.log(coming) - coming - self._log_factorials)
        chances = np.append(chances, max(0.0, 1 - chances.sum()))
        rows = float(chances @ np.arange(1, self.most + 1))
        return Joined(rows, float(chances @ self._ms) / rows)

    @cached_property
    def _log_factorials(self) -> Numbers:
        return np.cumsum(np.log(np.maximum(np.arange(self.most - 1), 1)))

    @cached_property
    def _ms(self) -> Numbers:
        """Of a batch of 1, 2, ... rows: that of the smallest gear that holds them."""
        held = np.searchsorted([one.rows for one in self.times], np.arange(1, self.most + 1))
        each = [one.execute_ms + (one.copy_ms if self.copies else 0.0) for one in self.times]
        ms: Numbers = np.array(each)[np.minimum(held, len(each) - 1)]
        return ms
