"""The bound by what is beside hot models, by hand and against the optimum of tiny problems."""

import random

import numpy as np
import pytest

from orchestrator.placement import Problem
from orchestrator.placement.groups import world
from orchestrator.placement.search.beside import beside_alpha
from orchestrator.placement.search.bounds import Items, max_alpha_bound
from orchestrator.placement.search.solve import bound_of, search
from tests.placement.build import cards, model, problem
from tests.placement.worlds import optimum

HOT = {"service_ms": 10, "demand_rps": 90}
WARM = {"service_ms": 10, "demand_rps": 20}


def scene(models, slots, **rest):
    return world(Problem.from_dict(problem(models, slots, "max_alpha", **rest)))


def beside(models, slots, **rest):
    found = scene(models, slots, **rest)
    return beside_alpha(Items(found), max_alpha_bound(found).value)


def test_what_takes_time_beside_a_hot_model_takes_it_from_that():
    models = [model("hot", 30, **HOT), model("a", 70, **WARM), model("b", 80, **WARM)]
    asked = scene(models, cards(2, 100))
    # One copy of hot is busy for 0.9, and there is no room for two; one of the others is with it.
    assert max_alpha_bound(asked).value == pytest.approx(1 / 0.9)
    found = bound_of(asked)
    assert found.name == "beside"
    assert 1 / 1.1 <= found.value < 1.0
    plan = search(asked.problem)
    assert plan.alpha == pytest.approx(1 / 1.1)
    assert plan.bound <= found.value


def test_a_copy_more_is_the_way_out_where_there_is_room_for_it():
    models = [model("hot", 20, **HOT), model("a", 70, **WARM), model("b", 80, **WARM)]
    assert beside(models, cards(2, 100)) is None
    assert search(scene(models, cards(2, 100)).problem).alpha == pytest.approx(2 / 1.3)


def test_what_takes_no_time_may_be_beside_a_hot_model():
    models = [model("hot", 30, **HOT), model("a", 70), model("b", 80, **WARM)]
    assert beside(models, cards(2, 100)) is None
    assert search(scene(models, cards(2, 100)).problem).alpha == pytest.approx(1 / 0.9)


def test_memory_that_nobody_needs_may_be_lost():
    models = [model("hot", 30, **HOT), model("a", 70, **WARM), model("b", 80, **WARM)]
    assert beside(models, [*cards(2, 100), *cards(1, 80, start=2)]) is None


def test_the_work_of_a_card_that_is_slower_or_used_in_part_counts():
    models = [model("hot", 30, **HOT), model("a", 70, **WARM), model("b", 80, **WARM)]
    half = beside(models, cards(2, 100), max_utilisation=0.5)
    whole = beside(models, cards(2, 100))
    assert half.value == pytest.approx(whole.value / 2, rel=1e-4)
    slow = beside(models, [*cards(1, 100), *cards(1, 100, start=1, speed=0.5)])
    assert 1 / 1.1 <= slow.value < 1


def hot_problem(rng):
    """Few models that take much time beside some that take memory, on cards that are about full."""
    hot = [
        model(f"h{i}", rng.randint(5, 40), service_ms=10, demand_rps=rng.randint(55, 190))
        for i in range(rng.randint(1, 2))
    ]
    rest = [
        model(
            f"m{i}",
            rng.randint(20, 80),
            rng.choice([0, 0, 10]),
            service_ms=10,
            demand_rps=rng.choice([0, 1, 5, 20, 40]),
        )
        for i in range(rng.randint(1, 3))
    ]
    count = rng.choice([2, 2, 3]) if len(hot) + len(rest) < 5 else 2
    size = sum(one["weight_bytes"] for one in (*hot, *rest)) >> 20
    slots = [
        {**one, "speed": rng.choice([1.0, 1.0, 0.7])}
        for one in cards(count, -(-size // count) + rng.randint(0, 12))
    ]
    return problem([*hot, *rest], slots, "max_alpha")


def test_no_placement_of_tiny_problems_serves_more():
    rng, nearer = random.Random(5), 0
    for _ in range(60):
        data = hot_problem(rng)
        asked = world(Problem.from_dict(data))
        before = max_alpha_bound(asked).value
        found = beside_alpha(Items(asked), before)
        if found is None:
            continue
        best = optimum(data)
        assert best is None or best <= found.value * (1 + 1e-9)
        assert found.value < before
        nearer += 1
    assert nearer > 10


def test_no_plan_of_many_models_serves_more():
    rng, nearer = random.Random(1), 0
    for _ in range(12):
        models = [
            model(
                f"m{i}",
                rng.randint(5, 60),
                rng.randint(0, 4),
                service_ms=10,
                demand_rps=float(np.exp(rng.gauss(3.2, 1))),
            )
            for i in range(30)
        ]
        size = sum(one["weight_bytes"] for one in models) >> 20
        data = problem(models, cards(12, size // 11), "max_alpha")
        asked = Problem.from_dict(data)
        found = beside_alpha(Items(world(asked)), max_alpha_bound(world(asked)).value)
        plan = search(asked, 3000)
        nearer += found is not None
        assert plan.alpha <= plan.bound * (1 + 1e-9)
    assert nearer > 1
