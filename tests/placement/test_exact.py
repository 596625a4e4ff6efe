"""Small problems solved exactly: plans that greed does not find, and proofs that they are best."""

import pytest

from benchmarks.placement.instances import Cell, make
from orchestrator.placement import Problem, solve
from orchestrator.placement.groups import world
from orchestrator.placement.search.exact import small, solve_exactly
from orchestrator.placement.search.sheet import sheet
from tests.placement.build import cards, model, problem
from tests.placement.checker import check


def written(models, slots, objective="min_cards", **rest):
    return sheet(world(Problem.from_dict(problem(models, slots, objective, **rest))))


#: Three cards of 100 that only this packing fills: 47 + 53, 47 + 53, 20 + 27 + 53.
TIGHT = [model(f"m{i}", size) for i, size in enumerate((53, 53, 53, 47, 47, 27, 20))]


def test_a_packing_without_any_slack_is_found():
    data = problem(TIGHT, cards(3, 100))
    plan = solve(Problem.from_dict(data))
    assert check(data, plan.to_dict()) == []
    assert (plan.value, plan.gap) == (3, 0.0)


def test_the_fewest_cards_are_proven_where_the_bound_by_bytes_is_not_tight():
    odd = [model(f"m{i}", 34) for i in range(5)]
    plan = solve(Problem.from_dict(problem([*odd, model("x", 1)], cards(4, 100))))
    assert (plan.value, plan.bound, plan.stop_reason) == (3, 3, "bound reached")


def test_the_largest_alpha_is_proven():
    loads = (5, 5, 4, 4, 3, 3)
    models = [
        model(f"m{i}", 50, service_ms=10, demand_rps=load, max_replicas=1)
        for i, load in enumerate((*loads, 2))
    ]
    slots = [*cards(2, 150), *cards(1, 50, start=2)]
    data = problem(models, slots, "max_alpha")
    plan = solve(Problem.from_dict(data))
    assert check(data, plan.to_dict()) == []
    assert plan.gap <= 1e-4
    assert plan.alpha == pytest.approx(100 / 11)


def test_that_large_models_leave_time_unused_is_proven():
    # Twelve on three cards: work over time says 1.176.
    data = make(Cell.parse("llm/tight/12/same"), 3)
    page = sheet(world(Problem.from_dict(data)))
    found = solve_exactly(page, few=False, limit=1.1765)
    assert found.layout is not None
    assert 1 / found.layout.peak() == pytest.approx(1.1091, abs=1e-4)
    assert found.bound.value == pytest.approx(1 / found.layout.peak(), rel=1e-4)


def test_every_rule_is_in_the_program():
    slots = [*cards(2, 100, "a", streams=4), *cards(2, 100, "b", streams=4)]
    models = [
        model("wide", 10, spread_nodes=2, streams=2),
        model("pinned", 10, cards=["a/1"], streams=1),
        model("foe", 10, min_replicas=2, streams=1),
        model("busy", 10, service_ms=10, demand_rps=150, streams=1),
    ]
    rules = {"anti_affinity": [["pinned", "foe"]], "affinity": [["busy", "wide"]]}
    data = problem(models, slots, **rules)
    found = solve_exactly(written(models, slots, **rules), few=True, limit=1)
    assert found.layout is not None
    assert found.bound.value == found.layout.used() == 3
    plan = solve(Problem.from_dict(data))
    assert check(data, plan.to_dict()) == []
    assert plan.value == 3


def test_what_cannot_be_has_no_placement():
    found = solve_exactly(
        written([model("a", 60), model("b", 60)], cards(1, 100)), few=True, limit=1
    )
    assert found.layout is None
    many = written([model(f"m{i}", 1) for i in range(200)], cards(1, 1000))
    assert not small(many)
