"""Packs by memory what no constructor packs: a few groups stay homeless until cards make room."""

import math
import random
from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.placement.search.balance import Budget
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.pairs import Aim, Pair, drawn
from orchestrator.placement.search.seats import Seats, equal_load, seated
from orchestrator.placement.search.sheet import Sheet

#: Only free memory counts: the more of it on one card, the better.
_AIM = Aim(even=1.0, busy=0.0, free=1.0)
#: How often a homeless group knocks at two cards, and how many of theirs may make room for it.
_GUESTS, _LEAVING = 0.3, 3
#: Divisions among which one is drawn, how steeply, and how much worse one is accepted at first.
_CHOICES, _STEEP, _HEAT = 30, 0.3, 2e-4


def squeeze(
    sheet: Sheet,
    copies: Sequence[int],
    budget: Budget,
    seed: int,
    cards: Sequence[int],
) -> Layout | None:
    """So many copies of each group, with equal loads, on these cards; None if they do not go."""
    seats = seated(sheet, copies, cards)
    return _Squeeze(seats, copies, random.Random(seed), cards).run(budget)


class _Squeeze:
    """A layout, and the copies that found no place in it yet."""

    def __init__(
        self, seats: Seats, copies: Sequence[int], rng: random.Random, cards: Sequence[int]
    ) -> None:
        self.layout, self.homeless = seats.layout, seats.homeless
        self.rng, self.copies, self.cards = rng, copies, sorted(cards)

    def run(self, budget: Budget) -> Layout | None:
        """Divide pairs of cards anew until nobody is homeless."""
        size = np.sum(np.multiply(self.copies, self.layout.sheet.always))
        if size > np.sum(self.layout.sheet.room[self.cards]):
            return None
        steps = max(budget.left, 1)
        while self.homeless:
            if len(self.cards) < 2 or not budget.spend():
                return None
            one, other = self.rng.sample(self.cards, 2)
            if self.rng.random() < _GUESTS:
                self._knock(one, other)
            else:
                self._gather(one, other, _HEAT * budget.left / steps)
        self._share()
        layout = self.layout
        return layout if all(map(layout.spread_kept, range(layout.sheet.groups))) else None

    def _share(self) -> None:
        """Equal loads for all copies of a group: one that left took along what it had just then."""
        layout, sheet = self.layout, self.layout.sheet
        for card in self.cards:
            held = {g: -(-int(sheet.work[g]) // len(layout.at[g])) for g in layout.on[card]}
            layout.refill(card, held)

    def _gather(self, one: int, other: int, heat: float) -> None:
        """Divide two cards so that one has more memory free, or nearly so."""
        free, both = drawn(self.layout, one, other, self.rng, copies=False)
        pair = Pair(self.layout, (one, other), free, both, _AIM)
        options = pair.best(_CHOICES)
        if not options:
            return
        at = options[min(int(self.rng.expovariate(_STEEP)), len(options) - 1)]
        rise = float(pair.energy[at]) - pair.now()
        if rise <= 0 or self.rng.random() < math.exp(-rise / max(heat, 1e-9)):
            pair.make(at)

    def _knock(self, one: int, other: int) -> None:
        """A homeless group moves in, if need be for one that is no larger."""
        layout, sheet, rng = self.layout, self.layout.sheet, self.rng
        guest = self.homeless[rng.randrange(len(self.homeless))]
        if guest in layout.on[one] or guest in layout.on[other]:
            return
        free, both = drawn(self.layout, one, other, self.rng, copies=False)
        free[guest] = equal_load(sheet, self.copies, guest)
        if self._let_in((one, other), free, both):
            self.homeless.remove(guest)
            return
        size = int(sheet.always[guest])
        slack = int(sheet.room[one] // 100) if rng.random() < 0.1 else 0
        smaller = [g for g in free if g != guest and sheet.always[g] <= size + slack]
        rng.shuffle(smaller)
        for leaver in smaller[:_LEAVING]:
            rest = {group: load for group, load in free.items() if group != leaver}
            if self._let_in((one, other), rest, both, leaver):
                self.homeless.remove(guest)
                self.homeless.append(leaver)
                return

    def _let_in(
        self,
        cards: tuple[int, int],
        free: Mapping[int, int],
        both: Mapping[int, int],
        leaver: int | None = None,
    ) -> bool:
        """Divide the two cards among these groups; False if they do not go."""
        pair = Pair(self.layout, cards, free, both, _AIM, without=leaver)
        options = pair.best(_CHOICES)
        return bool(options) and pair.make(options[self.rng.randrange(len(options))])
