"""One search: place in every variant, exchange between cards, split the loads exactly."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.placement.aggregate import aggregated_alpha, aggregated_cards
from orchestrator.placement.balance import Budget, balance, trim
from orchestrator.placement.board import Tally
from orchestrator.placement.bounds import Bound, Items
from orchestrator.placement.cpsat import improve
from orchestrator.placement.dense import TASTES, Taste, pack
from orchestrator.placement.exact import small, solve_exactly
from orchestrator.placement.exhaust import placements
from orchestrator.placement.fill import EVEN, FEW, FLUID, HOT, SOFT, Variant, fill
from orchestrator.placement.groups import World
from orchestrator.placement.layout import Layout
from orchestrator.placement.loads import Split, split_loads
from orchestrator.placement.problem import Improver
from orchestrator.placement.sheet import Numbers, Sheet

#: A gap of at most this is none.
NO_GAP = 1e-4
#: Shares of the bound on alpha at which the constructors try to place the whole demand.
_SHARES = (0.25, 0.5, 0.7, 0.8, 0.87, 0.93, 0.97, 1.0)
#: Shares at which they then place it all, some cards busier than they may be.
_SOFT_SHARES = (1.0, 0.92, 0.84, 0.76, 0.68)
#: With more replicas than their load needs, hot models leave time on their cards for others.
_HOT_SHARES = (1.15, 1.0)
#: Groups times cards above which the first placement of the fastest ways to start is enough.
_MANY = 1 << 20
#: Steps that a mixed-integer program counts for; what has fewer left goes without.
_EXACT_STEPS = 100
#: Steps that the linear program for a bound counts for.
_BOUND_STEPS = 40
#: The time of a card when only memory counts.
_ENDLESS = 1 << 60
_TO_MANY: tuple[Variant | Taste, ...] = (
    *EVEN,
    Variant("workspace", "balanced"),
    Variant("workspace", "tightest"),
    TASTES[9],
    TASTES[1],
)
_TO_FEW: tuple[Variant | Taste, ...] = (*FEW, *TASTES)


@dataclass(frozen=True)
class Candidate:
    """A placement with its best split, and a score that says how good it is (larger is better)."""

    tallies: tuple[Tally, ...]
    split: Split
    score: tuple[float, ...]


@dataclass
class Run:
    """One search: the problem, the best bound on it so far, and the steps that are left."""

    scene: World
    sheet: Sheet
    bound: Bound
    steps: Budget
    seed: int
    improver: Improver | None = None

    @property
    def few(self) -> bool:
        """Whether the fewest cards are wanted, and not the largest alpha."""
        return self.scene.problem.objective == "min_cards"

    @property
    def limit(self) -> float:
        """The bound in the sheet's own scale: what no peak of a layout can be the inverse of."""
        return self.bound.value / self.sheet.scale

    def best(self) -> Candidate | None:
        """The best placement found, whatever was there before."""
        return self.fewest_cards() if self.few else self.largest_alpha()

    def fewest_cards(self) -> Candidate | None:
        """Fill cards in every variant, then try with one card less until that fails."""
        if self.bound.value > self.sheet.cards:
            return None
        best: Layout | None = None
        for variant in _TO_FEW:
            if (best is not None and best.used() <= self.bound.value) or not self.steps.spend():
                break
            found = self._made(variant, self.sheet.speed)
            if found and (best is None or _better(found, best)):
                best = found
        best = best or self._with_cards(range(self.sheet.cards))
        if best is None or best.used() > self.bound.value:
            self._bounded()
            best = self._exactly(best)
        if best is None:
            return self._first()
        while best.used() > self.bound.value and self.steps.left > 0:
            fewer = self._one_less(best)
            if fewer is None:
                break
            best = fewer
        best = self._asked(best)
        found_all = self._levelled(best)
        return found_all if serves(found_all) else self._first()

    def _bounded(self) -> None:
        """Look for a better bound, where the ones that cost nothing have not proven the plan."""
        if self.bound.value <= 0 or not self.steps.spend(_BOUND_STEPS):
            return
        items = Items(self.scene)
        found = aggregated_cards(items) if self.few else aggregated_alpha(items, self.bound.value)
        self._take(found)

    def _rescaled(self, found: Bound | None) -> Bound | None:
        """A program's bound in the problem's scale."""
        return found and Bound(found.name, found.value * self.sheet.scale)

    def _take(self, found: Bound | None) -> None:
        """Keep a bound if it is better than the one there is."""
        sign = 1 if self.few else -1
        if found is not None and sign * (found.value - self.bound.value) > 0:
            self.bound = found

    def _exactly(self, best: Layout | None) -> Layout | None:
        """Where the problem is small: the better of this and what a program finds and proves."""
        if not small(self.sheet) or self.steps.left < _EXACT_STEPS:
            return best
        if not self.steps.spend(_EXACT_STEPS):
            return best
        found = solve_exactly(self.sheet, few=self.few, limit=self.limit)
        self._take(self._rescaled(found.bound))
        return self._better_of(found.layout, best)

    def _asked(self, best: Layout) -> Layout:
        """The better of this and what the solver finds that was asked for, if it can be better."""
        if self.few:
            proven = best.used() <= self.bound.value
        else:
            proven = best.peak() * self.limit <= 1 + NO_GAP
        if self.improver is None or proven or not self.steps.spend(_EXACT_STEPS):
            return best
        found = improve(self.sheet, best, self.limit, few=self.few, seed=self.seed)
        self._take(self._rescaled(found.bound))
        return self._better_of(found.layout, best) or best

    def _better_of(self, found: Layout | None, best: Layout | None) -> Layout | None:
        """What a program found, if it is better than what there is."""
        if best is None or found is None:
            return best or found
        if self.few:
            return found if _better(found, best) else best
        return found if found.peak() < best.peak() else best

    def _made(self, variant: Variant | Taste, limit: Numbers) -> Layout | None:
        if isinstance(variant, Taste):
            return pack(self.sheet, variant, limit)
        return fill(self.sheet, variant, limit)

    def _one_less(self, best: Layout) -> Layout | None:
        """The same on one card less: without the least useful of the used cards, or the best."""
        used = [card for card, held in enumerate(best.on) if held]
        need = np.minimum(best.sheet.room / best.sheet.room.max(), 1.0)
        worth = need + best.sheet.speed / best.sheet.speed.max()
        count = len(used) - 1
        ranked = sorted(range(self.sheet.cards), key=lambda card: (-worth[card], card))
        least = min(used, key=lambda card: (worth[card], best.busy[card], card))
        choices = [[card for card in used if card != least], sorted(ranked[:count])]
        for index, cards in enumerate(choices):
            if index and cards == choices[0]:
                break
            found = self._with_cards(cards)
            if found is not None:
                return found
        return None

    def _with_cards(self, cards: Sequence[int]) -> Layout | None:
        """A placement on these cards that serves all demand: memory first, then less load."""
        closed = sorted(set(range(self.sheet.cards)) - set(cards))
        limit = np.full(self.sheet.cards, _ENDLESS)
        timed = self.sheet.speed.copy()
        limit[closed] = timed[closed] = -1
        starts: list[tuple[Variant | Taste, Numbers]] = [
            (Variant("size", "even"), (timed * 1.15).astype(np.int64)),
            (Variant("workspace", "tightest"), limit),
            (TASTES[8], (timed * 1.1).astype(np.int64)),
            (Variant("workspace", "balanced"), (timed * 1.3).astype(np.int64)),
            (Variant("size", "even"), limit),
        ]
        for index, (variant, most) in enumerate(starts):
            if not self.steps.spend():
                return None
            found = self._made(variant, most)
            if found is None:
                continue
            part = self.steps.part(min(self.enough(), self.steps.left // 4))
            found = balance(found, 1.0, part, self.seed + index, closed)
            self.steps.give_back(part)
            if found.peak() <= 1.0:
                return found
        return None

    def _levelled(self, best: Layout) -> Candidate:
        """The same cards, less busy: ties among plans are broken by the busiest card."""
        idle = [card for card, held in enumerate(best.on) if not held]
        part = self.steps.part(20 if self.sheet.work.any() else 0)
        even = float(self.sheet.work.sum()) / max(1.0, float(sum(self.sheet.speed)))
        best = balance(best, even, part, self.seed, idle)
        self.steps.give_back(part)
        trim(best, self.sheet.speed)
        return self._candidate(best)

    def largest_alpha(self) -> Candidate | None:
        """Place as much demand as each variant can, then exchange from the best of these."""
        starts: list[Layout] = []
        for found in self._starts():
            if all(found.on != start.on for start in starts):
                starts.append(found)
            if found.peak() * self.limit <= 1 + NO_GAP:
                return self._candidate(found)
        starts.sort(key=lambda layout: layout.peak())
        self._bounded()
        best = self._exactly(starts[0] if starts else None)
        if best is None:
            return self._first()
        if best.peak() * self.limit <= 1 + NO_GAP:
            return self._candidate(best)
        best = self._improved([best, *(one for one in starts if one is not best)])
        return self._candidate(self._asked(best))

    def _starts(self) -> Iterator[Layout]:
        """Placements that serve some share of the bound, and some by memory, whatever the load."""
        limit = np.minimum(self.sheet.speed / max(self.limit, 1e-9), _ENDLESS)
        large = self.sheet.groups * self.sheet.cards > _MANY
        hot = self._soft([HOT], _HOT_SHARES, limit)
        if large:
            quick = itertools.chain(hot, self._soft([FLUID], _SOFT_SHARES, limit))
            first = next(quick, None) or self._largest_share(EVEN[0], limit)
            yield from [first] if first else []
            return
        yield from hot
        for variant in _TO_MANY:
            found = self._largest_share(variant, limit)
            if found is not None:
                yield found
        yield from self._soft(SOFT, _SOFT_SHARES, limit)

    def _soft(
        self, variants: Sequence[Variant], shares: Sequence[float], limit: Numbers
    ) -> Iterator[Layout]:
        """Placements of all demand, each variant at each share of the bound."""
        for variant, share in itertools.product(variants, shares):
            if not self.steps.spend():
                return
            most = (limit / share).astype(np.int64)
            found = fill(self.sheet, variant, most, soft=True)
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
        """Exchange from every start for some steps, from the better half for more, and so on.

        What a start lacks shows only when its loads are even: a copy or a workspace too few.
        """
        target = (1 + NO_GAP / 2) / max(self.limit, 1e-12)
        left, steps = list(starts), max(20, self.enough() // 80)
        while len(left) > 1:
            for index, start in enumerate(left):
                part = self.steps.part(min(steps, self.steps.left // 2))
                left[index] = balance(start, target, part, self.seed + index)
                self.steps.give_back(part)
                if left[index].peak() <= target:
                    return left[index]
            left.sort(key=lambda layout: layout.peak())
            left, steps = left[: len(left) // 2], steps * 3
        part = self.steps.part(self.enough() * 4)
        best = balance(left[0], target, part, self.seed + len(starts))
        self.steps.give_back(part)
        return best

    def enough(self) -> int:
        """Steps after which a small problem has shown all that it has."""
        return 20 * (self.sheet.groups + self.sheet.cards)

    def _first(self) -> Candidate | None:
        """The first placement of all that serves the demand, where every constructor failed."""
        for tallies in placements(self.scene):
            found = candidate(self.scene, tallies)
            if self.scene.problem.objective == "max_alpha" or serves(found):
                return found
        return None

    def _candidate(self, layout: Layout) -> Candidate:
        return candidate(self.scene, layout.tallies())


def _better(one: Layout, other: Layout) -> bool:
    return (one.used(), one.peak()) < (other.used(), other.peak())


def serves(found: Candidate) -> bool:
    """Whether all demand is served."""
    return found.split.alpha is None or found.split.alpha >= 1 - NO_GAP * 1e-3


def candidate(scene: World, tallies: tuple[Tally, ...]) -> Candidate:
    """A placement with its loads split, and what it is worth."""
    split = split_loads(scene, tallies, balance=False)
    replicas = sum(len(tally.models) for tally in tallies)
    alpha = float(f"{split.alpha:.9g}") if split.alpha is not None else 0.0
    if scene.problem.objective == "min_cards":
        return Candidate(tallies, split, (-used(tallies), alpha, -replicas))
    return Candidate(tallies, split, (alpha, -replicas))


def used(tallies: Sequence[Tally]) -> int:
    """Cards with at least one model."""
    return sum(bool(tally.models) for tally in tallies)
