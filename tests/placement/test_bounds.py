"""Bounds by hand: what must not be counted, and what is proven all the same."""

import functools

import pytest

from orchestrator.placement import Problem, solve
from orchestrator.placement.groups import world
from orchestrator.placement.search.bounds import max_alpha_bound, min_cards_bound
from orchestrator.placement.search.solve import search
from tests.placement.build import cards, model, problem
from tests.placement.checker import check


def read(models, slots, objective="min_cards", **rest):
    return Problem.from_dict(problem(models, slots, objective, **rest))


@pytest.mark.parametrize("workspace", [90, 190])
def test_the_workspace_of_a_model_that_nobody_needs_opens_no_card(workspace):
    unused = model("z", 5, workspace, min_replicas=0)
    asked = read([unused, model("a", 50), model("b", 50)], cards(3, 100))
    assert min_cards_bound(world(asked)).value == 1
    assert (solve(asked).value, solve(asked).gap) == (1, 0)


def test_a_workspace_that_work_forces_on_some_cards_leaves_the_others_free():
    heavy = model("a", 0, 100, service_ms=1000, demand_rps=1.5)
    asked = read([heavy, model("b", 50)], cards(4, 100))
    assert min_cards_bound(world(asked)).value == 3
    assert solve(asked).value == 3


def test_a_card_whose_overhead_is_more_than_it_has_takes_nothing_from_the_others():
    rest = [model(f"m{i}", 50 + 10 * i, service_ms=10, demand_rps=20) for i in range(2)]
    full = cards(1, 10, start=2, overhead_bytes=90 << 20)
    hot = model("hot", 30, service_ms=10, demand_rps=90)
    plan = search(read([hot, *rest], [*cards(2, 100), *full], "max_alpha"))
    assert plan.alpha == pytest.approx(2 / 1.3)
    assert plan.alpha <= plan.bound <= 3 / 1.3 * (1 + 1e-6)


def test_a_session_may_take_less_than_its_models_and_their_workspace():
    given = {"session_bytes": 60 << 20, "overlap": 1.5, "service_ms": 10, "demand_rps": 50}
    plan = search(read([model("a", 50, 30, **given)], cards(1, 60), "max_alpha"))
    assert plan.alpha == pytest.approx(3)
    assert plan.gap == pytest.approx(0, abs=1e-6)


def test_a_session_that_counts_its_workspace_runs_apart():
    given = {"session_bytes": 60 << 20}
    plan = solve(read([model("a", 20, 50, **given)], cards(1, 65)))
    assert [(card.models, card.share_workspace) for card in plan.cards] == [(("a",), False)]


def test_what_fits_no_card_has_no_plan():
    assert min_cards_bound(world(read([model("a", 1, 100)], cards(2, 100)))).value == float("inf")


@functools.cache
def planned(factor):
    models = [
        model(f"m{i}", 10 + 7 * i % 23, 5 * i % 29, service_ms=10, demand_rps=(1 + i) * factor)
        for i in range(14)
    ]
    data = problem(models, cards(4, 100), "max_alpha")
    asked = Problem.from_dict(data)
    plan, bound = search(asked, 300), max_alpha_bound(world(asked))
    assert check(data, plan.to_dict()) == []
    assert plan.value <= min(bound.value, plan.bound) * (1 + 1e-9)
    return plan


@pytest.mark.parametrize("factor", [1e-9, 1e-6, 1e6])
def test_plans_and_bounds_follow_the_scale_of_the_demand(factor):
    plan, as_given = planned(factor), planned(1.0)
    assert plan.value * factor == pytest.approx(as_given.value, rel=1e-6)
    assert plan.bound * factor == pytest.approx(as_given.bound, rel=1e-4)
