"""The bound by linear program: what it adds, and that no plan is beyond it."""

import pytest
from hypothesis import given

from orchestrator.placement import solve
from orchestrator.placement.groups import world
from orchestrator.placement.search.aggregate import aggregated_alpha, aggregated_cards
from orchestrator.placement.search.bounds import Items, max_alpha_bound, min_cards_bound
from tests.placement.build import cards, model, problem
from tests.placement.test_solve import SLOW, read
from tests.placement.worlds import optimum, problems

BIG, SMALL = cards(4, 100, "a"), cards(8, 40, "b", start=4)


def scene(models, slots, objective="min_cards"):
    return world(read(problem(models, slots, objective)))


def test_cards_that_are_too_small_for_some_models_do_not_count_for_them():
    models = [model(f"m{i}", 48) for i in range(6)]
    few = scene([*models, *(model(f"s{i}", 30) for i in range(8))], [*BIG, *SMALL])
    assert min_cards_bound(few).value == 8
    assert aggregated_cards(Items(few)).value == 9


def test_work_that_only_some_cards_may_do_bounds_alpha():
    heavy = {"service_ms": 10, "demand_rps": 100}
    models = [model(f"m{i}", 10, cards=["a/0", "a/1"], **heavy) for i in range(4)]
    data = problem(models, cards(4, 100, "a"), "max_alpha")
    everywhere = max_alpha_bound(world(read(data)))
    found = aggregated_alpha(Items(world(read(data))), everywhere.value)
    assert everywhere.value == pytest.approx(1.0)
    assert found.value == pytest.approx(0.5)
    plan = solve(read(data))
    assert (plan.bound_name, plan.stop_reason) == ("aggregated", "bound reached")
    assert plan.alpha == pytest.approx(0.5)


@SLOW
@given(problems(most_models=3, most_cards=2))
def test_it_is_never_beyond_the_optimum(data):
    tiny = world(read(data))
    best = optimum(data)
    if best is None:
        return
    if data["objective"] == "min_cards":
        found = aggregated_cards(Items(tiny))
        assert found is None or found.value <= best
    elif any(one.get("demand_rps") for one in data["models"]):
        found = aggregated_alpha(Items(tiny), max_alpha_bound(tiny).value)
        assert found is None or found.value >= best * (1 - 1e-9)
