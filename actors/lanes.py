"""The models of a card that run in turns: who is next, and when. Pure."""

import math
from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import TypeVar

from actors.admission import remember
from actors.entries import PRIORITIES, Batch, Priority
from actors.turns import Turns

T = TypeVar("T")

#: Seconds before the end of a batch at which the next one is taken, or half of what it takes if
#: that is more: whoever comes before that is in time for the next turn.
_HEAD_START = 0.02
#: Copies that take longer than that are begun earlier, by so much more than they seem to take: what
#: they hold up cannot be told from execution, so it must be found out.
_MORE = 1.25
#: What a kind of batch takes at best is that of the best one, and a little more with each other.
_FORGETS = 1 / 16


class Lane:
    """Models that run in turns: who is next, and which batches are under way.

    A second one is taken while the first executes, but not earlier than it must be. They may
    execute in another order than they were taken in: the card's lock goes to whoever gets hold of
    it. One that was overtaken counts for those that overtook it too, so that no more than
    ``ahead - 1`` of a model that always wants the card pass a batch of another one.
    """

    def __init__(self, shares: Mapping[str, float], ahead: float) -> None:
        self.models = tuple(shares)
        self._ahead = ahead
        self._taken = 0
        self._overtaken: dict[int, int] = {}
        self._later: dict[int, float] = {}
        self._by_itself: int | None = None
        self.opens = -math.inf
        """When the next batch may be taken, as far as that is a question of time."""
        self._shares = Turns(PRIORITIES)
        self._turns = {priority: Turns(shares) for priority in PRIORITIES}
        self._seconds: dict[Hashable, float] = {}
        self._best: dict[Hashable, float] = {}
        self._alone: dict[Hashable, float] = {}
        self._ended = -math.inf

    @property
    def full(self) -> bool:
        """Whether no further batch may be taken before one is done."""
        return len(self._overtaken) + sum(self._overtaken.values()) >= self._ahead

    def next(self, wanting: Mapping[Priority, Collection[str]]) -> tuple[Priority, str]:
        """The priority and the model whose turn it is, of those that want one."""
        priority = self._shares.first([one for one in PRIORITIES if one in wanting])
        return priority, self._turns[priority].first(wanting[priority])

    def take(
        self, kind: Hashable, model: str, lead: Priority, rows: Mapping[Priority, int], now: float
    ) -> tuple[float, int]:
        """Charge a batch with what the last one of its kind took; return that, and its number."""
        seconds = self._seconds.get(kind, 0.0)
        part = seconds * rows[lead] / sum(rows.values())
        self._shares.take(lead, part)
        self._turns[lead].take(model, part)
        self._charge(model, {p: n for p, n in rows.items() if p != lead}, seconds, rows)
        self._taken += 1
        if not self._later:
            self._by_itself = self._taken
        self._overtaken[self._taken] = 0
        self._later[self._taken] = self._until_next(kind)
        self._executes(now)
        return seconds, self._taken

    def finish(self, batch: Batch[T], now: float) -> None:
        """Charge what a batch took beyond that. They execute one after the other."""
        seconds = now - max(batch.taken, self._ended)
        self._charge(batch.model, batch.rows, seconds - batch.expected, batch.rows)
        remember(self._seconds, batch.kind, seconds)
        self._ended = now
        _note(self._best, batch.kind, seconds)
        if batch.number == self._by_itself:
            _note(self._alone, batch.kind, seconds)
        del self._overtaken[batch.number], self._later[batch.number]
        for number in self._overtaken:
            self._overtaken[number] += number < batch.number
        self._executes(now)

    def _executes(self, now: float) -> None:
        """If one batch is under way, it executes from now on, and the next is for later."""
        self.opens = -math.inf
        if len(self._later) == 1 and self._ahead < math.inf:
            [seconds] = self._later.values()
            self.opens = now + seconds

    def _until_next(self, kind: Hashable) -> float:
        """How long a batch executes before the next one is taken, which is then to be copied."""
        seconds = self._best.get(kind, 0.0)
        copies = self._alone.get(kind, 0.0) - seconds
        return seconds - max(seconds / 2, _HEAD_START, _MORE * copies)

    def _charge(
        self, model: str, whom: Iterable[Priority], seconds: float, rows: Mapping[Priority, int]
    ) -> None:
        for priority in whom:
            part = seconds * rows[priority] / sum(rows.values())
            self._shares.charge(priority, part)
            self._turns[priority].charge(model, part)


def _note(best: dict[Hashable, float], kind: Hashable, seconds: float) -> None:
    known = best.get(kind, seconds)
    remember(best, kind, min(seconds, known + (seconds - known) * _FORGETS))
