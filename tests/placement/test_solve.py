"""Plans of random problems: valid, repeatable, and never beyond their own bound."""

import copy

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from orchestrator.errors import DeploymentError
from orchestrator.placement import Plan, Problem, verify
from orchestrator.placement.groups import world
from orchestrator.placement.solve import bound_of, search
from tests.placement.checker import check
from tests.placement.worlds import optimum, problems

SLOW = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def read(data):
    try:
        return Problem.from_dict(data)
    except DeploymentError:
        assume(False)
        raise


@SLOW
@given(problems())
def test_every_plan_passes_the_independent_checker(data):
    problem = read(data)
    plan = search(problem)
    assume(plan is not None)
    assert check(data, plan.to_dict()) == []
    assert verify(problem, plan) == ()
    assert Plan.from_dict(plan.to_dict()) == plan
    assert Problem.from_dict(problem.to_dict()) == problem


@SLOW
@given(problems(), st.randoms(use_true_random=False))
def test_order_of_the_input_is_moot(data, rng):
    mixed = copy.deepcopy(data)
    rng.shuffle(mixed["models"])
    rng.shuffle(mixed["cards"])
    assert search(read(mixed)) == search(read(data))


@settings(SLOW, max_examples=60)
@given(problems(most_models=3, most_cards=2))
def test_bounds_are_never_beyond_the_optimum(data):
    problem = read(data)
    best = optimum(data)
    bound = bound_of(world(problem))
    if best is None:
        assert search(problem) is None
    elif data["objective"] == "min_cards":
        assert bound.value <= best + 1e-9
    elif any(model.work > 0 for model in problem.models):
        assert bound.value >= best - 1e-9


@settings(SLOW, max_examples=60)
@given(problems(most_models=3, most_cards=2))
def test_tiny_problems_are_refused_only_when_nothing_is_valid(data):
    problem = read(data)
    if search(problem) is None:
        assert optimum(data) is None
