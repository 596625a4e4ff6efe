"""The search behind every plan: what was found, how good it can be, and what it costs to change."""

import math
from collections.abc import Callable
from dataclasses import replace

from orchestrator.placement.groups import World, world
from orchestrator.placement.plan import CardPlan, Load, Plan, Point
from orchestrator.placement.problem import Improver, Problem
from orchestrator.placement.search.balance import Budget
from orchestrator.placement.search.beside import beside_alpha
from orchestrator.placement.search.bounds import (
    Bound,
    Items,
    max_alpha_bound,
    min_cards_bound,
)
from orchestrator.placement.search.candidate import NO_GAP, Candidate
from orchestrator.placement.search.fewest import FewestCards
from orchestrator.placement.search.largest import FEW_MODELS, LargestAlpha, are_thin
from orchestrator.placement.search.loads import split_loads
from orchestrator.placement.search.moves import cost_of
from orchestrator.placement.search.replan import Option, choose, options
from orchestrator.placement.search.sheet import sheet

#: Steps of a search if nobody says how many: so many for each model and card, but never more than
#: about half a minute's: these become fewer again, as each takes longer where there is more. A
#: constructor's run, or dividing two cards anew, counts as one.
_STEPS_EACH, _MOST_STEPS, _LEAST_STEPS, _FEWER_EACH = 2_000, 120_000, 50_000, 300
#: Where many models are spread thinly over cards: two of those are divided in no time.
_THINLY_MOST, _THINLY_FEWER = {"min_cards": 250_000, "max_alpha": 200_000}, 40
#: For the largest alpha: the most where models are few, and the least for up to so many models and
#: cards.
_FEWLY_MOST, _LEAST_ALPHA, _LARGE = 180_000, 100_000, 3_000


def search(
    problem: Problem,
    budget: int | Budget | None = None,
    seed: int = 0,
    interrupted: Callable[[], bool] = lambda: False,
    moves: int | None = None,
    improver: Improver | None = None,
) -> Plan | None:
    """The best plan found, or None when every variant failed to place some model.

    ``moves``: at most so many replicas that the previous plan did not have there. ``improver``: the
    solver that small plans are given to at last. ``budget`` None: by the size of the problem; one
    of the caller's own tells him afterwards whether it was cut.
    """
    scene = world(problem)
    bound = bound_of(scene)
    budget = _budget(problem, bound.value) if budget is None else budget
    steps = budget if isinstance(budget, Budget) else Budget(budget, interrupted)
    if steps.left <= 0:
        return None
    kind = FewestCards if problem.objective == "min_cards" else LargestAlpha
    scaled = problem.objective == "max_alpha" and 0 < bound.value < math.inf
    page = sheet(scene, bound.value if scaled else 1.0)
    run = kind(scene, page, bound, steps, seed, improver)
    if not scene.previous:
        best = run.best()
        return _plan(scene, best, run.bound, steps) if best else None
    found = options(run, moves)
    chosen = choose(found, moves)
    if chosen is None:
        return None
    plan = _plan(scene, chosen.found, run.bound, steps)
    curve = (
        replace(_point(option), alpha=plan.alpha) if option is chosen else _point(option)
        for option in found
    )
    return replace(plan, curve=tuple(curve))


def _budget(problem: Problem, bound: float) -> int:
    """The steps that about half a minute is enough for, or that are enough."""
    models, cards = len(problem.models), len(problem.cards)
    if problem.objective == "min_cards":
        cards = math.ceil(min(cards, bound))
    size, most, fewer, least = models + cards, _MOST_STEPS, _FEWER_EACH, _LEAST_STEPS
    if are_thin(models, cards):
        most, fewer = _THINLY_MOST[problem.objective], _THINLY_FEWER
    if problem.objective == "max_alpha" and size <= _LARGE:
        least = _LEAST_ALPHA
        most = _FEWLY_MOST if models <= FEW_MODELS else most
    return min(_STEPS_EACH * size, max(most - fewer * size, least))


def bound_of(scene: World) -> Bound:
    """The bound of the problem's own objective; without any demand, alpha has none."""
    if scene.problem.objective == "min_cards":
        return min_cards_bound(scene)
    if not any(model.work > 0 for model in scene.models):
        return Bound("no demand", 0.0)
    found = max_alpha_bound(scene)
    return beside_alpha(Items(scene), found.value) or found


def _point(option: Option) -> Point:
    """An option as a point of the curve."""
    split, cost = option.found.split, option.cost
    alpha = None if split.alpha is None else float(f"{split.alpha:.12g}")
    cards = sum(bool(tally.models) for tally in option.found.tallies)
    return Point(cost.moves, cost.restarts, cost.nbytes, alpha, cards)


def _plan(scene: World, best: Candidate, bound: Bound, steps: Budget) -> Plan:
    split, cost = split_loads(scene, best.tallies), cost_of(scene, best.tallies)
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
        moves=cost.moves if scene.previous else None,
        restarts=cost.restarts if scene.previous else None,
        bytes_loaded=cost.nbytes if scene.previous else None,
    )
