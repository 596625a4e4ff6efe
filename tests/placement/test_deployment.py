"""A deployment with profiles and cards becomes a problem; its plan becomes the cards' orders."""

import json
from dataclasses import replace

import pytest

from actors import accounts
from actors.lite import group_flag
from actors.memory import ASCEND, card_memory
from actors.messages import Gear, GearMeasurement, Measurement
from orchestrator.config import Cards, parse_deployment
from orchestrator.errors import DeploymentError, PlanRefusedError
from orchestrator.inventory import Inventory
from orchestrator.placement import DeploymentPlan, plan_deployment, problem_of, solve
from orchestrator.placement.deployment import _hash
from orchestrator.placement.explain import sharing_note
from orchestrator.profiles import ProfileCache, collect
from orchestrator.profiles.profile import measured_sizes, profile

MIB = 1 << 20


def deployment(kind="emulated", placement=None, **det):
    sizes = {"weights": "5MiB", "workspace": "57MiB", "io": "11MiB"}
    return parse_deployment(
        {
            "name": "ocr",
            "cards": {"kind": kind, "count": 2, "capacity": "120MiB"},
            "models": [
                {
                    "name": "det",
                    "path": "det.mindir",
                    "shapes": {"fixed": {"x": [4, 3, 32, 32]}},
                    "threads": 2,
                    "sizes": sizes,
                    **det,
                },
                {
                    "name": "rec",
                    "path": "rec.mindir",
                    "sizes": {"weights": "10MiB", "workspace": "20MiB", "io": "1MiB"},
                },
            ],
            "placement": placement or {},
        },
        folder="/models",
    )


def planned(made, **options):
    profiles = collect(made, ProfileCache(), estimate=True)
    return plan_deployment(made, profiles, Inventory.declared(made.cards), **options)


def test_sizes_are_rounded_and_rules_carried_over():
    made = deployment(
        service_time="2ms",
        demand=30.0,
        max_delay="50ms",
        replicas={"min": 1, "max": 2},
        cards=["local/1", "local/0"],
        placement={"affinity": [["det", "rec"]], "spread": {"rec": 1}, "objective": "max_alpha"},
    )
    plan = planned(made)
    det, rec = plan.problem.models
    assert det.weight_bytes == ASCEND.alloc(5 * MIB)
    assert det.workspace_bytes == ASCEND.alloc(57 * MIB)
    assert det.io_bytes == ASCEND.alloc(11 * MIB)
    assert (det.service_ms, det.batch_ms, det.demand_rps, det.max_delay_ms) == (
        2.0,
        8.0,
        30.0,
        50.0,
    )
    assert (det.min_replicas, det.max_replicas, det.cards) == (1, 2, ("local/1", "local/0"))
    assert (rec.threads, rec.min_replicas, rec.max_replicas) == (1, 1, None)
    assert plan.problem.affinity == (("det", "rec"),)
    assert plan.problem.max_utilisation == 0.85
    assert planned(made, batch=True).problem.max_utilisation == 1.0


def test_hardware_streams_of_a_card_can_run_out():
    """Two threads of a model that takes 600 streams each, and a 310P has 1024."""
    made = parse_deployment(
        {
            "name": "streams",
            "cards": {"kind": "ascend", "type": "310P", "count": 1},
            "models": [{"name": "det", "path": "det.mindir", "threads": 2}],
        },
        folder="/models",
    )
    gear = GearMeasurement(Gear((("x", (4, 8)),)), 900, (128, 128), execute_ms=4.0)
    found = Measurement(1000, 0, 600, False, (), (), (gear,), "mindspore_lite 2.7.0")
    (spec,), (order,) = made.models, made.orders()
    profiles = {"det": profile(spec, order, made.cards, found)}
    with pytest.raises(PlanRefusedError, match="needs 1200 streams, has 1024"):
        plan_deployment(made, profiles, Inventory.declared(made.cards))
    wider = Cards(kind="ascend", type="310P", count=1, streams=1200)
    assert plan_deployment(made, profiles, Inventory.declared(wider)).slots == ("local/0",)


def test_orders_carry_footprints_and_the_card():
    plan = planned(deployment())
    assert plan.slots == ("local/0",)
    order = plan.orders("local/0")
    assert [model.name for model in order.models] == ["det", "rec"]
    assert (order.slot, order.kind, order.capacity_bytes) == ("local/0", "emulated", 120 * MIB)
    assert order.rule == ASCEND
    used = card_memory(model.footprint for model in order.models)
    assert used == plan.memory("local/0")
    assert used.total <= 120 * MIB < plan.unshared("local/0").total
    assert plan.orders("local/1").models == ()
    with pytest.raises(KeyError):
        plan.orders("local/2")


