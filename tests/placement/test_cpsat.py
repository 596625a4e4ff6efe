"""The optional solver: asked for by name, on small problems, with the extra installed."""

import sys

import pytest

from orchestrator.errors import DeploymentError
from orchestrator.placement import Problem, solve
from orchestrator.placement.groups import world
from orchestrator.placement.search.cpsat import improve, require
from orchestrator.placement.search.exact import MOST_PAIRS
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.sheet import sheet
from tests.placement.build import cards, model, problem
from tests.placement.checker import check

#: More than the planner solves exactly by itself: 28 models on 6 cards, of which one is too many.
SIZES = (31, 17, 43, 26, 22, 37, 29) * 4


def written(models, slots, objective="min_cards", **rest):
    return sheet(world(Problem.from_dict(problem(models, slots, objective, **rest))))


def stacked(page):
    """Every group on a card of its own, one after the other."""
    layout = Layout(page)
    for group in range(page.groups):
        layout.add(group, group % page.cards, int(page.work[group]))
    return layout


def test_it_is_needed_only_if_wanted_and_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ortools", None)
    small = Problem.from_dict(problem([model("m")], cards(1, 9)))
    assert solve(small).value == 1
    with pytest.raises(DeploymentError, match=r"needs ortools .*'ascend-orchestrator\[cpsat\]'"):
        solve(small, improver="cp-sat")


def test_what_it_cannot_take_is_said():
    pytest.importorskip("ortools")
    with pytest.raises(DeploymentError, match=r"300 x 7 = 2,100: .* or plan for 6 cards or fewer"):
        require(written([model(f"m{i}", 1) for i in range(300)], cards(7, 100)))
    with pytest.raises(DeploymentError, match="no max_delay"):
        require(written([model("m", 1, max_delay_ms=5)], cards(1, 100)))


def test_fewer_cards_and_their_proof_are_found():
    pytest.importorskip("ortools")
    page = written([model(f"m{i}", size) for i, size in enumerate(SIZES)], cards(9, 167))
    assert page.groups * page.cards > MOST_PAIRS
    found = improve(page, stacked(page), 5, few=True, seed=0)
    assert (found.layout.used(), found.bound.value) == (5, 5)


def test_a_larger_alpha_is_found_and_the_plan_repeats():
    pytest.importorskip("ortools")
    models = [
        model(f"m{i}", size, 20, service_ms=10, demand_rps=3 + 7 * i % 11)
        for i, size in enumerate(SIZES)
    ]
    data = problem(models, cards(6, 167), "max_alpha")
    plan = solve(Problem.from_dict(data), budget=300, improver="cp-sat")
    assert check(data, plan.to_dict()) == []
    assert plan == solve(Problem.from_dict(data), budget=300, improver="cp-sat")
    assert plan.alpha <= plan.bound * (1 + 1e-9)
