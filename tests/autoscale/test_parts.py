"""The forecast, the meter, which cards are taken, and the plan on other cards."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import PlanRefusedError
from orchestrator.autoscale import (
    CardReport,
    Meter,
    Ran,
    Waiting,
    choose_cards,
    finish_seconds,
    floor_of,
    plan_scaled,
    worth_starting,
)
from tests.models import write_mlp
from tests.runtime.deployments import SIZES, WIDTH, model, planned

POSITIVE = st.floats(0.1, 1e4)


def test_when_work_is_done() -> None:
    assert finish_seconds(0, 1, 5) == 0
    assert finish_seconds(10, 2, 0) == 5
    assert finish_seconds(10, 2, 1) == 10
    assert finish_seconds(10, 2, 2) == math.inf
    assert finish_seconds(10, 1, 0, extra=1, later=4) == 7
    assert finish_seconds(10, 0, 0.5, extra=1, later=4) == 28


@given(POSITIVE, st.integers(0, 8), st.floats(0, 8), st.integers(1, 4), st.floats(0, 100))
def test_further_cards_never_delay_the_end(work, cards, offered, extra, later) -> None:
    without = finish_seconds(work, cards, offered)
    assert finish_seconds(work, cards, offered, extra, later) <= without * (1 + 1e-9)


@given(POSITIVE, st.integers(1, 8), st.floats(0.5, 100), st.integers(0, 8))
def test_the_longer_a_card_takes_to_load_the_fewer_are_worth_it(work, cards, load, most) -> None:
    now = worth_starting(work, cards, 0.0, load, most)
    assert 0 <= worth_starting(work, cards, 0.0, 2 * load, most) <= now <= most
    assert worth_starting(work, cards, cards + most + 1.0, load, most) == most


def test_the_meter_knows_what_arrives_and_how_long_a_row_takes() -> None:
    meter = Meter({"a": 0.001, "b": 0.0})
    rows = 0
    for second in range(60):
        rows += 100
        seconds = rows * 0.004
        report = CardReport(
            "n/0", 7, 2 * seconds, {"a": Ran(rows, seconds), "b": Ran(rows, seconds)}
        )
        loads = meter.look(float(second), [report], {"a": Waiting(5.0)})
    assert loads["a"].rate == pytest.approx(100, rel=0.01)
    assert loads["a"].row_seconds == pytest.approx(0.004, rel=0.01)
    assert loads["a"].work == pytest.approx(5 * 0.004, rel=0.01)
    # a process that was replaced starts to count anew; rows that wait have arrived
    report = CardReport("n/0", 8, 0.0, {"a": Ran(0, 0.0)})
    loads = meter.look(60.0, [report], {"a": Waiting(105.0)})
    assert loads["a"].rate == pytest.approx(100, rel=0.01)
    assert not loads["a"].idle
    assert loads["b"].idle


def test_cards_of_our_own_first_then_beside_them_and_the_loneliest_left_first() -> None:
    ours = ("a/0", "a/1", "b/0")
    assert choose_cards(ours, {}, 3) == ("a/0", "a/1", "b/0")
    assert choose_cards(ours, {"b": 2, "c": 8}, 5) == ("a/0", "a/1", "b/0", "b/1", "b/2")
    assert choose_cards(ours, {"c": 1}, 9, taken={"c/0"}) == (*ours, "c/1")
    assert choose_cards(ours, {"c": 1}, 2) == ("a/0", "a/1")
    assert choose_cards(("a/0", "b/0", "b/3"), {}, 2) == ("b/0", "b/3")
    assert choose_cards((), {}, 2) == ()


def test_more_cards_restart_none_and_fewer_hold_all(tmp_path: Path) -> None:
    hot = model("hot", write_mlp(tmp_path, "hot", width=WIDTH, rows=1), demand=100)
    cold = model("cold", write_mlp(tmp_path, "cold", width=WIDTH, rows=1, seed=1))
    one = planned(hot, cold, count=1)
    three = plan_scaled(one, ("local/0", "x/0", "x/1"), {"hot": 2500.0}, {})
    assert three.slots == ("local/0", "x/0", "x/1")
    assert three.plan.replicas("hot") == three.slots
    assert three.plan.restarts == 0
    assert three.deployment == one.deployment
    fewer = plan_scaled(three, ("x/0",), {"hot": 100.0}, {})
    assert {name for card in fewer.plan.cards for name in card.models} == {"hot", "cold"}


def test_the_fewest_cards_that_hold_all(tmp_path: Path) -> None:
    large = {**SIZES, "weights": "40MiB"}
    paths = [write_mlp(tmp_path, f"m{i}", width=WIDTH, rows=1, seed=i) for i in range(3)]
    plan = planned(*(model(p.stem, p) | {"sizes": large} for p in paths), count=4)
    assert floor_of(plan, 4) == 3
    with pytest.raises(PlanRefusedError):
        plan_scaled(plan, ("local/0", "local/1"), {}, {})
