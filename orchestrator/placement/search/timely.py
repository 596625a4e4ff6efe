"""Packs by memory and time: one card trades with all others until all are at home, in time.

What takes nearly all of a card's time leaves its memory to what takes none. Seated first it has a
card of its own, and what fits beside it is found among all that others could give for it.
"""

import math
import random
from collections.abc import Sequence

import numpy as np

from orchestrator.placement.search.balance import Budget
from orchestrator.placement.search.fill import open_for
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.seats import equal_load, seated_in_time
from orchestrator.placement.search.sheet import Numbers, Sheet
from orchestrator.placement.search.trades import Offers, Trades

#: Steps that a trade counts for.
_COST = 4
#: What time beyond a card's limit counts, as a share of it; what a byte of a workspace does while
#: somebody is homeless, and the square of free memory then and else: somebody moves in where much
#: of it is on one card.
_OVER, _WORKSPACE, _GATHERED, _FREE = 2.0, 0.2, 3.0, 1.0
#: How much worse a trade is accepted at first, and among how many of the best one is drawn, how
#: often.
_HEAT, _CHOICES, _DRAWN = 0.003, 3, 0.2
#: How often the card is one of the roomiest while a copy that must be is homeless, or only one that
#: came later, or when no card is too busy, and else how often one of the busiest; how surely the
#: very first of either.
_ROOMY, _LATER, _CALM, _BUSY, _SURE, _BUSIEST = 0.5, 0.25, 0.8, 0.6, 0.6, 0.1
#: Trades without a better layout before a copy more is asked for, and the share of the free memory
#: that it may take.
_STALE, _SPARE = 100, 0.7


def timely(
    sheet: Sheet,
    copies: Sequence[int],
    spare: Sequence[int],
    peak: float,
    budget: Budget,
    seed: int,
    cards: Sequence[int],
) -> Layout | None:
    """So many copies of each group on these cards, busy up to ``peak``, or little more.

    ``spare``: groups that may have one copy more, where nothing that fits beside them takes little
    enough time. None where some copy found no place, and of a special sheet, as trades are not for
    it.
    """
    needed = np.sum(np.multiply(copies, sheet.always))
    if sheet.special or len(cards) < 2 or needed > np.sum(sheet.room[list(cards)]):
        return None
    return _Timely(sheet, copies, spare, peak, random.Random(seed), cards).run(budget)


