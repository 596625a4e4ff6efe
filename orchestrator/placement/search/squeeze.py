"""Packs by memory what no constructor packs: a few groups stay homeless until cards make room."""

import math
import random
from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.placement.search.balance import Budget
from orchestrator.placement.search.fill import open_for
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.outline import outline
from orchestrator.placement.search.pairs import Aim, Pair, drawn
from orchestrator.placement.search.sheet import Sheet

#: Only free memory counts: the more of it on one card, the better.
_AIM = Aim(even=1.0, busy=0.0, free=1.0)
#: How often a homeless group knocks at two cards, and how many of theirs may make room for it.
_GUESTS, _LEAVING = 0.3, 3
#: How often one of the roomiest cards is one of the two, and how surely the very roomiest: there is
#: where somebody moves in first.
_ROOMY, _SURE = 0.7, 0.3
#: Divisions among which one is drawn, how steeply, and how much worse one is accepted at first.
_CHOICES, _STEEP, _HEAT = 30, 0.3, 2e-4
#: A copy is hot that takes more than this share of the fastest card's time; and by what share of
#: its own a card must be busier to be no longer as good as another.
_HOT, _LIKE = 0.3, 64


def squeeze(
    sheet: Sheet,
    copies: Sequence[int],
    budget: Budget,
    seed: int,
    cards: Sequence[int],
    *,
    roomy: bool = False,
    firm: bool = False,
) -> Layout | None:
    """So many copies of each group, with equal loads, on these cards; None if they do not go.

    ``roomy``: it looks at the cards with most memory free first. ``firm``: hot copies are seated
    first, on the least busy cards, and stay there.
    """
    run = _Squeeze(sheet, copies, random.Random(seed), cards, roomy)
    run.seat(firm=firm)
    return run.run(budget)


class _Squeeze:
    """A layout, and the copies that found no place in it yet."""

    def __init__(
        self,
        sheet: Sheet,
        copies: Sequence[int],
        rng: random.Random,
        cards: Sequence[int],
        roomy: bool,
    ) -> None:
        self.roomy = roomy
        self.layout, self.rng, self.copies = Layout(sheet), rng, copies
        self.homeless: list[int] = []
        #: The roomiest first: they take the largest workspaces.
        self.cards = sorted(cards, key=lambda card: (-int(sheet.room[card]), card))
        #: Groups that stay where they are.
        self.firm: set[int] = set()

    def seat(self, *, firm: bool) -> None:
        """Give every copy a card, the largest workspaces first; if it is to be so, hot ones before.

        What is hot is least busy where it is, and of such cards where the least workspace does.
        """
        sheet, copies = self.layout.sheet, self.copies
        order = np.lexsort((np.arange(sheet.groups), -sheet.always, -sheet.level)).tolist()
        if firm:
            hot = [group for group in order if self._load(group) > _HOT * sheet.fastest]
            self._seat_hot(sorted(hot, key=lambda group: -self._load(group)))
            self.firm.update(hot)
        for group in order:
            for _ in range(0 if group in self.firm else copies[group]):
                self._settle(group)

    def _seat_hot(self, groups: Sequence[int]) -> None:
        layout, sheet = self.layout, self.layout.sheet
        limit = np.full(sheet.cards, -1, np.int64)
        limit[self.cards] = sheet.speed[self.cards]
        planned = outline(sheet, np.array(self.copies), limit)
        for group in [hot for hot in groups for _ in range(self.copies[hot])]:
            ok = open_for(layout, group) & (limit >= 0)
            if not ok.any():
                self.homeless.append(group)
                continue
            load = self._load(group)
            level = np.maximum(planned, layout.level)
            growth = np.maximum(sheet.level[group] - level, 0)
            full = (layout.busy + load) * _LIKE // sheet.speed
            card = np.lexsort((level, growth, full, ~ok))[0]
            layout.add(group, int(card), load)

    def _load(self, group: int) -> int:
        return -(-int(self.layout.sheet.work[group]) // max(self.copies[group], 1))

    def _settle(self, group: int) -> None:
        """On the first card that takes it."""
        ok = open_for(self.layout, group)[self.cards]
        if ok.any():
            self.layout.add(group, self.cards[int(np.argmax(ok))], self._load(group))
        else:
            self.homeless.append(group)

    def run(self, budget: Budget) -> Layout | None:
        """Divide pairs of cards anew until nobody is homeless."""
        size = np.sum(np.multiply(self.copies, self.layout.sheet.always))
        if size > np.sum(self.layout.sheet.room[self.cards]):
            return None
        steps = max(budget.left, 1)
        while self.homeless:
            if len(self.cards) < 2 or not budget.spend():
                return None
            one, other = self._two()
            if self.rng.random() < _GUESTS:
                self._knock(one, other)
            else:
                self._gather(one, other, _HEAT * budget.left / steps)
        self._share()
        layout = self.layout
        return layout if all(map(layout.spread_kept, range(layout.sheet.groups))) else None

    def _two(self) -> tuple[int, int]:
        """Two cards: where it looks for roomy ones, one with much memory free or any."""
        layout, rng = self.layout, self.rng
        one, other = rng.sample(self.cards, 2)
        if not self.roomy or rng.random() >= _ROOMY:
            return one, other
        free = (layout.sheet.room - layout.always - layout.level)[self.cards]
        rank = min(int(rng.expovariate(_SURE)), len(free) - 1)
        roomy = self.cards[int(np.argsort(-free, kind="stable")[rank])]
        return roomy, one if other == roomy else other

    def _share(self) -> None:
        """Equal loads for all copies of a group: one that left took along what it had just then."""
        layout, sheet = self.layout, self.layout.sheet
        for card in self.cards:
            held = {g: -(-int(sheet.work[g]) // len(layout.at[g])) for g in layout.on[card]}
            layout.refill(card, held)

    def _drawn(self, one: int, other: int) -> tuple[dict[int, int], dict[int, int]]:
        free, both = drawn(self.layout, one, other, self.rng, copies=False)
        return {group: free[group] for group in free if group not in self.firm}, both

    def _gather(self, one: int, other: int, heat: float) -> None:
        """Divide two cards so that one has more memory free, or nearly so."""
        free, both = self._drawn(one, other)
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
        free, both = self._drawn(one, other)
        free[guest] = self._load(guest)
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
