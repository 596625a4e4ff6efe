"""One search: what is asked, what is known so far, and what every way to a plan makes use of."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from orchestrator.placement.groups import World
from orchestrator.placement.problem import Improver
from orchestrator.placement.search.aggregate import aggregated_alpha, aggregated_cards
from orchestrator.placement.search.balance import Budget, trim
from orchestrator.placement.search.bounds import Bound, Items
from orchestrator.placement.search.candidate import NO_GAP, Candidate, candidate
from orchestrator.placement.search.cpsat import improve
from orchestrator.placement.search.dense import Taste, pack
from orchestrator.placement.search.exact import small, solve_exactly
from orchestrator.placement.search.fill import Variant, fill
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.sheet import Numbers, Sheet
from orchestrator.placement.search.squeeze import squeeze
from orchestrator.placement.search.timely import timely

#: Steps that are enough to see whether there is a plan.
CHECK_BUDGET = 24
#: Steps that a mixed-integer program counts for; what has fewer left goes without.
_EXACT_STEPS = 100
#: A model that would need a copy more for so many times the demand is nearly in need of one.
_NEARLY = 1.2
#: Steps that the linear program for a bound counts for.
_BOUND_STEPS = 40


@dataclass
class Run(ABC):
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

    @abstractmethod
    def best(self) -> Candidate | None:
        """The best placement found, whatever was there before."""

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
            return found if better(found, best) else best
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

    def _copies(self, share: float) -> Numbers | None:
        """The copies that this share of the sheet's demand forces; None if somebody may not."""
        forced = self.items.copies(self.sheet.scale * share)
        return None if forced is None else np.maximum(forced, self.sheet.low)

    def _squeezed(self, share: float, cards: Sequence[int], steps: int) -> Layout | None:
        """The copies that this share of the sheet's demand forces, packed by memory."""
        copies = self._copies(share)
        if copies is None:
            return None
        part = self.steps.part(steps)
        found = squeeze(self.sheet, copies.tolist(), part, self.seed, cards)
        self.steps.give_back(part)
        return found

    def _timed(self, share: float, cards: Sequence[int], steps: int, seed: int) -> Layout | None:
        """The copies that this share of the sheet's demand forces, packed by memory and time."""
        copies, more = self._copies(share), self._copies(share * _NEARLY)
        if copies is None:
            return None
        spare = np.flatnonzero(copies < (copies if more is None else more)).tolist()
        part = self.steps.part(steps)
        found = timely(self.sheet, copies.tolist(), spare, 1 / share, part, seed, cards)
        self.steps.give_back(part)
        return found

    @property
    def even(self) -> float:
        """The peak below which no placement on all cards is."""
        return float(self.sheet.work.sum()) / max(1.0, float(self.sheet.speed.sum()))

    def enough(self) -> int:
        """Steps after which a small problem has shown all that it has."""
        return 20 * (self.sheet.groups + self.sheet.cards)

    def _candidate(self, layout: Layout) -> Candidate:
        trim(layout)
        return candidate(self.scene, layout.tallies())


def better(one: Layout, other: Layout) -> bool:
    """Whether it takes fewer cards, or as many that are less busy."""
    return (one.used(), one.peak()) < (other.used(), other.peak())
