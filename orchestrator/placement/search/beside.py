"""A bound by what is beside hot models: what takes little enough time, a copy more, or nothing.

A group is hot whose copies, no more than its work forces, take more than half of a card's time
each: no two of those are on one card. What is beside them must do with the time that they leave.
Let a unit of time have a price in bytes. Then the copies of a hot group lose the bytes of their
cards, less their own and the price of the time they leave; others win back what their own bytes are
worth more than the time they take, at most; and a hot group that has a copy more loses that copy's
bytes, if that is less: with the price high enough, it is no way out to share its work unevenly. All
that is lost must be free where the workspaces are as small as can be.

That holds of all hot groups together, as if groups could be cut; of each alone, what is beside one
of its copies is made of whole groups.
"""

from functools import cached_property

import numpy as np

from orchestrator.placement.search.bounds import SLACK, Bound, Items, Numbers, room_of
from orchestrator.placement.search.knapsack import Forced, Knapsacks

#: Prices of the time of the fastest card, in bytes of the roomiest: from what the proof needs up.
_PRICES = 2.0 * 1.35 ** np.arange(28)
#: At most so many scales are looked at at which a copy more is forced; and parts of an interval.
_TURNS, _HALVES = 160, 20
#: The share of a bound by which another is to be better.
_WORTH = 1e-5
#: The share of a card that must be lost beyond what is free: more than sums are off by.
_SURELY = 1e-6


def beside_alpha(items: Items, high: float) -> Bound | None:
    """No plan serves more than this times the demand; None if it is not below ``high``.

    Just below the scale at which a group needs a copy more, those it has are busiest: there it is
    looked whether so much can be served, and below the first where it cannot, down to where.
    """
    beside = _Beside(items)
    low = 0.0
    for turn in beside.turns(high):
        if not beside.possible(turn):
            value = beside.least_impossible(low, turn)
            return Bound("beside", value) if value < high * (1 - _WORTH) else None
        low = turn
    return None


class _Beside:
    """Bytes and time of groups and cards, and what of them is lost at some scale of the demand."""

    def __init__(self, items: Items) -> None:
        self.items = items
        world = items.world
        cards = [world.cards[index] for index in items.usable]
        self.room = np.array([room_of(card) for card in cards], float)
        self.speed = np.array([world.room(card) for card in cards])
        self.bytes = items.always.astype(float)
        self.knapsacks = Knapsacks(items, self.room, self.speed)

    @cached_property
    def fast(self) -> float:
        """The most work that a card does."""
        return float(self.speed.max(initial=0.0))

    @cached_property
    def roomy(self) -> float:
        """The most bytes that a card has."""
        return float(self.room.max(initial=0.0))

    def turns(self, high: float) -> list[float]:
        """Scales up to ``high``, rising: above each but the last some group needs a copy more."""
        if not self.fast or not self.roomy:
            return []
        work = self.items.work[self.items.work > 0]
        copies = np.floor(work * high / self.fast)
        found = copies[copies > 0] * self.fast / work[copies > 0]
        found = np.unique(found[found < high])[-_TURNS:]
        return [*found.tolist(), high]

    def least_impossible(self, low: float, high: float) -> float:
        """The scale above which, and up to ``high``, it is not possible, or little more."""
        for _ in range(_HALVES):
            middle = (low + high) / 2
            low, high = (middle, high) if self.possible(middle) else (low, middle)
        return high * (1 + SLACK)

    def possible(self, scale: float) -> bool:
        """Whether no more is lost than is free at best, and whole groups can be so little."""
        copies = self.items.copies(scale)
        if copies is None:
            return False
        levels = self.items.opened(copies, scale)
        if levels is None or len(levels) > len(self.room):
            return False
        free = float(self.room.sum() - (self.bytes * copies).sum()) - sum(levels)
        falling = tuple(sorted(levels, reverse=True))
        forced = Forced(scale, copies, falling, free + _SURELY * self.roomy)
        return self._lost(forced) <= forced.free and self.knapsacks.possible(forced)

    def _lost(self, forced: Forced) -> float:
        """Bytes that are lost whatever is where, at the price at which they are most."""
        copies, levels = forced.copies, np.array(forced.levels, float)
        work = self.items.work * forced.scale * (1 - SLACK)
        busy = np.ceil(work / self.fast)
        hot = np.flatnonzero((work > 0) & (copies * self.fast - work < self.fast / 2))
        if not len(hot):
            return 0.0
        #: What the least busy of its copies does at least; others do nothing, or fill a card.
        part = np.maximum(work - (busy - 1) * self.fast, 0.0)
        taken = np.concatenate([[0.0], np.cumsum(levels), np.full(len(copies), levels.sum())])
        best = 0.0
        for price in _PRICES * self.roomy / self.fast:
            won = np.where(busy > 0, np.maximum(self.bytes - price * part, 0.0), 0.0)
            won += np.maximum(copies - busy, 0) * self.bytes
            worth = float((self.room - price * self.speed).min())
            lose = copies[hot] * (worth - self.bytes[hot]) + price * work[hot]
            # The proof for a group needs its price. All of those lose, or those that lose most.
            ok = (lose > 0) & (2 * copies[hot] * self.roomy <= price * self.fast)
            rank = np.argsort(-np.minimum(lose, self.bytes[hot]), kind="stable")
            rank = rank[ok[rank]]
            while len(rank):
                some = hot[rank]
                least = _least(lose[rank], self.bytes[some], copies[some], taken)
                best = max(best, least - float(won.sum() - won[some].sum()))
                rank = rank[: len(rank) // 2]
        return best


def _least(lose: Numbers, more: Numbers, copies: Numbers, taken: Numbers) -> float:
    """The least that groups lose, each as it is or by a copy ``more``.

    As it is, the workspaces of its cards are not lost: the largest of all, in the worst case, whose
    sums are ``taken``.
    """
    changes = np.concatenate([[0.0], np.cumsum(np.sort(lose - more))])
    cards = np.concatenate([[0], np.cumsum(np.sort(copies)[::-1])])
    return float(more.sum() + (changes - taken[np.minimum(cards, len(taken) - 1)]).min())
