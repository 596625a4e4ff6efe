"""Tiny worlds: one rule each, with the plan that anyone would make by hand."""

import pytest

from orchestrator.placement import Problem, solve
from tests.placement.build import cards, model, problem
from tests.placement.checker import check


def solved(models, slots, objective="min_cards", **rest):
    data = problem(models, slots, objective, **rest)
    plan = solve(Problem.from_dict(data))
    assert check(data, plan.to_dict()) == []
    return plan


def held(plan):
    return {card.card: set(card.models) for card in plan.cards}


def test_workspaces_are_shared_so_that_four_fit_where_the_sum_would_not():
    plan = solved([model(f"m{i}", weights=10, workspace=60) for i in range(4)], cards(2, 100))
    assert held(plan) == {"local/0": {"m0", "m1", "m2", "m3"}}
    assert (plan.value, plan.bound, plan.gap, plan.stop_reason) == (1, 1, 0.0, "bound reached")


def test_dynamic_models_and_those_that_do_not_share_pay_for_every_thread():
    own = [
        model("a", 10, 30, threads=2, dynamic=True),
        model("b", 10, 30, threads=2, share_workspace=False),
    ]
    assert solved(own, cards(2, 140)).cards_used == 1
    assert solved(own, cards(2, 139)).cards_used == 2


def test_weights_that_are_not_shared_are_paid_for_every_thread():
    three = model("a", 30, threads=3, share_weights=False)
    assert solved([three, model("b", 10)], cards(2, 100)).cards_used == 1
    assert solved([three, model("b", 11)], cards(2, 100)).cards_used == 2


def test_overhead_and_reserve_come_off_the_card():
    pair = [model("a", 40), model("b", 40)]
    slots = cards(2, 100)
    slots[0] |= {"overhead_bytes": 10 << 20, "reserve_bytes": 10 << 20}
    slots[1] |= {"overhead_bytes": 10 << 20, "reserve_bytes": (10 << 20) + 1}
    assert held(solved(pair, slots)) == {"local/0": {"a", "b"}}


def test_streams_are_counted_for_every_thread():
    pair = [model("a", streams=2, threads=2), model("b", streams=1)]
    assert solved(pair, cards(2, 100, streams=5)).cards_used == 1
    assert solved(pair, cards(2, 100, streams=4)).cards_used == 2


def test_pins_kinds_and_types_are_kept():
    slots = [*cards(2, 100), *cards(1, 100, "x", kind="ascend", type="310P")]
    plan = solved(
        [
            model("pinned", cards=["local/1"]),
            model("kind", allowed_kinds=["ascend", "cpu"]),
            model("type", allowed_types=["310P"]),
        ],
        slots,
    )
    assert held(plan) == {"local/1": {"pinned"}, "x/0": {"kind", "type"}}


def test_replicas_spread_over_nodes():
    slots = [*cards(2, 100, "a"), *cards(2, 100, "b")]
    plan = solved([model("m", spread_nodes=2)], slots)
    assert held(plan) == {"a/0": {"m"}, "b/0": {"m"}}


def test_affinity_moves_a_model_to_its_friend_and_anti_affinity_parts_enemies():
    plan = solved(
        [model("a", cards=["local/1"]), model("b"), model("c")],
        cards(2, 100),
        affinity=[["a", "b"]],
        anti_affinity=[["b", "c"]],
    )
    assert held(plan) == {"local/0": {"c"}, "local/1": {"a", "b"}}
    assert plan.bound == 2
    assert plan.bound_name == "anti-affinity"


def test_demand_adds_replicas_and_never_beyond_max_utilisation():
    busy = model("m", service_ms=10, demand_rps=160)
    plan = solved([busy], cards(4, 100), max_utilisation=0.85)
    assert plan.cards_used == 2
    assert plan.alpha == pytest.approx(1.7 / 1.6)
    assert [load.rps for load in plan.loads] == pytest.approx([85, 85])


def test_faster_cards_take_more_load():
    slots = cards(1, 100) + cards(1, 100, start=1, speed=3.0)
    plan = solved([model("m", service_ms=10, demand_rps=400)], slots)
    assert plan.rps == {("m", "local/0"): pytest.approx(100), ("m", "local/1"): pytest.approx(300)}
    assert plan.alpha == pytest.approx(1.0)


def test_max_alpha_adds_replicas_while_that_helps_and_stops_at_the_limit():
    plan = solved(
        [model("a", service_ms=10, demand_rps=10), model("b", service_ms=10, demand_rps=10)],
        cards(3, 100),
        objective="max_alpha",
    )
    assert plan.alpha == pytest.approx(15)
    assert plan.gap < 1e-4
    capped = solved(
        [model("a", service_ms=10, demand_rps=10, max_replicas=1)], cards(3, 100), "max_alpha"
    )
    assert (capped.cards_used, capped.bound_name) == (1, "replica cap")
    assert capped.alpha == pytest.approx(10)


def test_a_slow_neighbour_that_must_not_be_waited_for_gets_another_card():
    quick = model("quick", workspace=60, max_delay_ms=5, service_ms=1)
    slow = model("slow", workspace=60, service_ms=2, batch_ms=20)
    assert solved([quick, slow], cards(2, 100)).cards_used == 2
    assert solved([quick, {**slow, "batch_ms": 5}], cards(2, 100)).cards_used == 1


def test_with_room_for_two_workspaces_nobody_waits_and_one_card_is_enough():
    quick = model("quick", workspace=40, max_delay_ms=5, service_ms=1)
    slow = model("slow", workspace=40, service_ms=20)
    plan = solved([quick, slow], cards(2, 100))
    assert [card.share_workspace for card in plan.cards] == [False]


def test_a_card_does_not_share_where_that_serves_more():
    gains = model("m", workspace=20, threads=2, service_ms=10, demand_rps=100, overlap=1.5)
    plan = solved([gains], cards(1, 100), "max_alpha")
    assert plan.alpha == pytest.approx(1.5)
    assert not plan.cards[0].share_workspace
    tight = solved([gains], cards(1, 30), "max_alpha")
    assert tight.alpha == pytest.approx(1.0)
    assert tight.cards[0].share_workspace


def test_without_demand_there_is_no_alpha():
    plan = solved([model("m")], cards(1, 10), "max_alpha")
    assert (plan.alpha, plan.value, plan.bound, plan.gap) == (None, None, None, None)
    assert plan.stop_reason == "no model has demand"


def test_moves_against_a_previous_plan_are_counted_and_avoided():
    slots = cards(3, 100)
    before = [{"card": "local/2", "models": ["a", "b"]}]
    plan = solved([model("a"), model("b")], slots, previous_plan=before)
    assert held(plan) == {"local/2": {"a", "b"}}
    assert plan.moves == 0
    assert solved([model("a")], slots).moves is None


def test_slots_are_taken_in_counting_order():
    plan = solved([model("m", 60), model("n", 60)], cards(12, 100)[::-1])
    assert sorted(held(plan)) == ["local/0", "local/1"]
