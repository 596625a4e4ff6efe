"""The search: place in every variant, exchange between cards, split the loads exactly."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.placement.balance import Budget, balance, trim
from orchestrator.placement.board import Tally
from orchestrator.placement.bounds import Bound, max_alpha_bound, min_cards_bound
from orchestrator.placement.dense import TASTES, Taste, pack
from orchestrator.placement.exhaust import placements
from orchestrator.placement.fill import FEW, MANY, Variant, fill
from orchestrator.placement.groups import World, world
from orchestrator.placement.layout import Layout
from orchestrator.placement.loads import Split, split_loads
from orchestrator.placement.plan import CardPlan, Load, Plan
from orchestrator.placement.problem import Problem
from orchestrator.placement.sheet import Numbers, Sheet, sheet

#: Steps of work in a search: a constructor's run or one exchange between cards counts as one.
DEFAULT_BUDGET = 4000
#: A gap of at most this is none.
NO_GAP = 1e-4
#: Shares of the bound on alpha at which the constructors try to place the whole demand.
_TARGETS = (1.0, 0.97, 0.9, 0.75, 0.5, 0.25, 0.05, 0.0)
#: The time of a card when only memory counts.
_ENDLESS = 1 << 60
_TO_FEW: tuple[Variant | Taste, ...] = (*FEW, *TASTES)
_TO_MANY: tuple[Variant | Taste, ...] = (*MANY[:4], *TASTES[:2], *TASTES[8:10], *MANY[4:])


@dataclass(frozen=True)
class Candidate:
    """A placement with its best split, and a score that says how good it is (larger is better)."""

    tallies: tuple[Tally, ...]
    split: Split
    score: tuple[float, ...]


def search(
    problem: Problem,
    budget: int = DEFAULT_BUDGET,
    seed: int = 0,
    interrupted: Callable[[], bool] = lambda: False,
) -> Plan | None:
    """The best plan found, or None when every variant failed to place some model."""
    if budget <= 0:
        return None
    scene, steps = world(problem), Budget(budget, interrupted)
    bound = bound_of(scene)
    run = _Run(scene, sheet(scene), bound, steps, seed)
    best = run.fewest_cards() if problem.objective == "min_cards" else run.largest_alpha()
    return _plan(scene, best, bound, steps) if best else None


def bound_of(scene: World) -> Bound:
    """The bound of the problem's own objective; without any demand, alpha has none."""
    if scene.problem.objective == "min_cards":
        return min_cards_bound(scene)
    if not any(model.work > 0 for model in scene.models):
        return Bound("no demand", 0.0)
    return max_alpha_bound(scene)


