"""Both judges, the independent checker and ``verify``, catch every corruption of a good plan."""

import copy
from dataclasses import replace

import pytest

from orchestrator.placement import Plan, Problem, solve, verify
from tests.placement.build import cards, model, problem
from tests.placement.checker import check

DATA = problem(
    [
        model("a", 30, 20, service_ms=10, demand_rps=150, min_replicas=2, spread_nodes=2),
        model("b", 30, 30, service_ms=5, demand_rps=10),
        model("c", 30, 5),
    ],
    [*cards(2, 100, "x"), *cards(2, 100, "y")],
    anti_affinity=[["a", "c"]],
)
PLAN = solve(Problem.from_dict(DATA)).to_dict()


def entry(plan, name):
    return next(one for one in plan["plan"] if name in one["models"])


def loses_a_load(data, plan):
    plan["loads"] = [x for x in plan["loads"] if x["model"] != "b"]


def repeats_a_load(data, plan):
    plan["loads"].append(plan["loads"][0])


def loads_nobody(data, plan):
    plan["loads"].append({"model": "c", "card": entry(plan, "a")["card"], "rps": 1.0})


def loses_a_card(data, plan):
    plan["plan"].remove(entry(plan, "c"))


def invents_a_card(data, plan):
    entry(plan, "c")["card"] = "z/9"


def repeats_a_card(data, plan):
    plan["plan"].append(copy.deepcopy(entry(plan, "c")))


def repeats_a_model(data, plan):
    entry(plan, "c")["models"].append("c")


def invents_a_model(data, plan):
    entry(plan, "c")["models"].append("nobody")


def has_too_few_replicas(data, plan):
    data["models"][1]["min_replicas"] = 3


def has_too_many_replicas(data, plan):
    data["models"][0] |= {"min_replicas": 1, "max_replicas": 1}
    del data["models"][0]["spread_nodes"]


def halves_the_capacity(data, plan):
    for card in data["cards"]:
        card["capacity_bytes"] //= 2


def halves_the_speed(data, plan):
    for card in data["cards"]:
        card["speed"] = 0.5


def does_not_share(data, plan):
    for model_ in data["models"]:
        model_["threads"] = 3
    for one in plan["plan"]:
        one["share_workspace"] = False


def crowds_one_node(data, plan):
    for card in data["cards"]:
        card["node"] = "x"


def joins_enemies(data, plan):
    data["anti_affinity"] = [["b", "c"]]


def parts_friends(data, plan):
    data["affinity"] = [["a", "b"]]


def runs_out_of_streams(data, plan):
    data["models"][2]["streams"] = 4
    for card in data["cards"]:
        card["streams"] = 3


def leaves_its_pin(data, plan):
    data["models"][2]["cards"] = [entry(plan, "a")["card"]]


def waits_too_long(data, plan):
    data["models"][1]["max_delay_ms"] = 1
    data["models"][2]["batch_ms"] = 50


CORRUPTIONS = [
    loses_a_load,
    repeats_a_load,
    loads_nobody,
    loses_a_card,
    invents_a_card,
    repeats_a_card,
    repeats_a_model,
    invents_a_model,
    has_too_few_replicas,
    has_too_many_replicas,
    halves_the_capacity,
    halves_the_speed,
    does_not_share,
    crowds_one_node,
    joins_enemies,
    parts_friends,
    runs_out_of_streams,
    leaves_its_pin,
    waits_too_long,
]


def test_the_plan_is_good_before():
    assert check(DATA, PLAN) == []
    assert verify(Problem.from_dict(DATA), Plan.from_dict(PLAN)) == ()


@pytest.mark.parametrize("corrupt", CORRUPTIONS)
def test_corruption_is_caught(corrupt):
    data, plan = copy.deepcopy(DATA), copy.deepcopy(PLAN)
    corrupt(data, plan)
    assert check(data, plan)
    assert verify(Problem.from_dict(data), Plan.from_dict(plan))


def test_a_load_below_zero_is_caught():
    plan = copy.deepcopy(PLAN)
    plan["loads"][0]["rps"] = -1.0
    assert check(DATA, plan)
    good = Plan.from_dict(PLAN)
    bad = replace(good, loads=(replace(good.loads[0], rps=-1.0), *good.loads[1:]))
    assert verify(Problem.from_dict(DATA), bad)
