"""The plan for the cards that are left when others are gone for good."""

from collections.abc import Collection
from dataclasses import replace

from orchestrator.errors import DeploymentError, PlanRefusedError
from orchestrator.placement.deployment import DeploymentPlan
from orchestrator.placement.problem import Model, PreviousCard, Problem
from orchestrator.placement.refusal import only, solve
from orchestrator.placement.search.moves import Change


def plan_without(
    whole: DeploymentPlan, running: DeploymentPlan, lost: Collection[str], *, more: bool = True
) -> DeploymentPlan | None:
    """Change the plan that runs as little as may be, so that the other cards serve what they can.

    All demand of ``whole`` if there is room, else as much of it as possible; with fewer replicas
    than wanted, if need be. Where memory is short, the models that the others hold stay, and the
    rest are added as long as they fit, those with the most work first. Without any loss it is
    ``whole`` again; None where no card that is left could hold any model. ``more``: models that
    none of the others holds may be added.
    """
    if not lost:
        return whole
    left = _left(whole.problem, lost)
    kept = {name for card in running.plan.cards if card.card not in lost for name in card.models}
    if not more:
        return _solved(whole, running, only(_relaxed(left), kept))
    return (
        _solved(whole, running, left)
        or _solved(whole, running, _relaxed(left))
        or _most_of(whole, running, _relaxed(left), kept)
    )


def unserved(plan: DeploymentPlan) -> tuple[str, ...]:
    """The models of the deployment that the plan has no card for."""
    placed = {name for card in plan.plan.cards for name in card.models}
    return tuple(m.name for m in plan.deployment.models if m.name not in placed)


def _most_of(
    whole: DeploymentPlan, running: DeploymentPlan, problem: Problem, kept: Collection[str]
) -> DeploymentPlan | None:
    names = [model.name for model in problem.models if model.name in kept]
    found = _solved(whole, running, only(problem, names))
    if found is None:
        names = []
    others = [model for model in problem.models if model.name not in names]
    for model in sorted(others, key=lambda one: -one.work):
        more = _solved(whole, running, only(problem, [*names, model.name]))
        if more is not None:
            found, names = more, [*names, model.name]
    return found


def _left(problem: Problem, lost: Collection[str]) -> Problem:
    """The problem without some cards, and without models that were to be on no others."""
    cards = tuple(card for card in problem.cards if card.name not in lost)
    names = [card.name for card in cards]

    def on_these(model: Model) -> Model:
        if model.cards is None:
            return model
        return replace(model, cards=tuple(name for name in model.cards if name in names))

    models = tuple(map(on_these, problem.models))
    placeable = [model.name for model in models if model.cards is None or model.cards]
    return only(replace(problem, cards=cards, models=models), placeable)


def _solved(
    whole: DeploymentPlan, running: DeploymentPlan, problem: Problem
) -> DeploymentPlan | None:
    """The plan with the fewest moves; None where there is none."""
    before = tuple(PreviousCard(c.card, c.models, c.share_workspace) for c in running.plan.cards)
    problem = Change(before).of(problem)
    try:
        plan = solve(problem)
    except (PlanRefusedError, DeploymentError):  # no room, or a rule names a card that is gone
        return None
    return replace(whole, problem=problem, plan=replace(plan, origins=whole.plan.origins))


def _relaxed(problem: Problem) -> Problem:
    """As much of the demand as possible, on as many replicas as there can be."""
    cards = {card.name for card in problem.cards}
    nodes = len({card.node for card in problem.cards})

    def on_what_is_left(model: Model) -> Model:
        here = len(cards if model.cards is None else cards & set(model.cards))
        return replace(
            model,
            min_replicas=max(min(model.min_replicas, here), 1),
            spread_nodes=max(min(model.spread_nodes, nodes), 1),
        )

    models = tuple(map(on_what_is_left, problem.models))
    return replace(problem, objective="max_alpha", models=models)