def test_kind_cpu_shares_nothing():
    made = deployment(kind="cpu", threads=1)
    plan = planned(made)
    memory = plan.memory("local/0")
    assert memory.workspace == 0
    assert not any(model.share_weights for model in plan.orders("local/0").models)


def test_bundle_comes_back_whole():
    plan = planned(deployment(service_time="2ms", demand=30.0))
    again = DeploymentPlan.from_json(plan.to_json())
    assert again == plan
    assert again.explain() == plan.explain()
    assert again.orders("local/0") == plan.orders("local/0")
    assert "[declared" in plan.explain()


@pytest.mark.parametrize("part", ["deployment", "profiles", "problem", "plan"])
def test_a_bundle_edited_by_hand_is_refused(part):
    data = json.loads(planned(deployment()).to_json())
    if part == "plan":
        data["plan"]["stop_reason"] = "by hand"
    elif part == "problem":
        data["problem"]["models"][0]["weight_bytes"] += 1
    elif part == "profiles":
        data["profiles"]["det"]["origin"] = "measured"
    else:
        data["deployment"]["models"][0]["threads"] = 1
    with pytest.raises(DeploymentError) as caught:
        DeploymentPlan.from_json(json.dumps(data), "b.json")
    assert str(caught.value) == f"b.json: {part} was changed after the plan was made"


def test_a_bundle_edited_to_something_that_does_not_fit_says_so():
    data = json.loads(planned(deployment()).to_json())
    data["problem"]["models"][0]["weight_bytes"] *= 20
    with pytest.raises(DeploymentError, match=r"card local/0: needs .* bytes too few"):
        DeploymentPlan.from_json(json.dumps(data), "b.json")


@pytest.mark.parametrize("hashes", [[1], None, "x", {}])
def test_hashes_that_are_none_are_those_of_no_part(hashes):
    data = {**json.loads(planned(deployment()).to_json()), "hashes": hashes}
    with pytest.raises(DeploymentError, match=r"b\.json: deployment was changed after the plan"):
        DeploymentPlan.from_json(json.dumps(data), "b.json")


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("profiles", [], r"b\.json: profiles: not what a plan writes"),
        ("profiles", {"det": 1}, r"b\.json: profiles: not what a plan writes"),
        ("deployment", 3, r"b\.json: deployment: expected a record, got 3"),
        ("profiles", {}, r"b\.json: deployment or profiles say nothing of det"),
    ],
)
def test_a_part_with_its_own_hash_is_read_strictly(part, value, message):
    data = json.loads(planned(deployment()).to_json())
    data[part], data["hashes"][part] = value, _hash(value)
    with pytest.raises(DeploymentError, match=message):
        DeploymentPlan.from_json(json.dumps(data), "b.json")


def test_other_json_is_no_bundle():
    for text in ("{}", "[]", '{"plan": {}}'):
        with pytest.raises(DeploymentError, match="not a plan bundle: it needs deployment"):
            DeploymentPlan.from_json(text)


def test_a_pin_to_a_card_that_is_not_there():
    made = deployment(cards=["node-b/0"])
    with pytest.raises(DeploymentError) as caught:
        planned(made)
    assert str(caught.value) == (
        "ocr: models (det): cards: no card is called 'node-b/0' (there are: local/0, local/1)"
    )


def test_a_refusal_speaks_of_the_deployment():
    with pytest.raises(PlanRefusedError) as caught:
        planned(deployment(threads=6))
    assert caught.value.reason.startswith("det fits on no card by ")
    assert "threads of det <= 4" in caught.value.changes


def test_a_card_that_does_not_share_tells_its_models_so():
    made = deployment(service_time="2ms", demand=30.0)
    plan = planned(made)
    problem = replace(
        plan.problem,
        models=tuple(
            replace(m, overlap=1.5, threads=1, workspace_bytes=MIB) for m in plan.problem.models
        ),
    )
    plan = replace(plan, problem=problem, plan=solve(problem))
    order = plan.orders("local/0")
    assert not order.share_workspace
    assert not any(m.share_workspace or m.footprint.share_workspace for m in order.models)


