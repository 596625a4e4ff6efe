"""The same deployment on other cards: placed for the load that there is, with the least to move."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.placement import CardPlan, DeploymentPlan, Model, Plan, Problem, solve
from orchestrator.placement.problem import PreviousCard
from orchestrator.placement.search.solve import search

#: Steps of the search: cards are added while others wait for them.
_BUDGET = 1000
#: A plan with less to restart is taken if it serves this part of what the best one does.
_NEAR = 0.9


def plan_scaled(
    before: DeploymentPlan,
    slots: Sequence[str],
    demand: Mapping[str, float],
    row_seconds: Mapping[str, float],
) -> DeploymentPlan:
    """Place its models on these slots, all of which are alike.

    ``demand`` in rows a second by model, ``row_seconds`` as measured, for models whose time nobody
    has declared. Of plans that serve nearly as much, the one that restarts the fewest cards.

    Raises:
        PlanRefusedError: they do not fit on so few cards.
    """
    template = before.problem.cards[0]
    cards = tuple(replace(template, name=s, node=s.rpartition("/")[0]) for s in slots)
    problem = replace(
        before.problem,
        objective="max_alpha",
        cards=cards,
        models=tuple(
            _loaded(one, demand, row_seconds, template.speed) for one in before.problem.models
        ),
        previous_plan=_previous(before.plan.cards, slots),
    )
    plan = solve(problem, budget=_BUDGET)
    calmer = _calmer(plan)
    if calmer is not None:
        plan = solve(problem, budget=_BUDGET, moves=calmer)
    return replace(before, problem=problem, plan=replace(plan, origins=before.plan.origins))


def floor_of(before: DeploymentPlan, most: int) -> int:
    """The fewest cards, up to ``most``, that hold all models once."""
    counts = range(1, most)
    return next((n for n in counts if search(_bare(before.problem, n), _BUDGET)), most)


def _bare(problem: Problem, count: int) -> Problem:
    template = problem.cards[0]
    pinned = sorted({slot for model in problem.models for slot in model.cards or ()})
    names = [*pinned, *(f"{template.node}/{number}" for number in range(count))]
    chosen = list(dict.fromkeys(names))[: max(count, len(pinned))]
    cards = tuple(replace(template, name=s, node=s.rpartition("/")[0]) for s in chosen)
    models = tuple(replace(model, demand_rps=0.0) for model in problem.models)
    return replace(problem, cards=cards, models=models, previous_plan=())


def _loaded(
    model: Model, demand: Mapping[str, float], row_seconds: Mapping[str, float], speed: float
) -> Model:
    service_ms = model.service_ms or row_seconds.get(model.name, 0.0) * 1000 * speed
    rps = demand.get(model.name, 0.0) if service_ms else 0.0
    return replace(model, demand_rps=float(f"{rps:.6g}"), service_ms=service_ms)


def _previous(cards: Sequence[CardPlan], slots: Sequence[str]) -> tuple[PreviousCard, ...]:
    return tuple(PreviousCard(card.card, card.models) for card in cards if card.card in slots)


def _calmer(plan: Plan) -> int | None:
    """The moves of a plan that restarts fewer cards and serves nearly as much, if there is one."""
    if plan.alpha is None or not plan.restarts:
        return None
    near = [
        point
        for point in plan.curve
        if point.alpha is not None and point.alpha >= _NEAR * plan.alpha
    ]
    best = min(near, key=lambda point: (point.restarts, point.moves), default=None)
    return None if best is None or best.restarts >= plan.restarts else best.moves
