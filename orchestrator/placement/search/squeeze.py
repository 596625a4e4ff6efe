"""Packs by memory what no constructor packs: a few groups stay homeless until cards make room."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.placement.search.balance import Budget
from orchestrator.placement.search.fill import open_for
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.outline import outline
from orchestrator.placement.search.pairs import Aim, Amount, Pair, drawn
from orchestrator.placement.search.sheet import Sheet

#: Only free memory counts: the more of it on one card, the better.
_AIM = Aim(even=1.0, busy=0.0, free=1.0)
#: How much a byte of a workspace counts beside free memory, and the time beyond what a card has.
_WORKSPACE, _OVER = 10.0, 2.0
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


@dataclass(frozen=True)
class Packing:
    """What is looked at beside memory as a whole.

    ``roomy``: the cards with most memory free first. ``firm``: hot copies are seated first, on the
    least busy cards, and stay there. ``peak``: how busy cards are to be at most, as far as that
    goes: then a large workspace is on as many as its users keep busy.
    """

    roomy: bool = False
    firm: bool = False
    peak: float = math.inf


PLAIN = Packing()


def squeeze(
    sheet: Sheet,
    copies: Sequence[int],
    budget: Budget,
    seed: int,
    cards: Sequence[int],
    packing: Packing = PLAIN,
) -> Layout | None:
    """So many copies of each group, with equal loads, on these cards; None if they do not go."""
    run = _Squeeze(sheet, copies, random.Random(seed), cards, packing)
    run.seat(firm=packing.firm)
    return run.run(budget)


class _Timely(Aim):
    """Free memory counts, all of it and that of one card; time only where a card has too little."""

    def of(self, speed: float, busy: Amount, room: int, used: Amount) -> Amount:
        """The energy of a card, or of one in every division."""
        free = (room - used) / max(room, 1)
        over = np.maximum(busy / (speed * self.even) - 1, 0)
        found: Amount = self.busy * over - self.free * free * (free + _WORKSPACE)
        return found


class _Squeeze:
    """A layout, and the copies that found no place in it yet."""

    def __init__(
        self,
        sheet: Sheet,
        copies: Sequence[int],
        rng: random.Random,
        cards: Sequence[int],
        packing: Packing,
    ) -> None:
        self.roomy, self.limit = packing.roomy, sheet.speed * packing.peak
        self.aim = _AIM if packing.peak == math.inf else _Timely(packing.peak, _OVER, 1.0)
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
        """On the first card that takes it and has time for it, else on the least busy."""
        layout, cards, load = self.layout, self.cards, self._load(group)
        ok = open_for(layout, group)[cards]
        if not ok.any():
            self.homeless.append(group)
            return
        timely = ok & (layout.busy[cards] + load <= self.limit[cards])
        full = np.where(ok, layout.busy[cards] / layout.sheet.speed[cards], np.inf)
        layout.add(group, cards[int(np.argmax(timely) if timely.any() else np.argmin(full))], load)

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
        pair = Pair(self.layout, (one, other), free, both, self.aim)
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
        pair = Pair(self.layout, cards, free, both, self.aim, without=leaver)
        options = pair.best(_CHOICES)
        return bool(options) and pair.make(options[self.rng.randrange(len(options))])
