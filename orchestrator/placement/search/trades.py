"""What one card may trade with all others at once: sets of groups, for sets of theirs or nothing.

Where memory is full only what weighs about the same changes places. Two cards have few such sets;
one card and all others have hundreds.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.sheet import Numbers

#: Sets that a card offers: of so few groups all, of more some. Among them are each of those with
#: the largest workspaces together, which alone make its workspace smaller, and as often all whose
#: workspace is larger than one of them, and smaller: so two cards part by workspace.
_SETS, _ALL, _WIDEST, _ENDS = 32, 5, 6, 8
#: Trades that are looked at at once: of more, about as many.
_MOST = 4096
#: Bytes of a set that is not there: more than any card has.
_NOWHERE = 1 << 60
#: The share of the cards that may have changed before all sets are sorted again, and the share of
#: the sets whose cards have no more room than usual.
_STALE, _USUAL = 0.1, 0.95


@lru_cache(maxsize=_ALL + 1)
def _every(count: int) -> Numbers:
    """All sets of a few groups, the empty one first; by set and group, whether it is in."""
    found: Numbers = (np.arange(1 << count)[:, None] >> np.arange(count)) & 1
    return found


@dataclass(frozen=True)
class Offers:
    """Trades of a card that keep both cards' memory, by position.

    ``others``: with which card. ``mine`` and ``its``: which of either's sets. ``used`` and
    ``busy``: bytes and units of the card and of the other after the trade.
    """

    others: Numbers
    mine: Numbers
    its: Numbers
    used: tuple[Numbers, Numbers]
    busy: tuple[Numbers, Numbers]


class Trades:
    """The sets that each card of a layout offers.

    By card and set: bytes and load, the largest workspace (``top``), and that of what stays
    (``rest``), and whether it is all that the card has (``whole``). ``roomiest``: the bytes of the
    roomiest card.

    Sets stand in the order of their bytes, so that those of about one size are found at once. Cards
    that changed since they were sorted are left out until they are sorted again.

    Not for a ``special`` sheet: there bytes depend on who shares, not on sizes alone.
    """

    def __init__(self, layout: Layout, cards: Sequence[int], rng: random.Random) -> None:
        self.layout, self.cards, self.rng = layout, list(cards), rng
        sheet = layout.sheet
        self.roomiest = float(sheet.room.max())
        #: By card, which sort it is of: two of one sort that change all they have change nothing.
        kinds = np.stack([sheet.room, sheet.speed], axis=1)
        self.sort: Numbers = np.unique(kinds, axis=0, return_inverse=True)[1].ravel()
        shape = sheet.cards, _SETS
        self.size = np.full(shape, _NOWHERE, np.int64)
        self.load = np.zeros(shape, np.int64)
        self.top = np.zeros(shape, np.int64)
        self.rest = np.zeros(shape, np.int64)
        self.whole = np.zeros(shape, bool)
        self.count = [0] * sheet.cards
        self.names: list[list[int]] = [[] for _ in range(sheet.cards)]
        self.sets: list[Numbers] = [_every(0)] * sheet.cards
        self.stale: set[int] = set()
        for card in cards:
            self.note(card)
        self._sort()

    def note(self, card: int) -> None:
        """Write down what the card offers as it is now."""
        lists, held = self.layout.sheet.lists, self.layout.on[card]
        names = sorted(held, key=lambda group: (-lists.level[group], group))
        sets = self._some(len(names)) if len(names) > _ALL else _every(len(names))
        columns = [(lists.always[group], held[group], lists.level[group]) for group in names]
        table = np.array(columns, np.int64).reshape(-1, 3)
        level, count = table[:, 2], len(sets)
        sums = sets @ table[:, :2]
        self.size[card, :count] = sums[:, 0]
        self.size[card, count:] = _NOWHERE
        self.load[card, :count] = sums[:, 1]
        self.top[card, :count] = (sets * level).max(axis=1, initial=0)
        self.rest[card, :count] = ((1 - sets) * level).max(axis=1, initial=0)
        self.whole[card, :count] = sets.all(axis=1)
        self.names[card], self.sets[card], self.count[card] = names, sets, count
        self.stale.add(card)

    def _some(self, count: int) -> Numbers:
        """The empty set; the widest, few and as many as it happens; the narrowest; and a few."""
        found, rng = np.zeros((_SETS, count), np.int64), self.rng
        for row in range(1, _WIDEST):
            found[row, : row + 1] = 1
        for row in range(_WIDEST, _WIDEST + _ENDS):
            found[row, : rng.randrange(1, count)] = 1
            found[row + _ENDS, rng.randrange(1, count) :] = 1
        first = _WIDEST + 2 * _ENDS
        single = rng.sample(range(count), min(count, (_SETS - first) * 2 // 3))
        found[range(first, first + len(single)), single] = 1
        for row in range(first + len(single), _SETS):
            found[row, rng.sample(range(count), 3 if rng.random() < 1 / 3 else 2)] = 1
        return found

    def _sort(self) -> None:
        """Sort the sets of all cards by their bytes."""
        left = (self.layout.sheet.room - self.layout.always)[:, None]
        total = sum(self.count[card] for card in self.cards)
        self.order = np.argsort(self.size, axis=None, kind="stable")[:total]
        self.sizes = self.size.ravel()[self.order]
        more = left - self.rest
        least = self.size + self.top, self.size + more, self.size + left
        #: What a card needs for the set; what its own card can take for it, at most, and that with
        #: the largest workspace among it.
        self.bytes = [part.ravel()[self.order] for part in least]
        at = int(_USUAL * (total - 1))
        #: Bytes that most cards have at most for what they get.
        self.usual = int(np.partition(more.ravel()[self.order], at)[at])
        self.stale.clear()

    def _near(self, one: int) -> tuple[Numbers, Numbers]:
        """Pairs of a set of the card's and a set of about as many bytes: which, and where it is.

        A card with more room than usual gets much for little; that is found when it is its turn.
        """
        layout, count = self.layout, self.count[one]
        size = self.size[one, :count]
        have = int(layout.sheet.room[one] - layout.always[one]) - self.rest[one, :count]
        last = np.searchsorted(self.sizes, size + have, side="right")
        first: Numbers = np.zeros(count, np.int64)
        if count * len(self.order) > _MOST:
            first = np.minimum(np.searchsorted(self.sizes, size - self.usual), last)
        step = 1 + int((last - first).sum()) // _MOST
        first = first + self.rng.randrange(step)
        width = np.maximum((last - first + step - 1) // step, 0)
        mine = np.repeat(np.arange(count), width)
        before = np.cumsum(width) - width
        return mine, (np.arange(len(mine)) - before[mine]) * step + first[mine]

    def offers(self, one: int) -> Offers:
        """Trades of the card with the others, but for those that change nothing."""
        layout, sheet = self.layout, self.layout.sheet
        if len(self.names[one]) > _ALL:
            self.note(one)  # Each time other sets of many.
        if len(self.stale) > _STALE * len(self.cards):
            self._sort()
        given, at = self._near(one)
        size, top = self.size[one].take(given), self.top[one].take(given)
        needs, most, wide = (part.take(at) for part in self.bytes)
        fits = needs - size <= sheet.room[one] - layout.always[one]
        fits &= (most >= size) & (wide >= size + top)
        some = fits.nonzero()[0]
        given, its = given[some], self.order[at[some]]
        other = its // _SETS
        known = np.ones(sheet.cards, bool)
        known[[one, *self.stale]] = False
        null = self.whole[one, given] & self.whole.ravel()[its]
        null &= self.sort[other] == self.sort[one]
        null |= (given == 0) & (its % _SETS == 0)
        some = (known[other] & ~null).nonzero()[0]
        other, given, its = other[some], given[some], its[some]
        grown = self.size.ravel()[its] - self.size[one, given]
        more = self.load.ravel()[its] - self.load[one, given]
        levels = (
            np.maximum(self.rest[one, given], self.top.ravel()[its]),
            np.maximum(self.rest.ravel()[its], self.top[one, given]),
        )
        return Offers(
            other,
            given,
            its % _SETS,
            (layout.always[one] + grown + levels[0], layout.always[other] - grown + levels[1]),
            (layout.busy[one] + more, layout.busy[other] - more),
        )

    def make(self, one: int, offers: Offers, at: int) -> bool:
        """Make that trade; False, and nothing changed, if a rule forbids it."""
        layout, other = self.layout, int(offers.others[at])
        mine = self._of(one, int(offers.mine[at]))
        its = self._of(other, int(offers.its[at]))
        here, there = layout.on[one], layout.on[other]
        if any(group in there for group in mine) or any(group in here for group in its):
            return False
        spread = layout.sheet.spread
        kept = [g for g in (*mine, *its) if spread[g] > 1 and layout.spread_kept(g)]
        layout.refill(one, _traded(here, mine, there, its))
        layout.refill(other, _traded(there, its, here, mine))
        if not layout.sheet.plain and not (
            layout.legal(one) and layout.legal(other) and all(map(layout.spread_kept, kept))
        ):
            layout.refill(one, here)
            layout.refill(other, there)
            return False
        self.note(one)
        self.note(other)
        return True

    def _of(self, card: int, index: int) -> list[int]:
        """The groups of a card's set."""
        chosen = self.sets[card][index].nonzero()[0].tolist()
        return [self.names[card][position] for position in chosen]


def _traded(
    held: dict[int, int], given: Sequence[int], from_: dict[int, int], got: Sequence[int]
) -> dict[int, int]:
    """What a card holds after it gave these groups for those."""
    kept = {group: load for group, load in held.items() if group not in given}
    return kept | {group: from_[group] for group in got}
