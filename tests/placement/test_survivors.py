"""Cards that are gone for good: what the others take over, and what nobody serves any more."""

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.placement import DeploymentPlan, plan_without, transition, unserved, verify
from tests.runtime.deployments import deployment, model, planned


def of(name: str, **fields: Any) -> dict[str, Any]:
    return model(name, Path(f"/m/{name}.mindir"), **fields)


def sized(name: str, mib: int, **fields: Any) -> dict[str, Any]:
    sizes = {"weights": f"{mib}MiB", "workspace": "1MiB", "io": "1MiB", "objects": "0B"}
    return of(name, **{"sizes": sizes, **fields})


def placed(plan: DeploymentPlan | None) -> dict[str, tuple[str, ...]]:
    assert plan is not None
    return {card.card: card.models for card in plan.plan.cards}


def test_what_only_the_lost_card_served_goes_to_another_and_nothing_else_moves() -> None:
    whole = planned(
        sized("a", 40, cards=["local/0"]),
        sized("b", 40),
        sized("c", 30, cards=["local/2"]),
        count=4,
    )
    [lost] = whole.plan.replicas("b")
    left = plan_without(whole, whole, {lost})
    other = {"local/1": "local/3", "local/3": "local/1"}[lost]
    assert placed(left) == {"local/0": ("a",), other: ("b",), "local/2": ("c",)}
    assert unserved(left) == ()
    held = {slot: whole.orders(slot) for slot in whole.slots if slot != lost}
    assert set(transition(held, left).kept) == {"local/0", "local/2"}
    assert plan_without(whole, left, set()) is whole


def test_fewer_replicas_than_wanted_are_better_than_none() -> None:
    whole = planned(of("a", replicas=2), of("b", replicas=2), count=2)
    left = plan_without(whole, whole, {"local/0"})
    assert placed(left) == {"local/1": ("a", "b")}
    assert DeploymentPlan.from_json(left.to_json()).plan == left.plan


def test_demand_that_the_others_cannot_serve_is_served_as_far_as_they_can() -> None:
    busy = {"demand": 700, "replicas": {"max": 2}}
    whole = planned(sized("a", 1, **busy), sized("b", 1, **busy), count=2)
    left = plan_without(whole, whole, {"local/1"})
    assert unserved(left) == ()
    assert left.plan.alpha is not None
    assert 0.4 < left.plan.alpha < 0.8


def test_what_has_no_room_left_is_named_and_what_the_others_hold_stays() -> None:
    whole = planned(sized("a", 40), sized("b", 40), sized("small", 5), count=2)
    lost = next(slot for slot in whole.slots if "b" in placed(whole)[slot])
    left = plan_without(whole, whole, {lost})
    assert unserved(left) == ("b",)
    assert sorted(name for names in placed(left).values() for name in names) == ["a", "small"]
    assert plan_without(whole, whole, set(whole.slots)) is None


def test_a_model_is_not_put_where_it_must_not_be() -> None:
    whole = planned(of("a", cards=["local/0"]), of("b", cards=["local/1"]), count=2)
    left = plan_without(whole, whole, {"local/1"})
    assert placed(left) == {"local/0": ("a",)}
    assert unserved(left) == ("b",)


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=5),
    st.integers(1, 4),
    st.sets(st.integers(0, 3)),
)
def test_any_loss_leaves_a_sound_plan_on_cards_that_are_left(
    sizes: list[int], count: int, gone: set[int]
) -> None:
    models = [sized(f"m{index}", mib) for index, mib in enumerate(sizes)]
    if sum(sizes) > 40:
        count = 4
    whole = planned(*models, count=max(count, len(sizes)))
    assert deployment(*models).models
    lost = {f"local/{index}" for index in gone}
    left = plan_without(whole, whole, lost)
    if left is None:
        assert {card.name for card in whole.problem.cards} <= lost
        return
    assert not lost & set(left.slots)
    assert verify(left.problem, left.plan) == ()
    kept = {name for slot, names in placed(whole).items() if slot not in lost for name in names}
    assert kept.isdisjoint(unserved(left)), "what the others hold goes on"
