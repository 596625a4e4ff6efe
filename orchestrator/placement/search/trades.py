"""What one card may trade with many others at once: sets of groups, for sets of theirs or nothing.

Where memory is full only what weighs about the same changes places. Two cards have few such sets;
one card and dozens of others have hundreds.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.sheet import Numbers

#: Sets that a card offers: of so few groups all, of more some, among them each of those with the
#: largest workspaces together, which alone make its workspace smaller.
_SETS, _ALL, _WIDEST = 32, 5, 6
#: Bytes of a set that is not there: more than any card has.
_NOWHERE = 1 << 60


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

    By card and set: bytes and load, the largest workspace (``top``), and that of what stays;
    ``roomiest``: the bytes of the roomiest card.

    Not for a ``special`` sheet: there bytes depend on who shares, not on sizes alone.
    """

    def __init__(self, layout: Layout, cards: Sequence[int], rng: random.Random) -> None:
        self.layout, self.rng = layout, rng
        self.roomiest = float(layout.sheet.room.max())
        shape = layout.sheet.cards, _SETS
        self.size = np.full(shape, _NOWHERE, np.int64)
        self.load = np.zeros(shape, np.int64)
        self.top = np.zeros(shape, np.int64)
        self.rest = np.zeros(shape, np.int64)
        self.count = [0] * layout.sheet.cards
        self.names: list[list[int]] = [[] for _ in range(layout.sheet.cards)]
        self.sets: list[Numbers] = [_every(0)] * layout.sheet.cards
        for card in cards:
            self.note(card)

    def note(self, card: int) -> None:
        """Write down what the card offers as it is now."""
        lists, held = self.layout.sheet.lists, self.layout.on[card]
        names = sorted(held, key=lambda group: (-lists.level[group], group))
        sets = self._some(len(names)) if len(names) > _ALL else _every(len(names))
        level = np.array([lists.level[group] for group in names], np.int64)
        count = len(sets)
        self.size[card, :count] = sets @ np.array([lists.always[g] for g in names], np.int64)
        self.size[card, count:] = _NOWHERE
        self.load[card, :count] = sets @ np.array([held[group] for group in names], np.int64)
        self.top[card, :count] = (sets * level).max(axis=1, initial=0)
        self.rest[card, :count] = ((1 - sets) * level).max(axis=1, initial=0)
        self.names[card], self.sets[card], self.count[card] = names, sets, count

    def _some(self, count: int) -> Numbers:
        """The empty set, the widest together, single ones, and pairs and triples."""
        found, rng = np.zeros((_SETS, count), np.int64), self.rng
        for row in range(1, _WIDEST):
            found[row, : row + 1] = 1
        single = rng.sample(range(count), min(count, _SETS // 2))
        found[range(_WIDEST, _WIDEST + len(single)), single] = 1
        for row in range(_WIDEST + len(single), _SETS):
            found[row, rng.sample(range(count), 3 if rng.random() < 1 / 3 else 2)] = 1
        return found

    def offers(self, one: int, others: Sequence[int]) -> Offers:
        """All trades of the card with those others, but for the one of nothing for nothing."""
        layout, room = self.layout, self.layout.sheet.room
        if len(self.names[one]) > _ALL:
            self.note(one)  # Each time other sets of many.
        mine = slice(0, self.count[one])
        #: Bytes that a card has for what it gets, if nothing that it gets raises its workspace.
        have = int(room[one] - layout.always[one]) - self.rest[one, mine]
        theirs = (room - layout.always)[others, None] - self.rest[others]
        gain = self.size[others].ravel() - self.size[one, mine, None]
        given, at = ((gain <= have[:, None]) & (gain >= -theirs.ravel())).nonzero()
        other, its = np.array(others, np.int64)[at // _SETS], at % _SETS
        grown = gain[given, at]
        used = (
            layout.always[one] + grown + np.maximum(self.rest[one, given], self.top[other, its]),
            layout.always[other] - grown + np.maximum(self.rest[other, its], self.top[one, given]),
        )
        fits = (used[0] <= room[one]) & (used[1] <= room[other]) & ((given > 0) | (its > 0))
        some = fits.nonzero()[0]
        other, given, its = other[some], given[some], its[some]
        more = self.load[other, its] - self.load[one, given]
        return Offers(
            other,
            given,
            its,
            (used[0][some], used[1][some]),
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
