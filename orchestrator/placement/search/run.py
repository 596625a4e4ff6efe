"""One search: place in every variant, divide pairs of cards anew, split the loads exactly."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from orchestrator.placement.groups import World
from orchestrator.placement.problem import Improver
from orchestrator.placement.search.aggregate import aggregated_alpha, aggregated_cards
from orchestrator.placement.search.balance import HEAT, Budget, balance, trim
from orchestrator.placement.search.bounds import Bound, Items
from orchestrator.placement.search.candidate import NO_GAP, Candidate, candidate, serves
from orchestrator.placement.search.cpsat import improve
from orchestrator.placement.search.dense import TASTES, Taste, pack
from orchestrator.placement.search.exact import small, solve_exactly
from orchestrator.placement.search.exhaust import placements
from orchestrator.placement.search.fill import EVEN, FEW, FLUID, HOT, LEVEL, STEEP, Variant, fill
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.levelled import MANY, levelled
from orchestrator.placement.search.sheet import Numbers, Sheet
from orchestrator.placement.search.squeeze import squeeze

#: Shares of the bound on alpha at which the constructors try to place the whole demand.
_SHARES = (0.25, 0.5, 0.7, 0.8, 0.87, 0.93, 0.97, 1.0)
#: Steps that a mixed-integer program counts for; what has fewer left goes without.
_EXACT_STEPS = 100
#: Steps that the linear program for a bound counts for.
_BOUND_STEPS = 40
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
_TO_FEW: tuple[Variant | Taste, ...] = (*FEW, *TASTES)
#: Ways to pack onto fewer cards, each with how busy cards may be, which is then put right.
_TO_PACK: tuple[tuple[Variant | Taste, float], ...] = (
    (STEEP[1], 1.0),
    (Variant("size", "even"), 1.15),
    (TASTES[8], 1.1),
    (Variant("workspace", "balanced"), 1.3),
)
#: How busy a card may still be for more steps to be worth their time.
_HOPELESS = 1.25
#: Starts from which the loads are evened out; and by round the share of the steps, how many of the
#: best go on, and the heat: the last small gains are made cooler and cooler, and that some times.
_MOST_STARTS = 4
_ROUNDS = (
    (0.1, _MOST_STARTS, HEAT),
    (0.15, 2, HEAT),
    (0.2, 1, HEAT),
    *5 * ((0.04, 1, HEAT / 10), (0.04, 1, HEAT / 100), (0.03, 1, HEAT / 1000)),
)


@dataclass
class Run:
    """One search: the problem, the best bound on it so far, and the steps that are left."""

    scene: World
    sheet: Sheet
    bound: Bound
    steps: Budget
    seed: int
    improver: Improver | None = None

    @cached_property
    def items(self) -> Items:
        """What bounds count."""
        return Items(self.scene)

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
        best = levelled(self.sheet, self.bound, self._useful(), self.steps, self.seed)
        many = self.sheet.groups * self.sheet.cards > MANY
        for variant in _TO_FEW[: 1 if many and best else None]:
            # Without a step left, what costs least goes on until it has found a plan.
            more = self.steps.spend() or (best is None and variant in FEW)
            if not more or (best is not None and best.used() <= self.bound.value):
                break
            found = self._made(variant, self.sheet.speed, sure=best is None and variant in FEW)
            if found and found.peak() <= 1.0 and (best is None or _better(found, best)):
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

    def _useful(self) -> list[int]:
        """The cards, those with most memory and time first."""
        worth = self._worth()
        return sorted(range(self.sheet.cards), key=lambda card: (-worth[card], card))

    def _worth(self) -> Numbers:
        """By card, its memory and its time as shares of the most that one has."""
        memory = np.minimum(self.sheet.room / self.sheet.room.max(), 1.0)
        found: Numbers = memory + self.sheet.speed / self.sheet.speed.max()
        return found

    def _bounded(self) -> None:
        """Look for a better bound, where the ones that cost nothing have not proven the plan."""
        if self.bound.value <= 0 or not self.steps.spend(_BOUND_STEPS):
            return
        items = self.items
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

    def _made(
        self, variant: Variant | Taste, limit: Numbers, *, sure: bool = False
    ) -> Layout | None:
        """What the variant places; None if it is late, unless it is to be ``sure``."""
        if isinstance(variant, Taste):
            return pack(self.sheet, variant, limit, self.steps.late)
        soft = variant.fit == "steep"
        late = (lambda: False) if sure else self.steps.late
        return fill(self.sheet, variant, limit, soft=soft, late=late)

    def _one_less(self, best: Layout) -> Layout | None:
        """The same on one card less: without the least useful of the used cards, or the best."""
        used = [card for card, held in enumerate(best.on) if held]
        worth = self._worth()
        least = min(used, key=lambda card: (worth[card], best.busy[card], card))
        choices = [
            [card for card in used if card != least],
            sorted(self._useful()[: len(used) - 1]),
        ]
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
        starts: list[Layout] = []
        for packed in self._packed(cards, closed):
            part = self.steps.part(min(self.enough(), self.steps.left // 8))
            found = balance(packed, 1.0, part, self.seed + len(starts), closed)
            self.steps.give_back(part)
            if found.peak() <= 1.0:
                return found
            starts.append(found)
        if not starts:
            return None
        best = min(starts, key=lambda layout: layout.peak())
        if best.peak() > _HOPELESS:
            return None
        part = self.steps.part(min(8 * self.enough(), self.steps.left // 2))
        best = balance(best, 1.0, part, self.seed, closed)
        self.steps.give_back(part)
        return best if best.peak() <= 1.0 else None

    def _packed(self, cards: Sequence[int], closed: Sequence[int]) -> Iterator[Layout]:
        """Placements on these cards, some of which are too busy."""
        if self.sheet.work.any():
            timed = self.sheet.speed.copy()
            timed[closed] = -1
            for variant, share in _TO_PACK:
                if not self.steps.spend():
                    return
                found = self._made(variant, (timed * share).astype(np.int64))
                if found is not None:
                    yield found
        squeezed = self._squeezed(1.0, cards, self.steps.left // 4)
        if squeezed is not None:
            yield squeezed

    def _squeezed(self, share: float, cards: Sequence[int], steps: int) -> Layout | None:
        """The copies that this share of the sheet's demand forces, packed by memory alone."""
        forced = self.items.copies(self.sheet.scale * share)
        if forced is None:
            return None
        copies = np.maximum(forced, self.sheet.low)
        part = self.steps.part(steps)
        found = squeeze(self.sheet, copies.tolist(), part, self.seed, cards)
        self.steps.give_back(part)
        return found

    def _levelled(self, best: Layout) -> Candidate:
        """The same cards, less busy: ties among plans are broken by the busiest card."""
        idle = [card for card, held in enumerate(best.on) if not held]
        if self.sheet.work.any():
            part = self.steps.part(min(self.enough() // 4, self.steps.left // 4))
            best = balance(best, self.even, part, self.seed, idle, heat=0.0)
            self.steps.give_back(part)
        return self._candidate(best)

    @property
    def even(self) -> float:
        """The peak below which no placement on all cards is."""
        return float(self.sheet.work.sum()) / max(1.0, float(self.sheet.speed.sum()))

    def largest_alpha(self) -> Candidate | None:
        """Place as much demand as some variants can, then divide pairs anew from the best."""
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
        best = self._improved([best, *(one for one in starts if one is not best)][:_MOST_STARTS])
        return self._candidate(self._asked(best))

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
        for share in _SHARES[::-1]:
            found = self._squeezed(share * self.limit, cards, self.steps.left // 16)
            if found is not None:
                yield found
                break
        if self.sheet.groups * self.sheet.cards > MANY:
            return
        for way in _TO_MANY:
            found = self._largest_share(way, limit)
            if found is not None:
                yield found

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

        What a start lacks shows only when its loads are even: a copy or a workspace too few.
        """
        target = (1 + NO_GAP / 2) / max(self.limit, 1e-12)
        left, steps = list(starts), self.steps.left
        for share, most, heat in _ROUNDS:
            left = sorted(left, key=lambda layout: layout.peak())[:most]
            for index, start in enumerate(left):
                part = self.steps.part(int(steps * share) // len(left))
                left[index] = balance(start, target, part, self.seed + index, heat=heat)
                self.steps.give_back(part)
                if left[index].peak() <= target:
                    return left[index]
        return min(left, key=lambda layout: layout.peak())

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
        trim(layout)
        return candidate(self.scene, layout.tallies())


def _better(one: Layout, other: Layout) -> bool:
    return (one.used(), one.peak()) < (other.used(), other.peak())
