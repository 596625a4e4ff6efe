"""Plans made from a previous plan: what stays, what moves at what price, and in which order."""

import random

import pytest

from orchestrator.errors import DeploymentError, PlanRefusedError
from orchestrator.placement import Change, Pace, Problem, plan_diff, solve
from orchestrator.placement.problem import PreviousCard
from tests.placement.build import MIB, cards, model, problem
from tests.placement.checker import check


def before(**held):
    return [{"card": f"local/{card[1:]}", "models": names} for card, names in held.items()]


def read(models, slots, **rest):
    return Problem.from_dict(problem(models, slots, **rest))


def busy(name, demand, weights=10, **rest):
    return model(name, weights, service_ms=10, demand_rps=demand, **rest)


def sets(plan):
    return {card.card: set(card.models) for card in plan.cards}


def test_loads_are_split_anew_where_that_is_enough():
    models = [busy("a", 60), busy("b", 20)]
    data = read(
        models, cards(2, 50), objective="max_alpha", previous_plan=before(c0=["a"], c1=["a", "b"])
    )
    plan = solve(data)
    assert (plan.moves, plan.restarts, plan.bytes_loaded) == (0, 0, 0)
    assert plan.alpha == pytest.approx(2 / 0.8)
    assert plan_diff(data, plan).lines() == ["nothing changes but the loads"]


def test_a_replica_without_load_stays_where_its_card_would_be_restarted_without_it():
    models = [busy("a", 20), busy("b", 10), busy("c", 60, max_replicas=1)]
    held = before(c0=["a", "c"], c1=["a", "b"])
    data = read(models, cards(2, 50), objective="max_alpha", previous_plan=held)
    plan = solve(data)
    assert sets(plan) == {"local/0": {"a", "c"}, "local/1": {"a", "b"}}
    assert {(load.model, load.card) for load in plan.loads if load.rps} == {
        ("a", "local/1"),
        ("b", "local/1"),
        ("c", "local/0"),
    }
    assert (plan.moves, plan.restarts, plan.bytes_loaded) == (0, 0, 0)


def test_a_card_that_does_nothing_any_more_is_given_up():
    held = before(c0=["a", "b"], c1=["a", "b"])
    data = read([busy("a", 20), busy("b", 10)], cards(2, 50), previous_plan=held)
    for limit in (None, 0):
        plan = solve(data, moves=limit)
        assert len(sets(plan)) == 1
        assert (plan.moves, plan.restarts, plan.bytes_loaded) == (0, 0, 0)


def test_the_curve_shows_what_moves_bring():
    models = [busy("a", 40), busy("b", 40), busy("c", 40), busy("d", 40)]
    held = before(c0=["a", "b", "c", "d"])
    data = read(models, cards(2, 45), objective="max_alpha", previous_plan=held)
    plan = solve(data)
    assert next((point.moves, round(point.alpha, 3)) for point in plan.curve) == (0, 0.625)
    assert [point.moves for point in plan.curve] == sorted({p.moves for p in plan.curve})
    assert plan.alpha == pytest.approx(1.25)
    assert plan.moves == plan.curve[-1].moves == 2
    limited = solve(data, moves=1)
    assert limited.moves == 1
    assert 0.625 < limited.alpha < 1.25


def test_a_limit_on_moves_that_cannot_be_kept():
    data = read([model("a", 10), model("b", 10)], cards(2, 50), previous_plan=before(c0=["a"]))
    with pytest.raises(PlanRefusedError) as caught:
        solve(data, moves=0)
    assert str(caught.value) == (
        "no plan was found that moves at most 0 replicas\n  fits if: moves 1"
    )
    assert solve(data, moves=1).moves == 1


def test_fewer_cards_are_worth_moves():
    data = read(
        [model("a", 10), model("b", 10), model("c", 10)],
        cards(3, 50),
        previous_plan=before(c0=["a"], c1=["b", "c"]),
    )
    plan = solve(data)
    assert sets(plan) == {"local/1": {"a", "b", "c"}}
    assert [(point.moves, point.cards_used) for point in plan.curve] == [(0, 2), (1, 1)]
    assert sets(solve(data, moves=0)) == {"local/0": {"a"}, "local/1": {"b", "c"}}


def test_cards_that_are_alike_keep_what_they_have():
    rng = random.Random(3)
    models = [busy(f"m{i}", rng.uniform(5, 20), rng.randint(5, 30)) for i in range(20)]
    data = read(models, cards(5, 100), objective="max_alpha")
    plan = solve(data)
    shuffled = list(plan.cards)
    held = [
        PreviousCard(slot.name, card.models)
        for slot, card in zip(reversed(data.cards), shuffled, strict=False)
    ]
    again = Change(tuple(held)).of(data)
    assert solve(again).moves == 0


