"""What a deployment says of times, rules and shares of work arrives in the problem and its plan."""

from dataclasses import replace

import pytest

from actors.messages import Gear, GearMeasurement, Measurement
from orchestrator.config import parse_deployment
from orchestrator.errors import DeploymentError, PlanRefusedError
from orchestrator.inventory import Inventory
from orchestrator.placement import plan_deployment, problem_of
from orchestrator.profiles import ProfileCache, collect

SIZES = {"weights": "5MiB", "workspace": "40MiB", "io": "1MiB"}
GEARS = [{"x": [1, 8]}, {"x": [8, 8]}]
MEASURED = Measurement(
    weight_bytes=5 << 20,
    object_bytes=0,
    streams=0,
    dynamic=False,
    inputs=(),
    outputs=(),
    gears=tuple(
        GearMeasurement(Gear((("x", (rows, 8)),)), 40 << 20, (1 << 20,), ms, 1.0, 1.0)
        for rows, ms in ((1, 10.0), (8, 24.0))
    ),
    library="emulator",
)


def deployment(*models, placement=None, cards=None, **rest):
    return parse_deployment(
        {
            "name": "d",
            "cards": {"kind": "emulated", "count": 2, "capacity": "120MiB", **(cards or {})},
            "models": [
                {"path": f"{m['name']}.mindir", "sizes": SIZES, "threads": 2, **m} for m in models
            ],
            "placement": placement or {},
            **rest,
        },
        folder="/models",
    )


def profiled(made, **measured):
    profiles = collect(made, ProfileCache(), estimate=True)
    for name, measurement in measured.items():
        batch = measurement.gears[-1].execute_ms
        profiles[name] = replace(
            profiles[name], measurement=measurement, service_ms=batch / 8, batch_ms=batch
        )
    return profiles


def problem(made, batch=False, cards=None, **measured):
    inventory = Inventory.parse(cards, made.cards) if cards else Inventory.declared(made.cards)
    return problem_of(made, profiled(made, **measured), inventory, batch=batch)


def det(**rest):
    return {"name": "det", "shapes": {"gears": GEARS}, **rest}


def test_the_gear_that_the_demand_makes_decides_the_time():
    rare = problem(deployment(det(demand=0.1)), det=MEASURED).models[0]
    often = problem(deployment(det(demand=250.0)), det=MEASURED).models[0]
    assert rare.service_ms == pytest.approx(10, rel=0.02)
    assert often.service_ms == pytest.approx(24 / 8, rel=0.02)
    assert (rare.batch_rows, often.batch_rows) == pytest.approx((1, 8), rel=0.02)
    assert rare.batch_time_ms == often.batch_time_ms == 24  # what others wait for at worst
    waits = deployment(det(demand=2.0, batching={"max_wait": "4s", "max_batch": 5}))
    assert problem(waits, det=MEASURED).models[0].service_ms == pytest.approx(24 / 5, rel=0.1)


def test_copies_count_only_where_one_thread_makes_them():
    two, one = (
        problem(deployment(det(demand=0.1, threads=threads)), det=MEASURED).models[0]
        for threads in (2, 1)
    )
    assert one.service_ms == pytest.approx(two.service_ms + 2, rel=1e-3)


def test_on_a_faster_card_the_same_requests_wait_less_and_join_less():
    made = deployment(det(demand=60.0), cards={"type": "310P"})
    slow, fast = (
        problem(made, cards=cards, det=MEASURED).models[0]
        for cards in ("2x310P", "1x310P,b:1x910B-64G")
    )
    assert fast.batch_rows < slow.batch_rows


def test_emulated_times_are_one_for_each_gear():
    made = deployment(det(demand=0.1, emulated={"execute": ["3ms", "9ms"], "copy_in": "1ms"}))
    assert problem(made).models[0].service_ms == pytest.approx(3, rel=0.02)
    assert problem(made, batch=True).models[0].service_ms == pytest.approx(9 / 8)


def test_explain_tells_the_batches():
    made = deployment(det(demand=0.1))
    plan = plan_deployment(made, profiled(made, det=MEASURED), Inventory.declared(made.cards))
    assert "0.1 items/s of 10 ms in batches of 1" in plan.explain()


def test_overlap_makes_a_plan_that_shares_no_workspace():
    models = [
        {"name": name, "service_time": "10ms", "demand": 30.0, "threads": 1, "overlap": overlap}
        for name, overlap in (("a", 1.3), ("b", 1.3))
    ]
    apart = deployment(*models, placement={"objective": "max_alpha"}, cards={"count": 1})
    assert [model.overlap for model in problem(apart).models] == [1.3, 1.3]
    plan = plan_deployment(apart, profiled(apart), Inventory.declared(apart.cards)).plan
    assert [card.share_workspace for card in plan.cards] == [False]
    assert plan.alpha == pytest.approx(0.85 * 1.3 / 0.6)


