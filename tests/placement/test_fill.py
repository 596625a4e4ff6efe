"""Filling cards evenly: memory and time together, and no longer than there is time."""

import numpy as np
import pytest

from benchmarks.placement.instances import Cell, make
from orchestrator.placement import Problem
from orchestrator.placement.groups import world
from orchestrator.placement.search.bounds import min_cards_bound
from orchestrator.placement.search.dense import TASTES, pack
from orchestrator.placement.search.fill import FEW, STEEP, fill, place
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.outline import outline
from orchestrator.placement.search.sheet import sheet
from tests.placement.build import cards, model, problem


@pytest.fixture(scope="module")
def skewed():
    return world(Problem.from_dict(make(Cell.parse("zipf/load/1000/same"), 0)))


def test_hot_models_and_large_ones_share_cards_near_the_bound(skewed):
    page, bound = sheet(skewed), min_cards_bound(skewed).value
    limit = page.speed.copy()
    limit[round(1.08 * bound) :] = -1
    found = fill(page, STEEP[0], limit, soft=True)
    assert found.peak() <= 1.0
    assert all(map(found.legal, range(page.cards)))
    assert all(map(found.spread_kept, range(page.groups)))
    assert found.used() < 0.85 * fill(page, FEW[0], page.speed).used()


def test_a_constructor_that_is_late_finds_nothing(skewed):
    page = sheet(skewed)
    assert fill(page, FEW[0], page.speed, late=lambda: True) is None
    assert pack(page, TASTES[0], page.speed, lambda: True) is None


def test_large_workspaces_are_planned_for_as_few_cards_as_hold_them():
    models = [model(f"big{i}", 20, 50) for i in range(4)]
    models += [model(f"small{i}", 30, 10) for i in range(4)]
    page = sheet(world(Problem.from_dict(problem(models, cards(4, 100)))))
    planned = outline(page, np.ones(page.groups, np.int64), page.speed)
    mib = 1 << 20
    assert sorted((planned // mib).tolist(), reverse=True) == [50, 50, 10, 10]
    assert not outline(page, np.ones(page.groups, np.int64), -page.speed).any()


def test_a_group_that_has_all_its_replicas_still_goes_to_the_nodes_that_it_lacks():
    slots = [*cards(2, 50), {**cards(1, 50)[0], "name": "far/0", "node": "far"}]
    page = sheet(world(Problem.from_dict(problem([model("a", 10, spread_nodes=2)], slots))))
    near = [index for index in range(page.cards) if page.node[index] == page.node[-1]]
    layout = Layout(page)
    for card in near:
        layout.add(0, card, 0)
    assert len(near) == page.low[0]
    assert place(layout, 0, "tightest", page.speed, 0)
    assert layout.at[0] == set(range(page.cards))