def test_lost_cards_and_models_are_left_out_of_the_previous_plan():
    data = read([model("a", 10)], cards(1, 50))
    held = (PreviousCard("gone/0", ("a",)), PreviousCard("local/0", ("a", "old")))
    assert Change(held).of(data).previous_plan == (PreviousCard("local/0", ("a",), ended=("old",)),)
    assert Change().of(data) is data


def test_a_card_is_restarted_to_be_rid_of_a_model_that_is_gone():
    data = read([model("a", 10), model("b", 10)], cards(2, 15))
    held = (PreviousCard("local/0", ("a", "old")), PreviousCard("local/1", ("b",)))
    again = Change(held).of(data)
    plan = solve(again)
    assert (plan.moves, plan.restarts, plan.bytes_loaded) == (0, 1, 10 * MIB)
    assert plan_diff(again, plan).replaced == ("local/0",)
    assert Problem.from_dict(again.to_dict()) == again


def test_a_limit_on_moves_holds_although_all_cards_are_gone():
    data = read([model("a", 10), model("b", 10)], cards(1, 50))
    all_gone = Change((PreviousCard("gone/0", ("a", "b")),)).of(data)
    plan = solve(all_gone)
    assert (plan.moves, plan.restarts, plan.bytes_loaded) == (2, 0, 20 * MIB)
    with pytest.raises(PlanRefusedError, match="moves at most 1 replicas\n  fits if: moves 2"):
        solve(all_gone, moves=1)


def test_new_models_go_beside_what_runs():
    data = read(
        [model("a", 10), model("b", 30), model("new", 10)],
        cards(3, 50),
        previous_plan=before(c1=["a", "b"]),
    )
    plan = solve(data)
    assert sets(plan) == {"local/1": {"a", "b", "new"}}
    assert (plan.moves, plan.restarts, plan.bytes_loaded) == (1, 1, 50 * MIB)
    assert check({**data.to_dict()}, plan.to_dict()) == []


def changed(models, slots, held, target):
    """The steps from one placement to another, both given."""
    data = read(models, slots, previous_plan=held)
    plan = solve(read([{**m, "cards": target[m["name"]]} for m in models], slots))
    return plan_diff(data, plan, Pace(drain=1, stop=1, wait=1, start=5, load_bytes_per_second=MIB))


def test_a_card_is_drained_stopped_waited_for_and_started():
    diff = changed(
        [model("a", 10), model("b", 10)], cards(1, 50), before(c0=["a"]),
        {"a": ["local/0"], "b": ["local/0"]},
    )  # fmt: skip
    assert [str(step) for step in diff.steps] == [
        "drain local/0: a",
        "stop local/0: a",
        "wait local/0",
        "start local/0: a, b",
    ]
    assert diff.replaced == ("local/0",)
    assert diff.outages == {"a": 1 + 1 + 1 + 5 + 20}
    assert diff.lines()[-1] == "a cannot be served for about 28 s"
    assert diff.to_dict()["outages_s"] == {"a": 28.0}


def test_a_spare_card_stands_in():
    diff = changed(
        [model("a", 10), model("b", 10)], cards(2, 50), before(c0=["a"]),
        {"a": ["local/0"], "b": ["local/0"]},
    )  # fmt: skip
    assert [str(step) for step in diff.steps] == [
        "start local/1 (stand-in): a",
        "drain local/0: a",
        "stop local/0: a",
        "wait local/0",
        "start local/0: a, b",
        "drain local/1 (stand-in): a",
        "stop local/1 (stand-in): a",
        "wait local/1 (stand-in)",
    ]
    assert diff.outages == {}
    assert diff.lines()[-1] == "every model stays served throughout"


def test_what_starts_elsewhere_starts_first():
    diff = changed(
        [model("a", 10), model("b", 10)], cards(2, 50), before(c0=["a", "b"]),
        {"a": ["local/0"], "b": ["local/1"]},
    )  # fmt: skip
    assert str(diff.steps[0]) == "start local/1: b"
    assert diff.started == ("local/1",)
    assert set(diff.outages) == {"a"}


def test_a_problem_must_not_name_a_card_that_is_gone():
    with pytest.raises(DeploymentError, match=r"previous_plan\[0\]: no card is called 'local/9'"):
        read([model("a")], cards(1, 50), previous_plan=before(c9=["a"]))


