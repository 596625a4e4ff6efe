"""The largest alpha: place all demand in some variants, then divide pairs anew from the best."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from orchestrator.placement.board import Tally
from orchestrator.placement.groups import world
from orchestrator.placement.search.balance import HEAT, Budget, balance
from orchestrator.placement.search.bounds import min_cards_bound
from orchestrator.placement.search.candidate import NO_GAP, Candidate
from orchestrator.placement.search.copies import copied
from orchestrator.placement.search.dense import TASTES, Taste
from orchestrator.placement.search.exhaust import placements
from orchestrator.placement.search.fewest import FewestCards
from orchestrator.placement.search.fill import EVEN, FEW, FLUID, HOT, LEVEL, Variant, fill
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.levelled import MANY
from orchestrator.placement.search.pairs import THIN
from orchestrator.placement.search.run import CHECK_BUDGET, Run
from orchestrator.placement.search.sheet import Numbers, sheet

#: Shares of the bound on alpha at which the constructors try to place the whole demand.
_SHARES = (0.25, 0.5, 0.7, 0.8, 0.87, 0.93, 0.97, 1.0)
#: The time of a card when only memory counts.
_ENDLESS = 1 << 60
#: Ways to place all demand at once, and the shares of the bound that say into how many copies: with
#: more than their load needs, hot models leave time on their cards for others.
_QUICK: tuple[tuple[Variant, tuple[float, ...]], ...] = (
    (LEVEL, (1.0,)),
    (HOT, (1.15, 1.0)),
    (FLUID, (1.0, 0.92, 0.84, 0.76, 0.68)),
    (FEW[0], (1.0,)),
)
_TO_MANY: tuple[Variant | Taste, ...] = (EVEN[0], Variant("workspace", "balanced"), TASTES[1])
#: A gap that is not worth a copy.
_AT_BOUND = NO_GAP / 100
#: Starts from which the loads are evened out; and by round the share of the steps, how many of the
#: best go on, and the heat: the last small gains are made cooler and cooler. After each group of
#: rounds copies are tried, and the last goes on from them: the second, or a later one where so many
#: groups make the program for all loads take long. Of few groups it takes so little that more of
#: the steps are left for it.
_MOST_STARTS = 4
#: The share of the steps that the start gets before with as many copies as the bound forces.
_FORCED = 0.2
_COOLER = ((0.04, 1, HEAT / 10), (0.04, 1, HEAT / 100), (0.03, 1, HEAT / 1000))
_ROUNDS = ((0.1, _MOST_STARTS, HEAT), (0.15, 2, HEAT), (0.2, 1, HEAT))
_FEW_ROUNDS = ((0.08, _MOST_STARTS, HEAT), (0.12, 2, HEAT), (0.15, 1, HEAT))
_COOLED, _SLOW = 4, 500
#: The least steps, and one for each group, between two looks at where all loads are best.
_SHORT = 150
#: Shares of the bound between which one is looked for at which memory and time have room together,
#: when two are close, how much further another seed is to try, and how often one is tried.
_BETWEEN, _CLOSE, _FURTHER, _TRIES = (0.6, 1.0), 0.008, 0.04, 20
#: The parts of the steps for one try and for all of them, where models are spread thinly and where
#: they are not; with fewer steps than the last no try is worth its while.
_THINLY, _DENSELY, _LEAST_TRY = (0.2, 0.85), (0.2, 0.6), 1000
#: Models of which pairs of cards say nearly all.
FEW_MODELS = 50


class LargestAlpha(Run):
    """The search for a plan that serves as many times the demand as possible."""

    def best(self) -> Candidate | None:
        """Place as much demand as some variants can, then divide pairs anew from the best."""
        starts: list[Layout] = []
        self.forced: Layout | None = None
        for found in self._starts():
            if all(found.on != start.on for start in starts):
                starts.append(found)
            if found.peak() * self.limit <= 1 + NO_GAP:
                # So near the bound that nobody else's plan is to be nearer.
                near = found.peak() * self.limit <= 1 + _AT_BOUND
                return self._candidate(found if near else self._copied(found))
        starts.sort(key=lambda layout: layout.peak())
        starts[:1] = [self._copied(layout) for layout in starts[:1]]
        if starts and starts[0].peak() * self.limit <= 1 + NO_GAP:
            return self._candidate(starts[0])
        self._bounded()
        best = self._exactly(starts[0] if starts else None)
        best = best or self._anyhow()
        if best is None:
            return None
        if best.peak() * self.limit <= 1 + NO_GAP:
            return self._candidate(self._copied(best))
        best = self._improved([best, *(one for one in starts if one is not best)][:_MOST_STARTS])
        return self._candidate(self._asked(best))

    def _anyhow(self) -> Layout | None:
        """The first placement in which memory suffices, each load in equal parts."""
        tallies = next(placements(self.scene, few=False), None) or self._in_memory()
        if tallies is None:
            return None
        layout = Layout(self.sheet)
        for group, of in enumerate(self.scene.groups):
            for card, tally in enumerate(tallies):
                if of.models[0].name in tally.names:
                    layout.add(group, card, 0)
        layout.share_evenly()
        return layout

    def _in_memory(self) -> tuple[Tally, ...] | None:
        """What is found where time does not matter."""
        scene = world(self.scene.problem.in_memory())
        steps = Budget(CHECK_BUDGET, self.steps.interrupted)
        bound = min_cards_bound(scene)
        found = FewestCards(scene, sheet(scene), bound, steps, self.seed).best()
        return None if found is None else found.tallies

    def _copied(self, layout: Layout) -> Layout:
        """With copies where there is room for them; of very many models as it is."""
        if self.sheet.groups * self.sheet.cards > MANY or self.steps.left <= 0:
            return layout
        return copied(layout, (1 + _AT_BOUND) / max(self.limit, 1e-12), self.steps)

    def _starts(self) -> Iterator[Layout]:
        """Placements of all demand, some cards busier than they may be; the quickest way first."""
        limit = np.minimum(self.sheet.speed / max(self.limit, 1e-9), _ENDLESS)
        some = False
        for variant, shares in _QUICK:
            found = next(self._soft(variant, shares, limit, sure=not some), None)
            if found is not None:
                some = True
                yield found
        if some and self.steps.late():
            return
        cards = range(self.sheet.cards)
        thin = are_thin(self.sheet.groups, self.sheet.cards)
        many = self.sheet.groups * self.sheet.cards > MANY
        if self.sheet.groups > FEW_MODELS and not many and 0 < self.limit < math.inf:
            self.forced = self._timely(cards, thin=thin)
        self.forced = self.forced or self._downwards(cards)
        if self.forced is not None:
            yield self.forced.copy()
        if many:
            return
        for way in _TO_MANY:
            found = self._largest_share(way, limit)
            if found is not None:
                yield found

    def _downwards(self, cards: Sequence[int]) -> Layout | None:
        """Packed by memory: the copies of the largest share of the bound that go there."""
        for share in _SHARES[::-1]:
            part = 5 if share == _SHARES[-1] else 16
            found = self._squeezed(share * self.limit, cards, self.steps.left // part)
            if found is not None:
                return found
        return None

    def _timely(self, cards: Sequence[int], *, thin: bool) -> Layout | None:
        """Packed by memory and time at the largest share of the bound at which both have room.

        Found by bisection. What is packed by memory alone has the largest workspaces on too few
        cards, which are busy then, and hot models beside others, and later there is no room to
        part them.
        """
        best: Layout | None = None
        of_each, of_all = _THINLY if thin else _DENSELY
        each, kept = (int(self.steps.left * part) for part in (of_each, 1 - of_all))
        each = max(each, _LEAST_TRY)
        low, high = _BETWEEN
        for seed in range(self.seed, self.seed + _TRIES):
            if self.steps.left <= kept or high - low < _CLOSE or self.steps.late():
                break
            share = (low + high) / 2
            part = min(each, self.steps.left - kept)
            found = self._timed(share * self.limit, cards, part, seed)
            reached = 0.0 if found is None else 1 / (found.peak() * self.limit)
            if best is None or (found is not None and found.peak() < best.peak()):
                best = found
            low, high = max(low, min(reached, share)), high if reached >= share else share
            if high - low < _CLOSE:
                high = min(1.0, high + _FURTHER)  # Another seed may go further.
        return best

    def _soft(
        self, variant: Variant, shares: Sequence[float], limit: Numbers, *, sure: bool
    ) -> Iterator[Layout]:
        """Placements of all demand, with the copies of each share of the bound.

        ``sure``: the first is made however late it is.
        """
        for index, share in enumerate(shares):
            if not self.steps.spend() and index > 0:
                return
            most = (limit / share).astype(np.int64)
            late = (lambda: False) if sure and index == 0 else self.steps.late
            found = fill(self.sheet, variant, most, soft=True, late=late)
            if found is not None:
                yield found

    def _largest_share(self, variant: Variant | Taste, limit: Numbers) -> Layout | None:
        """The variant's placement at the largest share of the bound that it can place.

        All first; then the least, without which no more is tried; then by bisection.
        """
        best: Layout | None = None
        low, high = 0, len(_SHARES) - 1
        middle = high
        while low <= high and self.steps.spend():
            found = self._made(variant, (limit / _SHARES[middle]).astype(np.int64))
            if found is None and middle == 0:
                break
            best = found or best
            low, high = (middle + 1, high) if found else (low, middle - 1)
            middle = 0 if best is None else (low + high + 1) // 2
        return best

    def _improved(self, starts: Sequence[Layout]) -> Layout:
        """Divide pairs anew from every start, from the better ones again, and from the best.

        What a start lacks shows only when its loads are even: a copy or a workspace too few. Copies
        are kept late: they take the room without which pairs are not divided better. Where the best
        start lacks a copy of a hot model, no division makes up for it, and later there is no room:
        what has all of them is evened out first, however busy its cards are.
        """
        target = (1 + NO_GAP / 2) / max(self.limit, 1e-12)
        left, steps, best = list(starts), self.steps.left, starts[0]
        if self.forced is not None and _lacks(best, self.forced):
            part = self.steps.part(int(steps * _FORCED))
            left.append(balance(self.forced, target, part, self.seed))
            self.steps.give_back(part)
            steps = self.steps.left
        first = _FEW_ROUNDS if self.sheet.groups <= FEW_MODELS else _ROUNDS
        all_rounds = (first, *(_COOLED if self.sheet.groups > _SLOW else 1) * (_COOLER,))
        for number, rounds in enumerate(all_rounds, 1):
            left = [best] if number == len(all_rounds) else left
            for share, most, heat in rounds:
                left = sorted(left, key=lambda layout: layout.peak())[:most]
                for index, start in enumerate(left):
                    part = self.steps.part(int(steps * share) // len(left))
                    before = start.copy() if start is best else start
                    left[index] = balance(before, target, part, self.seed + index, heat=heat)
                    self.steps.give_back(part)
                    if left[index].peak() <= target:
                        return left[index]
            found = self._copied(min(left, key=lambda layout: layout.peak()))
            best = found if found.peak() < best.peak() else best
            if best.peak() <= target:
                break
        return self._polished(best, target)

    def _polished(self, best: Layout, target: float) -> Layout:
        """With what is left of the steps: divide some pairs, then split all loads anew, and so on.

        A pair's division says nothing of what copies may hand on to cards further away. So a few
        are made at random, and kept if the program for the loads finds no busier card after them.
        """
        seed, short = self.seed, max(_SHORT, self.sheet.groups)
        while best.peak() > target and self.steps.spend():
            part = self.steps.part(short)
            found = self._copied(balance(best.copy(), target, part, seed, heat=_COOLER[0][2]))
            self.steps.give_back(part)
            best = found if found.peak() <= best.peak() else best
            seed += 1
        return best


def are_thin(models: int, cards: int) -> bool:
    """Whether many models are there, and so few share a card that two are divided in no time."""
    return FEW_MODELS < models <= THIN * cards


def _lacks(layout: Layout, other: Layout) -> bool:
    """Whether some group has fewer copies than in another placement."""
    return any(len(one) < len(two) for one, two in zip(layout.at, other.at, strict=True))