def test_types_of_cards():
    made = deployment(
        {"name": "a", "allowed_types": ["910B-64G"], "allowed_kinds": ["emulated", "ascend"]},
        cards={"type": "310P"},
    )
    read = problem(made, cards="1x310P,b:1x910B-64G")
    assert read.models[0].allowed_types == ("910B-64G",)
    assert read.models[0].allowed_kinds == ("emulated", "ascend")
    mixed = Inventory.parse("1x310P,b:1x910B-64G", made.cards)
    assert plan_deployment(made, profiled(made), mixed).slots == ("b/0",)
    with pytest.raises(PlanRefusedError, match="type 310P, and a is allowed on 910B-64G"):
        plan_deployment(made, profiled(made), Inventory.declared(made.cards))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"allowed_kinds": ["ascend"]}, r"allowed_kinds: ascend, and all cards are of kind emul"),
        ({"allowed_kinds": ["gpu"]}, r"allowed_kinds\[0\]: 'gpu' is none of ascend, cpu, emulated"),
        ({"allowed_types": ["310P", "310P"]}, r"allowed_types\[1\]: 310P is there twice"),
        ({"overlap": 0.0}, r"overlap: must be at least 0.01"),
        ({"overlap": "20%"}, r"overlap: expected a number"),
        ({"work_share": -1.0}, r"work_share: must be at least 0"),
    ],
)
def test_what_a_model_must_not_say(model, message):
    with pytest.raises(DeploymentError, match=message):
        deployment({"name": "a", **model})


def job_shares(*models, **rest):
    made = problem(deployment(*models, **rest), batch=True)
    assert (made.job, made.objective, made.max_utilisation) == (True, "max_alpha", 1.0)
    return [model.demand_rps for model in made.models]


def test_a_job_has_shares_of_work_in_place_of_rates():
    a, b = {"name": "a", "service_time": "2ms"}, {"name": "b", "service_time": "8ms"}
    assert job_shares(a, b) == [1, 1]
    assert job_shares(a, {**b, "work_share": 20.0}) == [1, 20]
    assert job_shares({**a, "demand": 4.0}, {**b, "demand": 6.0}) == [1, 1.5]
    assert job_shares({**a, "demand": 4.0}, {**b, "work_share": 3.0}) == [1, 3]


def test_a_job_fills_all_cards_and_says_how_many_records_a_second():
    made = deployment(
        {"name": "a", "service_time": "2ms"},
        {"name": "b", "service_time": "4ms", "work_share": 2.0},
        cards={"count": 3},
    )
    plan = plan_deployment(made, profiled(made), Inventory.declared(made.cards), batch=True)
    assert plan.plan.cards_used == 3
    assert plan.plan.alpha == pytest.approx(3 / 0.010)  # 2 ms and twice 4 ms a record
    assert "does 300 records/s" in plan.explain()
    assert "of 4 ms, 2 a record" in plan.explain()
    again = type(plan).from_json(plan.to_json())
    assert again.problem == plan.problem


def test_a_model_of_a_job_whose_time_nobody_knows_gets_as_much_work_as_the_others():
    made = deployment(
        {"name": "a", "service_time": "2ms"},
        {"name": "b", "work_share": 4.0},
        {"name": "c", "max_delay": "1ms"},
    )
    read = problem(made, batch=True)
    assert [model.work for model in read.models] == pytest.approx([0.002] * 3)
    # An assumed time is nobody's reason to wait for; a's is known.
    assert [model.batch_time_ms for model in read.models] == [2, 0, 0]


def test_a_job_of_one_model_gives_it_all_cards():
    made = deployment(
        {"name": "a", "service_time": "2ms", "work_share": 3.0},
        {"name": "b", "service_time": "4ms"},
        {"name": "c"},
        cards={"count": 3},
    )
    alone = made.for_job("b")
    read = problem(alone, batch=True)
    assert [model.demand_rps for model in read.models] == [0, 1, 0]
    inventory = Inventory.declared(made.cards)
    plan = plan_deployment(alone, profiled(alone), inventory, batch=True).plan
    assert plan.alpha == pytest.approx(3 / 0.004)
    assert [len(plan.replicas(name)) for name in "abc"] == [1, 3, 1]
    with pytest.raises(DeploymentError, match="work_share: no model has a share of a job's work"):
        deployment({"name": "a", "work_share": 0.0}, {"name": "b", "work_share": 0.0})


def test_a_job_on_cards_that_follow_the_work_has_no_shares():
    made = deployment(
        {"name": "a", "service_time": "2ms", "demand": 4.0}, autoscale={"min_cards": 1}
    )
    read = problem(made, batch=True)
    assert (read.job, read.objective, read.max_utilisation) == (False, "min_cards", 1.0)
    assert read.models[0].demand_rps == 4
