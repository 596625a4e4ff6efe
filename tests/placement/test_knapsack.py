"""Whole groups beside a hot copy: by hand and against the optimum of tiny problems."""

import random

import pytest

from orchestrator.placement import Problem
from orchestrator.placement.groups import world
from orchestrator.placement.search import knapsack
from orchestrator.placement.search.beside import beside_alpha
from orchestrator.placement.search.bounds import Items, max_alpha_bound
from orchestrator.placement.search.knapsack import Knapsacks
from orchestrator.placement.search.solve import search
from tests.placement.build import cards, model, problem
from tests.placement.worlds import optimum

HOT = {"service_ms": 10, "demand_rps": 90}
WARM = {"service_ms": 10, "demand_rps": 20}


def largest(models, slots):
    """The bound, and the alpha of the plan, of whole groups on these cards."""
    asked = world(Problem.from_dict(problem(models, slots, "max_alpha")))
    found = beside_alpha(Items(asked), max_alpha_bound(asked).value)
    return found and found.value, search(asked.problem).alpha


def test_a_group_is_not_cut_to_fill_the_card_of_a_hot_one():
    # 70 beside hot are 40 and 30, which takes time; one and three quarters of 40 would take none.
    rest = [model("a", 40), model("b", 40), model("c", 60, **WARM), model("d", 30, **WARM)]
    bound, alpha = largest([model("hot", 30, **HOT), *rest], cards(2, 100))
    assert alpha == pytest.approx(1 / 1.1)
    assert alpha <= bound <= alpha * 1.001


def test_what_is_free_need_not_be_filled():
    rest = [model("a", 40), model("b", 40), model("c", 60, **WARM), model("d", 30, **WARM)]
    bound, alpha = largest([model("hot", 40, **HOT), *rest], cards(2, 120))
    assert bound is None
    assert alpha == pytest.approx(1 / 0.9)


def test_a_large_workspace_may_fill_the_card():
    # With the workspace of 30 on the card, a is enough beside hot.
    rest = [model("a", 40, 30), model("b", 60, **WARM), model("c", 40, **WARM)]
    bound, alpha = largest([model("hot", 30, **HOT), *rest], cards(2, 100))
    assert bound is None
    assert alpha == pytest.approx(1 / 0.9)


def test_a_large_workspace_is_on_the_other_card_too_if_its_group_has_no_time_here():
    # A second copy of d would fill the card with a and its workspace, and b and c had no room then.
    rest = [model("a", 35), model("b", 65, **WARM), model("c", 30, **WARM)]
    busy = model("d", 5, 30, service_ms=10, demand_rps=30)
    bound, alpha = largest([model("hot", 30, **HOT), *rest, busy], cards(2, 100))
    assert alpha == pytest.approx(1 / 1.1)
    assert alpha <= bound <= alpha * 1.001


def test_a_second_copy_of_a_group_may_bring_its_workspace_and_take_little_time():
    rest = [model("a", 27, 10), model("b", 51, 25, service_ms=10, demand_rps=52)]
    split = model("d", 4, 24, service_ms=10, demand_rps=53)
    hot = model("hot", 37, service_ms=10, demand_rps=57)
    bound, alpha = largest([hot, *rest, split], [*cards(1, 93), *cards(1, 82, start=1)])
    assert bound is None
    assert alpha == pytest.approx(2 / 1.62)


def test_a_card_with_less_room_may_be_the_one_with_no_workspace():
    # Two workspaces of 20 fit the two large cards; a plan may as well have one on the small card.
    busy = model("a", 80, 20, service_ms=10, demand_rps=190)
    slots = [*cards(2, 200), *cards(1, 100, start=2)]
    bound, alpha = largest([model("hot", 150, **HOT), busy, model("b", 20)], slots)
    assert alpha == pytest.approx(2 / 1.9)
    assert alpha <= bound <= alpha * 1.001


def test_sizes_that_are_rounded_up_to_more_than_a_card_has_may_fit():
    idle = [{**model(f"m{i}"), "weight_bytes": 14_999 + 4 * (i == 7)} for i in range(8)]
    hot = {**model("hot", **HOT), "weight_bytes": 4}
    full = {**model("full", service_ms=10, demand_rps=80), "weight_bytes": 120_000}
    slots = [{**card, "capacity_bytes": 120_000} for card in cards(2, 1)]
    bound, alpha = largest([hot, full, *idle], slots)
    assert bound is None
    assert alpha == pytest.approx(1 / 0.9)


def crowded(rng):
    """One model that takes nearly all of a card's time, and some that fill about all memory."""
    count = rng.choice([2, 2, 2, 3])
    rest = [
        model(
            f"m{i}",
            rng.randint(1, 12) * rng.choice([1, 1, 3, 6]),
            rng.choice([0, 0, 2, 9, 20]),
            service_ms=10,
            demand_rps=rng.choice([0, 1, 4, 12, 30, 110]),
            min_replicas=rng.choice([1, 1, 1, 2]),
        )
        for i in range(6 - count)
    ]
    hot = model("hot", rng.randint(3, 30), rng.choice([0, 3]), service_ms=10, demand_rps=80)
    size = sum(one["weight_bytes"] * one["min_replicas"] for one in rest) >> 20
    size += hot["weight_bytes"] >> 20
    room, lean = -(-size // count) + rng.randint(0, 20), rng.choice([0, 0, 5, size // 8])
    slots = [
        {**one, "speed": rng.choice([1.0, 1.0, 0.8])}
        for one in (*cards(count - 1, room + lean), *cards(1, room - lean, start=count - 1))
    ]
    return problem([hot, *rest], slots, "max_alpha")


def test_no_placement_of_tiny_problems_serves_more(monkeypatch):
    rng, nearer = random.Random(3), 0
    for turn in range(90):
        monkeypatch.setattr(knapsack, "_PARTS", (60_000, 60)[turn % 2])
        data = crowded(rng)
        items = Items(asked := world(Problem.from_dict(data)))
        high = max_alpha_bound(asked).value
        found = beside_alpha(items, high)
        with monkeypatch.context() as without:
            without.setattr(Knapsacks, "possible", lambda *_: True)
            before = beside_alpha(items, high)
        if found is None or (before is not None and found.value > before.value * (1 - 1e-4)):
            continue
        best = optimum(data)
        assert best is None or best <= found.value * (1 + 1e-9)
        nearer += 1
    assert nearer > 8