def test_a_stand_in_stays_as_long_as_somebody_leans_on_it():
    """Two cards change places: the first one's model has nobody else until both are done."""
    diff = changed(
        [model("m", 30), model("n", 30)], cards(3, 50), before(c0=["m"], c1=["n"]),
        {"m": ["local/1"], "n": ["local/0"]},
    )  # fmt: skip
    assert [str(step) for step in diff.steps] == [
        "start local/2 (stand-in): m",
        "drain local/0: m",
        "stop local/0: m",
        "wait local/0",
        "start local/0: n",
        "drain local/1: n",
        "stop local/1: n",
        "wait local/1",
        "start local/1: m",
        "drain local/2 (stand-in): m",
        "stop local/2 (stand-in): m",
        "wait local/2 (stand-in)",
    ]
    assert diff.outages == {}


def test_several_spare_cards_stand_in_for_one():
    diff = changed(
        [model("a", 20), model("b", 20), model("c", 5)],
        [*cards(1, 80), *({**card, "name": f"s/{i}"} for i, card in enumerate(cards(2, 35)))],
        before(c0=["a", "b"]),
        {name: ["local/0"] for name in "abc"},
    )
    stand_ins = [step for step in diff.steps if step.stone and step.action == "start"]
    assert sorted(step.models for step in stand_ins) == [("a",), ("b",)]
    assert diff.outages == {}


def test_who_is_served_elsewhere_while_another_card_changes_goes_last():
    models = [model("x", cards=["n/1"]), model("y", cards=["n/0", "n/2"], min_replicas=2)]
    held = [{"card": f"n/{i}", "models": on} for i, on in enumerate((["x"], ["x", "y"], ["y"]))]
    data = read(models, cards(3, 9, node="n"), previous_plan=held)
    diff = plan_diff(data, solve(data))
    assert [step.card for step in diff.steps if step.action == "start"] == ["n/1", "n/0"]
    assert diff.outages == {}


def test_of_few_cards_the_order_is_taken_that_leaves_the_fewest_without_service():
    diff = changed(
        [model(name) for name in "abc"],
        cards(3, 9),
        before(c0=["b"], c1=["a", "c"], c2=["b"]),
        {"b": ["local/1"], "c": ["local/1"], "a": ["local/2"]},
    )
    assert diff.stopped == ("local/0",)
    assert [step.card for step in diff.steps if step.stone and step.action == "start"] == [
        "local/0"
    ]
    assert diff.outages == {}


def test_what_leaves_for_good_is_told():
    models = [model("a", 10), model("b", 10, min_replicas=0)]
    data = read(models, cards(1, 50), previous_plan=before(c0=["a", "b"]))
    plan = solve(read(models[:1], cards(1, 50)))
    diff = plan_diff(data, plan)
    assert (diff.ended, set(diff.outages)) == (("b",), {"a"})
    assert diff.lines()[-1] == "b is not served any more"


def test_a_card_that_is_to_share_no_more_is_replaced():
    held = [{**one, "share_workspace": False} for one in before(c0=["a", "b"])]
    models = [model("a", 10, workspace=30), model("b", 10, workspace=30)]
    data = read(models, cards(1, 60), previous_plan=held)
    plan = solve(data)  # both workspaces have no room
    assert (plan.moves, plan.restarts, plan.bytes_loaded) == (0, 1, 20 * MIB)
    assert plan_diff(data, plan).replaced == ("local/0",)
    assert Problem.from_dict(data.to_dict()).previous_plan == data.previous_plan


def test_outages_are_told_by_the_loads_that_were_seen():
    data = read([model("a", 10), model("b", 10)], cards(1, 50), previous_plan=before(c0=["a"]))
    diff = plan_diff(data, solve(data), Pace.seen([3.0, 40.0]))
    assert diff.outages == {"a": Pace().drain + Pace().stop + Pace().wait + 2.0 + 40.0}
    assert Pace.seen([]) == Pace()


def test_a_plan_that_moves_little_is_found_with_a_limit_too():
    timed = [("a", 2, 16, 16, 10), ("b", 30, 19, 12, 90), ("c", 29, 13, 5, 10), ("d", 5, 6, 9, 30)]
    models = [
        model(name, size, level, 4, service_ms=ms, demand_rps=rps)
        for name, size, level, ms, rps in (*timed, ("e", 23, 38, 10, 5))
    ]
    models[2]["min_replicas"] = 2
    slots = [*cards(1, 120), *cards(1, 100, start=1), *cards(1, 130, start=2)]
    data = read(models, slots, previous_plan=before(c0=["a", "c", "d"], c2=["b", "c", "e"]))
    free = solve(data)
    assert free.moves > 0
    assert solve(data, moves=free.moves).value == free.value
