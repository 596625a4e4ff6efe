"""From what cards hold to a new plan: only what differs is replaced, and in a good order."""

from dataclasses import replace
from pathlib import Path

import pytest

from actors.messages import CardOrder
from orchestrator.placement import DeploymentPlan, order_of, same_work, transition
from tests.runtime.deployments import model, planned


def plan_of(*models: dict, count: int = 2) -> DeploymentPlan:
    return planned(*models, count=count)


def held(plan: DeploymentPlan) -> dict[str, CardOrder]:
    return {slot: plan.orders(slot) for slot in plan.slots}


def steps(before: DeploymentPlan, after: DeploymentPlan) -> list[str]:
    return [str(step) for step in transition(held(before), after).steps]


def on(name: str, *cards: str, **fields: object) -> dict:
    return model(name, Path(f"/m/{name}.mindir"), cards=list(cards), **fields)


A, B = on("a", "local/0"), on("b", "local/1")


def test_an_equal_plan_changes_nothing() -> None:
    assert steps(plan_of(A, B), plan_of(A, B)) == []


@pytest.mark.parametrize("changed", [{"threads": 2}, {"path": "/m/other.mindir"}])
def test_a_card_with_the_same_models_is_replaced_when_they_are_built_otherwise(changed) -> None:
    before, after = plan_of(A, B), plan_of(A | changed, B)
    assert steps(before, after) == [
        "drain local/0: a",
        "stop local/0: a",
        "wait local/0",
        "start local/0: a",
    ]
    assert transition(held(before), after).kept == ("local/1",)


def test_bytes_that_only_plans_reckon_with_replace_nothing() -> None:
    order = plan_of(A, B).orders("local/0")
    assert same_work(order, replace(order, reserve_bytes=1 << 20, overhead_bytes=3))
    assert not same_work(order, replace(order, share_workspace=not order.share_workspace))


def test_a_model_that_the_deployment_has_no_more_is_told() -> None:
    found = transition(held(plan_of(A, B, on("c", "local/0"))), plan_of(A, B))
    assert [str(step) for step in found.steps] == [
        "drain local/0: a, c",
        "stop local/0: a, c",
        "wait local/0",
        "start local/0: a",
    ]
    assert found.ended == ("c",)
    assert found.lines()[-1] == "c is not served any more"


def test_cards_that_hold_only_what_nobody_wants_stop_first() -> None:
    found = transition(held(plan_of(A, B)), plan_of(A, on("c", "local/1")))
    assert [str(step) for step in found.steps] == [
        "drain local/1: b",
        "stop local/1: b",
        "wait local/1",
        "start local/1: c",
    ]
    assert found.stopped == ()
    gone = transition(held(plan_of(A, B)), plan_of(A))
    assert (gone.stopped, gone.kept) == (("local/1",), ("local/0",))


def test_a_card_that_is_there_no_more_stops_last() -> None:
    after = plan_of(on("a", "local/0"), on("b", "local/0"), count=1)
    assert steps(plan_of(A, B), after) == [
        "drain local/0: a",
        "stop local/0: a",
        "wait local/0",
        "start local/0: a, b",
        "drain local/1: b",
        "stop local/1: b",
        "wait local/1",
    ]


def test_a_card_that_is_there_no_more_serves_until_it_stops() -> None:
    both = {"replicas": 2}
    before = plan_of(on("a", "local/0", "local/1", **both), count=2)
    found = transition(held(before), plan_of(on("a", "local/0", threads=2), count=1))
    starts = [str(step) for step in found.steps if step.action in ("stop", "start")]
    assert starts == ["stop local/0: a", "start local/0: a", "stop local/1: a"]
    assert (found.stopped, found.outages) == (("local/1",), {})


def test_a_stand_in_is_told_to_load_what_it_stands_in_for() -> None:
    free = model("a", Path("/m/a.mindir"))
    before, after = plan_of(free, count=2), plan_of(free | {"threads": 2}, count=2)
    (used,) = before.slots
    found = transition(held(before), after)
    stand_in = next(step for step in found.steps if step.stone)
    order = order_of(stand_in, after)
    assert order.slot == stand_in.card != used
    assert [(one.name, one.threads) for one in order.models] == [("a", 2)]
    assert found.outages == {}
