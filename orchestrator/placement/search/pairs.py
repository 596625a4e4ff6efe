"""What two cards hold, divided between them anew: every division at once, and the best of them."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np

from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.sheet import Numbers

#: Groups of two cards that are divided anew at a time; of more, the others stay where they are.
MOST_FREE = 11

#: How often a group of both cards is put on one, and one of one card on both; how eagerly the one
#: with the most load a byte.
_MERGE, _SPLIT, _EAGER = 0.5, 0.3, 0.5


#: One card's bytes or units, or those of every division.
Amount = TypeVar("Amount", float, Numbers)


@dataclass(frozen=True)
class Aim:
    """What a good division is: the smaller the better.

    ``busy`` weighs the eighth powers of how full the two cards' time is, as a share of ``even``;
    ``free`` the squares of how much of their memory is free: one card with all the room that is
    left takes what two with half of it do not.
    """

    even: float
    busy: float = 1.0
    free: float = 5.0

    def of(self, speed: float, busy: Amount, room: int, used: Amount) -> Amount:
        """The energy of a card, or of one in every division."""
        found = -self.free * _square((room - used) / max(room, 1))
        if self.busy:
            found += self.busy * _square(_square(_square(busy / (speed * self.even))))
        return found


def _square(values: Amount) -> Amount:
    return values * values


@lru_cache(maxsize=32)
def _divisions(count: int) -> Numbers:
    """By division, a number whose bits say who is on the first card: 1 for each item that is."""
    found: Numbers = (np.arange(1 << count)[:, None] >> np.arange(count)) & 1
    return found


@lru_cache(maxsize=32)
def _first(count: int) -> Numbers:
    """By division, the first item on the first card; ``count`` where none is."""
    found = np.full(1 << count, count)
    for item in reversed(range(count)):
        found[1 << item :: 2 << item] = item
    return found


def _sums(values: Numbers) -> Numbers:
    """Of every division: what the items on the first card have together.

    Put together from halves: a product of the whole would be left to threads of its own.
    """
    half = len(values) // 2
    low = _divisions(half) @ values[:half]
    high = _divisions(len(values) - half) @ values[half:]
    found: Numbers = (high[:, None] + low).ravel()
    return found


class Pair:
    """Two cards and the groups that may go to either.

    ``free`` maps those groups to their load; ``both`` are on both cards, their load ``fluid``: it
    levels what the others leave. ``without``: a group that leaves them; at most ``most_moves``
    replicas on them may be where the previous plan did not have them. ``divisions`` are those that
    fit, as numbers whose bits say who is on the first card; by position in it: ``busy``, the load
    of both cards, and ``energy``.
    """

    def __init__(
        self,
        layout: Layout,
        cards: tuple[int, int],
        free: Mapping[int, int],
        both: Mapping[int, int],
        aim: Aim,
        *,
        without: int | None = None,
        most_moves: int | None = None,
    ) -> None:
        self.layout, self.cards, self.aim, self.both = layout, cards, aim, both
        self.lists = layout.sheet.lists
        level = self.lists.level
        self.stay = [
            {
                group: load
                for group, load in layout.on[card].items()
                if group not in free and group not in both and group != without
            }
            for card in cards
        ]
        self.free = sorted(free, key=lambda group: (-level[group], group))
        self.loads = [free[group] for group in self.free]
        used = self._used()
        room = [self.lists.room[card] for card in cards]
        fits = (used[0] <= room[0]) & (used[1] <= room[1])
        if most_moves is not None:
            fits &= self._moves() <= most_moves
        self.divisions: Numbers = fits.nonzero()[0]
        self.busy = self._busy()
        one, other = (
            aim.of(self.lists.speed[card], self.busy[turn], room[turn], used[turn][self.divisions])
            for turn, card in enumerate(cards)
        )
        self.energy: Numbers = one + other

    def _busy(self) -> tuple[Numbers, Numbers]:
        """Both cards' load, the fluid load poured where it evens them out."""
        fluid, stays = sum(self.both.values()), [sum(held.values()) for held in self.stay]
        load = _sums(np.array(self.loads, np.int64))[self.divisions] + stays[0]
        total = sum(self.loads) + sum(stays) + fluid
        own, its = (self.lists.speed[card] for card in self.cards)
        even = total * own // (own + its)
        busy = np.minimum(np.maximum(load, even), load + fluid) if fluid else load
        return busy, total - busy

    def _used(self) -> tuple[Numbers, Numbers]:
        """Bytes that are taken on both cards in every division, be it more than they have."""
        level = self.lists.level
        always = self._both_sums(self.lists.always)
        tops = np.array([*(level[group] for group in self.free), 0], np.int64)
        top = tops[_first(len(self.free))]
        found = []
        for turn, highest in enumerate((top, top[::-1])):
            stay = [*self.stay[turn], *self.both]
            least = max([level[group] for group in stay], default=0)
            found.append(always[turn] + (np.maximum(highest, least) if least else highest))
        if self.layout.sheet.special:
            for turn, own in enumerate(self._both_sums(self.lists.own)):
                fits = found[turn] <= self.lists.room[self.cards[turn]]
                found[turn] = np.where(fits, found[turn], always[turn] + own)
        return found[0], found[1]

    def _both_sums(self, column: list[int]) -> tuple[Numbers, Numbers]:
        """Of every division: what the groups of each card have together in a sheet's column."""
        values = [column[group] for group in self.free]
        sums, both = _sums(np.array(values, np.int64)), sum([column[group] for group in self.both])
        one, other = (both + sum([column[group] for group in stay]) for stay in self.stay)
        return sums + one, sum(values) + other - sums

    def _moves(self) -> Numbers:
        """Replicas of every division that are where the previous plan did not have them."""
        sheet, total = self.layout.sheet, np.zeros(1 << len(self.free), np.int64)

        def new(group: int, card: int) -> int:
            return 0 if card in sheet.homes[group] else sheet.members[group]

        for turn, card in enumerate(self.cards):
            total += sum(new(group, card) for group in (*self.stay[turn], *self.both))
            free = np.array([new(group, card) for group in self.free], np.int64)
            total += _sums(free)[:: -1 if turn else 1]
        return total

    def best(self, most: int) -> list[int]:
        """Where the divisions with the least energy are, least first, those alike by number."""
        energy = self.energy
        if len(energy) > most:
            cut = np.partition(energy, most - 1)[most - 1]
            index = np.flatnonzero(energy <= cut)
        else:
            index = np.arange(len(energy))
        order: list[int] = index[np.argsort(energy[index], kind="stable")].tolist()
        return order[:most]

    def now(self) -> float:
        """The energy of the two cards as they are."""
        layout, total = self.layout, 0.0
        for card in self.cards:
            room, used = self.lists.room[card], int(layout.always[card] + layout.level[card])
            if layout.sheet.special and used > room:
                used = int(layout.always[card] + layout.own[card])
            total += self.aim.of(self.lists.speed[card], int(layout.busy[card]), room, used)
        return total

    def held(self, at: int) -> tuple[dict[int, int], dict[int, int]]:
        """What both cards hold in the division that is there."""
        one, other, division = dict(self.stay[0]), dict(self.stay[1]), int(self.divisions[at])
        for bit, (group, load) in enumerate(zip(self.free, self.loads, strict=True)):
            (one if division >> bit & 1 else other)[group] = load
        left = int(self.busy[0][at]) - sum(one.values())
        for group, load in self.both.items():
            part = min(load, max(left, 0))
            one[group], other[group] = part, load - part
            left -= part
        return one, other

    def make(self, at: int) -> bool:
        """Divide the groups as is there; False, and nothing changed, if a rule forbids it."""
        layout, spread = self.layout, self.layout.sheet.spread
        if layout.sheet.plain:
            self.refill(self.held(at))
            return True
        spread_out = [group for group in (*self.free, *self.both) if spread[group] > 1]
        kept = [group for group in spread_out if layout.spread_kept(group)]
        before = self.refill(self.held(at))
        if all(map(layout.legal, self.cards)) and all(map(layout.spread_kept, kept)):
            return True
        self.refill(before)
        return False

    def refill(self, held: Sequence[dict[int, int]]) -> list[dict[int, int]]:
        """Give both cards these groups; what they had."""
        before = [self.layout.on[card] for card in self.cards]
        for card, groups in zip(self.cards, held, strict=True):
            self.layout.refill(card, groups)
        return before