class _Timely:
    """A layout, and the copies that found no place in it yet, with their loads.

    A homeless copy without load need not be there if it was ``asked`` for. ``best`` is the layout
    with all others in it whose busiest card, as a share of its ``limit``, is busy least: ``full``.
    """

    def __init__(
        self,
        sheet: Sheet,
        copies: Sequence[int],
        spare: Sequence[int],
        peak: float,
        rng: random.Random,
        cards: Sequence[int],
    ) -> None:
        self.rng, self.cards = rng, list(cards)
        self.limit = np.floor(sheet.speed * peak).astype(np.int64)
        seats = seated_in_time(sheet, copies, cards, self.limit)
        self.layout = seats.layout
        self.homeless = [(group, equal_load(sheet, copies, group)) for group in seats.homeless]
        self.spare = {group for group in spare if copies[group] < sheet.high[group]}
        self.trades = Trades(self.layout, self.cards, rng)
        self.asked: set[int] = set()
        self.best: Layout | None = None
        self.full, self.stale = math.inf, 0

    def run(self, budget: Budget) -> Layout | None:
        """Trade until nobody is homeless and no card too busy, or the steps are spent."""
        steps = max(budget.left, 1)
        while budget.spend(_COST):
            full = self.layout.busy[self.cards] / self.limit[self.cards]
            if self._at_home() and not self._goes_on(full):
                break
            one = self._one(full)
            self._shift(one)
            self._trade(one, _HEAT * budget.left / steps)
            if self.homeless:
                self._settle(one)
        best = self.best
        return best if best and all(map(best.spread_kept, range(best.sheet.groups))) else None

    def _at_home(self) -> bool:
        """Whether all copies that must be have a place."""
        return all(not load and group in self.asked for group, load in self.homeless)

    def _goes_on(self, full: Numbers) -> bool:
        """Remember the layout if it is the best; False when no card is too busy."""
        at, self.stale = int(np.argmax(full)), self.stale + 1
        if full[at] < self.full:
            self.best, self.full, self.stale = self.layout.copy(), float(full[at]), 0
        if self.stale > _STALE and not self.homeless:
            self._ask(self.cards[at])
        return self.full > 1

    def _ask(self, one: int) -> None:
        """A copy more of what keeps a card too busy: the smallest that may have one."""
        always = self.layout.sheet.lists.always
        some = sorted((always[g], g) for g in self.layout.on[one] if g in self.spare)
        if some and some[0][0] <= _SPARE * self._free()[self.cards].sum():
            group = some[0][1]
            self.spare.remove(group)
            self.asked.add(group)
            self.homeless.append((group, 0))

    def _free(self) -> Numbers:
        layout = self.layout
        found: Numbers = layout.sheet.room - layout.always - layout.level
        return found

    def _one(self, full: Numbers) -> int:
        """A card with much memory free, one that is busy, or any."""
        rng, cards = self.rng, self.cards
        if self.homeless:
            over = _ROOMY if self.best is None else _LATER
            if rng.random() < (over if full.max() > 1 else _CALM):
                return cards[self._ranked(-self._free()[cards], _SURE)]
        if rng.random() < _BUSY:
            return cards[self._ranked(-full, _BUSIEST)]
        return cards[rng.randrange(len(cards))]

    def _ranked(self, values: Numbers, sure: float) -> int:
        """Where one of the smallest values is."""
        rank = min(int(self.rng.expovariate(sure)), len(values) - 1)
        return int(np.argsort(values, kind="stable")[rank])

    def _shift(self, one: int) -> None:
        """Work that the card has no time for goes to where copies of its groups have some."""
        layout, at = self.layout, self.layout.at
        over = int(layout.busy[one] - self.limit[one])
        for group in [g for g in sorted(layout.on[one]) if len(at[g]) > 1] if over > 0 else ():
            for other in sorted(at[group] - {one}):
                part = min(over, int(self.limit[other] - layout.busy[other]), layout.on[one][group])
                if part > 0:
                    self._hand_over(group, one, other, part)
                    over -= part

    def _hand_over(self, group: int, one: int, other: int, load: int) -> None:
        """Move so much of a group's load between two of its copies."""
        self.layout.add(group, one, -load)
        self.layout.add(group, other, load)
        self.trades.note(one)
        self.trades.note(other)

    def _trade(self, one: int, heat: float) -> None:
        """One of the best trades of the card, if it is not too much worse than none."""
        rng = self.rng
        offers = self.trades.offers(one)
        if not len(offers.others):
            return
        rise = self._rise(one, offers)
        if rng.random() < _DRAWN:
            count = min(_CHOICES, len(rise))
            at = int(np.argpartition(rise, count - 1)[rng.randrange(count)])
        else:
            at = int(np.argmin(rise))
        if rise[at] <= 0 or rng.random() < math.exp(-float(rise[at]) / max(heat, 1e-9)):
            self.trades.make(one, offers, at)

    def _rise(self, one: int, offers: Offers) -> Numbers:
        """By trade, by how much worse it makes both cards."""
        layout, other = self.layout, offers.others
        used = layout.always + layout.level
        after = self._energy(one, offers.used[0], offers.busy[0])
        after = after + self._energy(other, offers.used[1], offers.busy[1])
        before = self._energy(other, used[other], layout.busy[other])
        found: Numbers = after - before - self._energy(one, used[one], layout.busy[one])
        return found

    def _energy(self, card: int | Numbers, used: Numbers, busy: Numbers) -> Numbers:
        """Time beyond the limit, less free memory."""
        gathered, workspace = (_GATHERED, _WORKSPACE) if self.homeless else (_FREE, 0.0)
        free = (self.layout.sheet.room[card] - used) / self.trades.roomiest
        over = np.maximum(busy / self.limit[card] - 1, 0)
        found: Numbers = _OVER * over - free * (gathered * free + workspace)
        return found

    def _settle(self, one: int) -> None:
        """Homeless groups move in, the largest first, and if need be one for a smaller one."""
        layout = self.layout
        waiting = sorted(self.homeless, key=lambda guest: (-self._alone(guest[0]), guest))
        self.homeless = [guest for guest in waiting if not self._moves_in(one, *guest)]
        changed = len(self.homeless) < len(waiting)
        for guest in tuple(self.homeless):
            leaver = self._leaver(one, guest[0])
            if leaver is None:
                continue
            load = layout.remove(leaver, one)
            if self._moves_in(one, *guest):
                self.homeless.remove(guest)
                self.homeless.append((leaver, load))
                changed = True
                break
            layout.add(leaver, one, load)
        if changed:
            self.trades.note(one)

    def _moves_in(self, one: int, group: int, load: int) -> bool:
        """Put the group on the card, if it may be there."""
        layout, lists = self.layout, self.layout.sheet.lists
        used = lists.always[group] + max(lists.level[group], int(layout.level[one]))
        room = lists.room[one] - int(layout.always[one])
        if used > room or group in layout.on[one] or not open_for(layout, group)[one]:
            return False
        layout.add(group, one, load)
        others = sorted(layout.at[group] - {one})
        for other in others if not load and group in self.asked else ():
            # Of what the others have it takes an equal part.
            part = layout.on[other][group] // (len(others) + 1)
            self._hand_over(group, other, one, part)
        return True

    def _leaver(self, one: int, guest: int) -> int | None:
        """The smallest group of the card, workspace and all, that makes room for a larger guest."""
        lists, held = self.layout.sheet.lists, self.layout.on[one]
        room = lists.room[one] - int(self.layout.always[one])
        if guest in held:
            return None
        for group in sorted(held, key=lambda group: (self._alone(group), group)):
            if self._alone(group) >= self._alone(guest):
                break
            rest = max((lists.level[other] for other in held if other != group), default=0)
            if lists.always[guest] + max(lists.level[guest], rest) <= room + lists.always[group]:
                return group
        return None

    def _alone(self, group: int) -> int:
        """Bytes that the group takes of a card by itself."""
        lists = self.layout.sheet.lists
        return lists.always[group] + lists.level[group]
