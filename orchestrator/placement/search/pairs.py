"""What two cards hold, divided between them anew: every division at once, and the best of them."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from orchestrator.placement.search.halves import Every, Weighed
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.sheet import Numbers

#: Groups of two cards that are divided anew at a time; of more, the others stay where they are.
MOST_FREE = 11
#: Groups are thinly spread where no more than so many share a card.
THIN = 8
#: So many more than those, unless groups are thinly spread, where little memory is free: one more
#: each time that the room is twice as many times what is free, from so many times on.
_MORE_FREE, _FULL = 7, 8

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
        self.ways = self._ways()
        used = self._used()
        room = [self.lists.room[card] for card in cards]
        fits = (used[0] <= room[0]) & (used[1] <= room[1])
        if most_moves is not None:
            fits &= self._moves() <= most_moves
        some = fits.nonzero()[0]
        self.divisions: Numbers = self.ways.numbers(some)
        self.busy = self._busy(some)
        one, other = (
            aim.of(self.lists.speed[card], self.busy[turn], room[turn], used[turn].take(some))
            for turn, card in enumerate(cards)
        )
        self.energy: Numbers = one + other

    def _ways(self) -> Every | Weighed:
        """All divisions, or of too many groups those that may fit."""
        if len(self.free) <= MOST_FREE:
            return Every()
        lists, special = self.lists, self.layout.sheet.special
        stay = [[*held, *self.both] for held in self.stay]
        sizes = [lists.always[group] for group in self.free]
        levels = [lists.level[group] for group in self.free]
        least = [max([lists.level[group] for group in held], default=0) for held in stay]
        rooms = [
            lists.room[card] - sum([lists.always[group] for group in held])
            for card, held in zip(self.cards, stay, strict=True)
        ]
        if special:  # There workspaces of their own may take less than a shared one.
            levels, least = [0] * len(levels), [0, 0]
        return Weighed(sizes, levels, least, rooms)

    def _busy(self, some: Numbers) -> tuple[Numbers, Numbers]:
        """Both cards' load, the fluid load poured where it evens them out."""
        fluid, stays = sum(self.both.values()), [sum(held.values()) for held in self.stay]
        load = self.ways.sums(self.loads).take(some) + stays[0]
        total = sum(self.loads) + sum(stays) + fluid
        own, its = (self.lists.speed[card] for card in self.cards)
        even = total * own // (own + its)
        busy = np.minimum(np.maximum(load, even), load + fluid) if fluid else load
        return busy, total - busy

    def _used(self) -> tuple[Numbers, Numbers]:
        """Bytes that are taken on both cards in every division, be it more than they have."""
        level = self.lists.level
        always = self._both_sums(self.lists.always)
        largest = self.ways.largest([level[group] for group in self.free])
        found = []
        for turn, highest in enumerate(largest):
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
        sums, both = self.ways.sums(values), sum([column[group] for group in self.both])
        one, other = (both + sum([column[group] for group in stay]) for stay in self.stay)
        return sums + one, sum(values) + other - sums

    def _moves(self) -> Numbers:
        """Replicas of every division that are where the previous plan did not have them."""
        sheet, stay, parts = self.layout.sheet, 0, []

        def new(group: int, card: int) -> int:
            return 0 if card in sheet.homes[group] else sheet.members[group]

        for turn, card in enumerate(self.cards):
            stay += sum(new(group, card) for group in (*self.stay[turn], *self.both))
            free = [new(group, card) for group in self.free]
            here = self.ways.sums(free)
            parts.append(sum(free) - here if turn else here)
        found: Numbers = parts[0] + parts[1] + stay
        return found

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
    most = _most_free(layout, one, other)
    if len(free) > most:
        free = _some(layout, free, rng, most)
    return free, both


def _most_free(layout: Layout, one: int, other: int) -> int:
    """How many groups are divided: the less memory is free, the fewer divisions of them fit."""
    room, free = 0, 0
    if layout.sheet.groups <= THIN * layout.sheet.cards:
        return MOST_FREE
    for card in (one, other):
        room += layout.sheet.lists.room[card]
        free += layout.sheet.lists.room[card] - int(layout.always[card] + layout.level[card])
    return MOST_FREE + min((room // max(_FULL * free, 1)).bit_length(), _MORE_FREE)


def _some(layout: Layout, free: dict[int, int], rng: random.Random, most: int) -> dict[int, int]:
    """As many of the groups as are divided at a time: the largest, the busiest or any."""
    sheet, turn = layout.sheet, rng.randrange(3)
    if turn == 2:
        return {group: free[group] for group in rng.sample(sorted(free), most)}
    worth = sheet.always[list(free)].tolist() if turn else list(free.values())
    ranked = [group for _, group in sorted(zip(worth, free, strict=True), reverse=True)]
    sure = most // 2
    others = rng.sample(ranked[sure:], most - sure)
    return {group: free[group] for group in (*ranked[:sure], *others)}


def _may(layout: Layout, group: int, card: int) -> bool:
    allowed = layout.sheet.allowed[group]
    return allowed is None or bool(allowed[card])