@dataclass
class _Run:
    """One search: the problem, its bound, and the steps that are left."""

    scene: World
    sheet: Sheet
    bound: Bound
    steps: Budget
    seed: int

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
        if best is None:
            return self._first()
        while best.used() > self.bound.value and self.steps.left > 0:
            fewer = self._one_less(best)
            if fewer is None:
                break
            best = fewer
        found_all = self._levelled(best)
        return found_all if _serves(found_all) else self._first()

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
            (Variant("workspace", "tightest"), limit),
            (Variant("fluid", "even"), limit),
            (TASTES[8], (timed * 1.1).astype(np.int64)),
            (Variant("size", "balanced"), limit),
        ]
        for index, (variant, most) in enumerate(starts):
            if not self.steps.spend():
                return None
            found = self._made(variant, most)
            if found is None:
                continue
            part = self.steps.part(min(self._enough(), self.steps.left // 4))
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
        bound = self.bound.value
        starts: list[Layout] = []
        for variant in _TO_MANY:
            if not self.steps.spend():
                break
            found = self._most(variant)
            if found is not None:
                starts.append(found)
                if found.peak() * bound <= 1 + NO_GAP:
                    return self._candidate(found)
        if not starts:
            return self._first()
        starts.sort(key=lambda layout: layout.peak())
        best = self._improved(starts[:4])
        return self._candidate(best)

    def _most(self, variant: Variant | Taste) -> Layout | None:
        """The variant's placement at the largest of some shares of the bound."""
        for target in _TARGETS:
            limit = self.sheet.speed / max(self.bound.value * target, 1e-9)
            found = self._made(variant, np.minimum(limit, _ENDLESS).astype(np.int64))
            if found is not None:
                return found
        return None

    def _improved(self, starts: Sequence[Layout]) -> Layout:
        """Exchange from each start for some steps, then from the best for all that are left."""
        target = (1 + NO_GAP / 2) / max(self.bound.value, 1e-12)
        best = starts[0]
        each = min(self._enough(), self.steps.left // (2 * len(starts)))
        for index, start in enumerate(starts):
            part = self.steps.part(each)
            found = balance(start, target, part, self.seed + index)
            self.steps.give_back(part)
            best = found if index == 0 or found.peak() < best.peak() else best
            if best.peak() <= target:
                return best
        part = self.steps.part(self._enough() * 4)
        best = balance(best, target, part, self.seed + len(starts))
        self.steps.give_back(part)
        return best

    def _enough(self) -> int:
        """Steps after which a small problem has shown all that it has."""
        return 20 * (self.sheet.groups + self.sheet.cards)

    def _first(self) -> Candidate | None:
        """The first placement of all that serves the demand, where every constructor failed."""
        for tallies in placements(self.scene):
            found = _candidate(self.scene, tallies)
            if self.scene.problem.objective == "max_alpha" or _serves(found):
                return found
        return None

    def _candidate(self, layout: Layout) -> Candidate:
        return _candidate(self.scene, layout.tallies())


def _better(one: Layout, other: Layout) -> bool:
    return (one.used(), one.peak()) < (other.used(), other.peak())


def _serves(found: Candidate) -> bool:
    return found.split.alpha is None or found.split.alpha >= 1 - NO_GAP * 1e-3


def _candidate(scene: World, tallies: tuple[Tally, ...]) -> Candidate:
    split = split_loads(scene, tallies, balance=False)
    replicas = sum(len(tally.models) for tally in tallies)
    alpha = round(split.alpha, 9) if split.alpha is not None else 0.0
    if scene.problem.objective == "min_cards":
        return Candidate(tallies, split, (-used(tallies), alpha, -replicas))
    return Candidate(tallies, split, (alpha, -replicas))


def used(tallies: Sequence[Tally]) -> int:
    """Cards with at least one model."""
    return sum(bool(tally.models) for tally in tallies)


def _plan(scene: World, best: Candidate, bound: Bound, steps: Budget) -> Plan:
    split = split_loads(scene, best.tallies)
    cards = tuple(
        CardPlan(tally.card.name, tuple(sorted(tally.names)), tally.share)
        for tally in best.tallies
        if tally.models
    )
    loads = tuple(
        Load(model, card, float(f"{rps:.12g}")) for (model, card), rps in sorted(split.rps.items())
    )
    alpha = None if split.alpha is None else float(f"{split.alpha:.12g}")
    few = scene.problem.objective == "min_cards"
    value = float(len(cards)) if few else alpha
    limit = bound.value if few or alpha is not None else None
    gap = None if value is None or limit is None else abs(value - limit) / max(limit, 1e-12)
    if value is None:
        stop = "no model has demand"
    elif gap is not None and gap <= NO_GAP:
        stop = "bound reached"
    else:
        stop = "budget spent" if steps.left <= 0 else "all variants tried"
        stop = "interrupted" if steps.cut else stop
    return Plan(
        cards=cards,
        loads=loads,
        objective=scene.problem.objective,
        value=int(value) if few and value is not None else value,
        alpha=alpha,
        bound=int(limit) if few and limit is not None else limit,
        bound_name=bound.name,
        gap=gap,
        stop_reason=stop,
        moves=_moves(scene, cards),
    )


def _moves(scene: World, cards: Sequence[CardPlan]) -> int | None:
    if not scene.problem.previous_plan:
        return None
    return sum(
        model not in scene.previous.get(card.card, frozenset())
        for card in cards
        for model in card.models
    )
