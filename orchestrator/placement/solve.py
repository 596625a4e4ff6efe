"""The search: build plans in every variant, split the loads exactly, keep the best."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.placement.board import Tally, forbidden, joined, overfull
from orchestrator.placement.bounds import Bound, max_alpha_bound, min_cards_bound
from orchestrator.placement.constructor import VARIANTS, construct
from orchestrator.placement.exhaust import placements
from orchestrator.placement.groups import World, world
from orchestrator.placement.loads import Split, split_loads
from orchestrator.placement.plan import CardPlan, Load, Plan
from orchestrator.placement.problem import Problem

#: Steps of work in a search: a constructor's run or a linear program counts as one.
DEFAULT_BUDGET = 400
#: A gap of at most this is none.
NO_GAP = 1e-4
#: Shares of the bound on alpha at which the constructors try to place the whole demand.
_TARGETS = (1.0, 0.97, 0.9, 0.75, 0.5, 0.25, 0.05, 0.0)


@dataclass(frozen=True)
class Candidate:
    """A placement with its best split, and a score that says how good it is (larger is better)."""

    tallies: tuple[Tally, ...]
    split: Split
    score: tuple[float, ...]


@dataclass
class Budget:
    """Steps that are left. Counted, not timed, so that equal input gives an equal plan."""

    left: int

    def spend(self) -> bool:
        """Take one step; False when there is none left."""
        self.left -= 1
        return self.left >= 0


def search(problem: Problem, budget: int = DEFAULT_BUDGET) -> Plan | None:
    """The best plan found, or None when every variant failed to place some model."""
    scene, steps = world(problem), Budget(budget)
    bound = bound_of(scene)
    if problem.objective == "min_cards":
        best = _fewest_cards(scene, steps, bound)
    else:
        best = _largest_alpha(scene, steps, bound)
    return _plan(scene, best, bound, steps) if best else None


def bound_of(scene: World) -> Bound:
    """The bound of the problem's own objective; without any demand, alpha has none."""
    if scene.problem.objective == "min_cards":
        return min_cards_bound(scene)
    if not any(model.work > 0 for model in scene.models):
        return Bound("no demand", 0.0)
    return max_alpha_bound(scene)


def _fewest_cards(scene: World, steps: Budget, bound: Bound) -> Candidate | None:
    best: Candidate | None = None
    if bound.value > len(scene.cards):
        return None
    for tallies in _starts(scene, steps, (1.0,)):
        if best is not None and used(tallies) > used(best.tallies):
            continue
        found = _candidate(scene, tallies)
        if _serves(found):
            best = found if best is None or found.score > best.score else best
            if used(best.tallies) <= bound.value:
                break
    return best or _first(scene, steps)


def _largest_alpha(scene: World, steps: Budget, bound: Bound) -> Candidate | None:
    best: Candidate | None = None
    for tallies in _starts(scene, steps, [bound.value * target for target in _TARGETS]):
        found = _candidate(scene, tallies)
        best = found if best is None or found.score > best.score else best
        if _alpha(best) >= bound.value * (1 - NO_GAP):
            return best
    best = best or _first(scene, steps)
    while best and steps.left > 0 and _alpha(best) < bound.value * (1 - NO_GAP):
        better = _with_one_more(scene, best, steps)
        if better is None:
            break
        best = better
    return best


def _first(scene: World, steps: Budget) -> Candidate | None:
    """The first placement of all that serves the demand, where every constructor failed."""
    for tallies in placements(scene):
        if not steps.spend():
            return None
        found = _candidate(scene, tallies)
        if scene.problem.objective == "max_alpha" or _serves(found):
            return found
    return None


def _serves(found: Candidate) -> bool:
    return found.split.alpha is None or found.split.alpha >= 1 - NO_GAP * 1e-3


def _starts(scene: World, steps: Budget, scales: Sequence[float]) -> Iterator[tuple[Tally, ...]]:
    """Per variant, the placement for the largest scale of the demand that it places, if new."""
    seen = set()
    for variant in VARIANTS:
        for scale in scales:
            if not steps.spend():
                return
            tallies = construct(scene, variant, scale)
            if tallies is not None:
                placement = tuple(tally.names for tally in tallies)
                if placement not in seen:
                    seen.add(placement)
                    yield tallies
                break


def _with_one_more(scene: World, best: Candidate, steps: Budget) -> Candidate | None:
    """The placement with the extra replica that the load program's prices promise most from."""
    offers = []
    for group in scene.groups:
        holders = [
            card for card, tally in enumerate(best.tallies) if group.models[0].name in tally.names
        ]
        if not holders or (group.high is not None and len(holders) >= group.high):
            continue
        for card in set(group.allowed) - set(holders):
            tally = best.tallies[card]
            price = best.split.card_price.get(tally.card.name, 0.0)
            promise = max(
                abs(best.split.model_price.get(model.name, 0.0)) - price / max(1.0, model.overlap)
                for model in group.models
            )
            if promise > 1e-9:
                offers.append((-promise, group.name, card, group))
    for _, _, card, group in sorted(offers, key=lambda offer: offer[:3]):
        tally = best.tallies[card]
        if forbidden(scene, group, tally):
            continue
        after = joined(tally, group.models)
        if overfull(tally, after):
            continue
        if not steps.spend():
            return None
        more = _candidate(scene, (*best.tallies[:card], after, *best.tallies[card + 1 :]))
        if _alpha(more) > _alpha(best) * (1 + 1e-6):
            return more
    return None


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


def _alpha(candidate: Candidate) -> float:
    return candidate.split.alpha or 0.0


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
        stop = "budget spent" if steps.left < 0 else "all variants tried"
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
