"""The same objects, built in Python, with the same checks."""

import pytest
from pydantic import ValidationError

from actors.memory import AllocationRule
from orchestrator.config import (
    Allocation,
    Batching,
    Cards,
    Deployment,
    EmulatedTimes,
    Lite,
    ModelSpec,
    Padding,
    Placement,
    Replicas,
    Shapes,
    parse_deployment,
)
from orchestrator.errors import DeploymentError


def deployment(**changes) -> Deployment:
    fields = {
        "name": "ocr",
        "cards": Cards(kind="emulated", count=2, capacity=160 << 20),
        "models": [ModelSpec(name="det", path="/models/det.mindir")],
    }
    return Deployment(**fields | changes)


def refused(make) -> str:
    with pytest.raises(DeploymentError) as caught:
        make()
    return str(caught.value)


def test_numbers_are_bytes_and_seconds():
    made = ModelSpec(name="det", path="/d.mindir", service_time=0.012, max_delay="50ms")
    assert (made.service_time, made.max_delay) == (0.012, 0.05)
    assert Cards(kind="cpu", capacity="1GiB") == Cards(kind="cpu", capacity=1 << 30)


def test_an_object_says_the_same_as_the_file():
    built = deployment(
        models=[
            ModelSpec(
                name="det",
                path="/models/det.mindir",
                shapes=Shapes(gears=({"x": (1, 3)}, {"x": (4, 3)})),
                replicas=Replicas(min=1, max=2),
                batching=Batching(max_wait="2ms", padding=(Padding(input="x", axis=1),)),
                emulated=EmulatedTimes(execute="5ms"),
                lite=Lite(options={"section": {"key": 1}}),
            )
        ],
        placement=Placement(max_utilisation=0.5),
    )
    read = parse_deployment(
        {
            "name": "ocr",
            "cards": {"kind": "emulated", "count": 2, "capacity": "160MiB"},
            "models": [
                {
                    "name": "det",
                    "path": "/models/det.mindir",
                    "shapes": {"gears": [{"x": [1, 3]}, {"x": [4, 3]}]},
                    "replicas": {"max": 2},
                    "batching": {"max_wait": "2ms", "padding": [{"input": "x", "axis": 1}]},
                    "emulated": {"execute": ["5ms"]},
                    "lite": {"options": {"section": {"key": "1"}}},
                }
            ],
            "placement": {"max_utilisation": 0.5},
        }
    )
    assert built == read
    assert parse_deployment(built.as_data()) == built


def test_a_section_names_itself_and_its_problems():
    assert refused(lambda: Cards(kind="emulatd", count=0, typ="310P")) == (
        "Cards: kind: 'emulatd' is none of ascend, cpu, emulated, did you mean 'emulated'?\n"
        "Cards: count: must be at least 1, got 0\n"
        "Cards: unknown field 'typ', did you mean 'type'?"
    )


def test_a_nested_section_given_as_a_mapping_is_checked_in_place():
    text = refused(lambda: deployment(models=[{"name": "det", "path": "/d", "thread": 2}]))
    assert text == "Deployment: models[0] (det): unknown field 'thread', did you mean 'threads'?"


def test_rules_between_models_hold():
    pair = [ModelSpec(name="det", path="/d"), ModelSpec(name="det", path="/e")]
    assert refused(lambda: deployment(models=pair)) == (
        "Deployment: models[1] (det): name: 'det' is also the name of models[0]"
    )
    assert refused(lambda: deployment(placement=Placement(spread={"dett": 2}))) == (
        "Deployment: placement.spread.dett: there is no model 'dett', did you mean 'det'?"
    )


def test_nothing_can_be_changed_afterwards():
    with pytest.raises(ValidationError):
        deployment().name = "other"


def test_negative_and_infinite_numbers_are_refused():
    assert refused(lambda: Cards(kind="cpu", capacity=-1)) == (
        "Cards: capacity: cannot be negative, got -1"
    )
    assert refused(lambda: EmulatedTimes(execute=float("nan"))) == (
        "EmulatedTimes: execute[0]: must be between 0s and 24h, got nan"
    )
    assert refused(lambda: Batching(max_wait=True)) == (
        "Batching: max_wait: expected a duration such as 5ms, got True"
    )


def test_an_allocation_rule_of_ones_own():
    own = Allocation(pad=0, granule="64KiB", large_granule="2MiB", large_above="1MiB")
    cards = Cards(kind="ascend", allocation=own)
    assert deployment(cards=cards).rule == AllocationRule(0, 64 << 10, 2 << 20, 1 << 20)


def test_plain_data_needs_units_as_the_file_does():
    data = deployment().as_data() | {"cards": {"kind": "cpu", "capacity": 5}}
    assert refused(lambda: parse_deployment(data, "plan.json")) == (
        "plan.json: cards.capacity: 5 needs its unit: write 5MiB or 5B"
    )