def drawn(
    layout: Layout, one: int, other: int, rng: random.Random, *, copies: bool
) -> tuple[dict[int, int], dict[int, int]]:
    """Which groups of two cards are divided anew, and which are on both, with their loads.

    With ``copies`` a group that is on one card is put on both now and then, or one that is on both
    on one. Of too many, the largest, the busiest or any are divided.
    """
    sheet, mine, its = layout.sheet, layout.on[one], layout.on[other]
    both = {group: mine[group] + its[group] for group in mine if group in its}
    free = {
        group: load for held in (mine, its) for group, load in held.items() if group not in both
    }
    if not sheet.plain:
        free = {
            group: load
            for group, load in free.items()
            if _may(layout, group, one) and _may(layout, group, other)
        }
    if copies and both and rng.random() < _MERGE:
        group = sorted(both)[rng.randrange(len(both))]
        # No fewer than its load needs where every card is full.
        needed = -(-sheet.lists.work[group] // sheet.fastest)
        if len(layout.at[group]) > max(sheet.low[group], needed):
            free[group] = both.pop(group)
    elif copies and free and rng.random() < _SPLIT:
        hot = [g for g, load in free.items() if load > 1 and len(layout.at[g]) < sheet.high[g]]
        if hot:
            hot.sort(key=lambda g: (-free[g] / max(sheet.lists.always[g], 1), g))
            group = hot[min(int(rng.expovariate(_EAGER)), len(hot) - 1)]
            both[group] = free.pop(group)
    if len(free) > MOST_FREE:
        free = _some(layout, free, rng)
    return free, both


def _some(layout: Layout, free: dict[int, int], rng: random.Random) -> dict[int, int]:
    """As many of the groups as are divided at a time: the largest, the busiest or any."""
    sheet, turn = layout.sheet, rng.randrange(3)
    if turn == 2:
        return {group: free[group] for group in rng.sample(sorted(free), MOST_FREE)}
    worth = sheet.always[list(free)].tolist() if turn else list(free.values())
    ranked = [group for _, group in sorted(zip(worth, free, strict=True), reverse=True)]
    sure = MOST_FREE // 2
    others = rng.sample(ranked[sure:], MOST_FREE - sure)
    return {group: free[group] for group in (*ranked[:sure], *others)}


def _may(layout: Layout, group: int, card: int) -> bool:
    allowed = layout.sheet.allowed[group]
    return allowed is None or bool(allowed[card])