def test_a_model_without_weights_shares_nothing_and_the_plan_says_so():
    """The library refuses to group it, for its workspace too."""
    none = {"weights": 0, "workspace": "20MiB", "io": "1MiB"}
    data = dict(deployment(threads=3).as_data())
    det, rec = data["models"]
    data["models"] = [{**det, "sizes": none}, rec]
    plan = planned(parse_deployment(data, folder="/models"))
    (order,) = (m for slot in plan.slots for m in plan.orders(slot).models if m.name == "det")
    assert (order.share_weights, order.share_workspace) == (False, False)
    assert group_flag(order) is None
    assert order.footprint.private_workspace == 3 * ASCEND.alloc(20 * MIB)
    assert sharing_note(plan.problem) == (
        "without weights: det, which the library does not group, so that each thread has a "
        "workspace of its own"
    )
    assert sharing_note(planned(deployment(threads=3)).problem) == ""


def test_problem_of_is_what_is_planned():
    made = deployment()
    profiles = collect(made, ProfileCache(), estimate=True)
    inventory = Inventory.declared(made.cards)
    assert problem_of(made, profiles, inventory) == planned(made).problem


@pytest.mark.parametrize(
    ("threads", "others", "shared"),
    [
        pytest.param(2, 3, 57, id="widened, and still less than three workspaces of 20 MiB"),
        pytest.param(2, 1, 0, id="not shared: one workspace of 20 MiB is less than a shared one"),
        pytest.param(1, 1, 20, id="one thread shares no weights, so it widens nothing"),
    ],
)
def test_a_model_that_is_sized_for_its_weights_widens_the_shared_workspace(threads, others, shared):
    data = dict(deployment(threads=threads, sharing={"workspace": False}).as_data())
    det, rec = data["models"]
    data["models"] = [det, {**rec, "threads": others}]
    data["cards"] = {"kind": "emulated", "count": 1, "capacity": "1GiB"}
    plan = planned(parse_deployment(data, folder="/models"))
    used = plan.memory("local/0")
    apart = 0 if shared else ASCEND.alloc(20 * MIB)
    assert used.workspace == (ASCEND.alloc(shared * MIB) if shared else 0)
    assert used.private == threads * ASCEND.alloc(57 * MIB) + apart
    order = plan.orders("local/0")
    assert order.share_workspace == (shared > 0)
    assert card_memory(accounts.planned(order)) == used
    assert DeploymentPlan.from_json(plan.to_json()).memory("local/0") == used
    assert plan.explain().count("(the shared one, sized for it too)") == (shared == 57)


def test_a_card_runs_models_of_ge_or_of_acl():
    made = deployment(provider="ge", threads=1)
    plan = planned(made)
    assert plan.problem.anti_affinity == (("det", "rec"),)
    assert len(plan.slots) == 2
    data = dict(made.as_data())
    data["cards"] = {**data["cards"], "mix_ge_and_acl": True, "memory_wait": "5s"}
    data["cards"]["memory_return"] = "50s"
    mixed = planned(parse_deployment(data, folder="/models"))
    order = mixed.orders("local/0")
    assert {model.provider for model in order.models} == {"ge", "acl"}
    assert (order.mix_ge_and_acl, order.memory_wait_seconds) == (True, 5.0)
    assert order.memory_return_seconds == 50.0
    assert not next(m for m in order.models if m.provider == "ge").share_workspace


def test_a_refusal_names_the_gears_that_would_fit():
    gears = tuple(
        GearMeasurement(Gear((("x", (size, 8)),)), size * 20 * MIB, (size * MIB,), execute_ms=1.0)
        for size in (1, 4, 8)
    )
    measured = Measurement(5 * MIB, 0, 0, False, (), (), gears, "2.7")
    made = deployment()
    profiles = collect(made, ProfileCache(), estimate=True)
    profiles["det"] = replace(profiles["det"], sizes=measured_sizes(measured), measurement=measured)
    with pytest.raises(PlanRefusedError) as caught:
        plan_deployment(made, profiles, Inventory.declared(made.cards))
    assert caught.value.reason.startswith("det fits on no card")
    assert caught.value.changes[-1].startswith("reconvert det with gears [1],[4] of x:[-1,8] (")
    assert caught.value.changes[-1].endswith(" MiB a card; unverified)")


def test_a_model_without_a_profile_is_named():
    made = deployment()
    with pytest.raises(
        DeploymentError, match=r"no profile of det, rec: orchestrator\.profiles\.co"
    ):
        plan_deployment(made, {}, Inventory.declared(made.cards))
