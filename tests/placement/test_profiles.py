"""Profiles: the declared goes before the measured, and the cache believes no broken file."""

from dataclasses import replace

import pytest

from actors.memory import Sizes
from actors.messages import GearMeasurement, Measurement
from actors.shapes import Gear, TensorSpec
from orchestrator.config import parse_deployment
from orchestrator.errors import DeploymentError
from orchestrator.inventory import Inventory
from orchestrator.placement import plan_deployment
from orchestrator.profiles import ModelProfile, ProfileCache, collect, missing
from orchestrator.report.profile import profile_table

GEARS = [{"x": [1, 8]}, {"x": [4, 8]}]
MEASURED = Measurement(
    weight_bytes=1000,
    object_bytes=7,
    streams=1,
    dynamic=False,
    inputs=(TensorSpec("x", "float32", (-1, 8)),),
    outputs=(TensorSpec("y", "float32", (-1, 8)),),
    gears=(
        GearMeasurement(Gear((("x", (1, 8)),)), 500, (32, 32), execute_ms=2.0),
        GearMeasurement(Gear((("x", (4, 8)),)), 900, (128, 128), execute_ms=4.0, copy_in_ms=9.0),
    ),
    library="emulator",
)


def deployment(folder, kind="emulated", **model):
    return parse_deployment(
        {
            "name": "d",
            "cards": {"kind": kind, "count": 1, "capacity": "1MiB"},
            "models": [{"name": "m", "path": "m.mindir", "shapes": {"gears": GEARS}, **model}],
        },
        folder=folder,
    )


@pytest.fixture
def cache(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"model")
    return ProfileCache(tmp_path / "cache")


def put(cache, made, measurement=MEASURED):
    (order,) = made.orders()
    cache.put(order, made.cards.kind, made.cards.type, measurement)


def test_what_was_measured_comes_back(tmp_path, cache):
    made = deployment(tmp_path)
    assert [order.name for order in missing(made, cache)] == ["m"]
    with pytest.raises(DeploymentError, match="model m: not measured yet: let the plan measure it"):
        collect(made, cache)
    put(cache, made)
    assert missing(made, cache) == ()
    profile = collect(made, cache)["m"]
    assert profile.sizes == Sizes(1000, 900, (128, 128), object_bytes=7, streams=1)
    assert (profile.origin, profile.label) == ("measured", "measured")
    assert (profile.service_ms, profile.batch_ms) == (1.0, 4.0)
    assert ModelProfile.from_dict(profile.to_dict()) == profile


def test_a_cap_on_the_batch_is_what_a_call_serves(tmp_path, cache):
    made = deployment(tmp_path, batching={"max_batch": 2})
    put(cache, made)
    assert collect(made, cache)["m"].service_ms == 2.0
    smallest = deployment(tmp_path, batching={"max_batch": 1})
    put(cache, smallest)
    assert collect(smallest, cache)["m"].service_ms == 2.0


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"measurement": {"gears": 3}}'])
def test_a_broken_file_counts_as_none_and_is_replaced(tmp_path, cache, text):
    made = deployment(tmp_path)
    put(cache, made)
    (file,) = cache.folder.iterdir()
    file.write_text(text)
    assert len(missing(made, cache)) == 1
    put(cache, made)
    assert missing(made, cache) == ()
    assert list(cache.folder.iterdir()) == [file]


def test_another_file_other_options_or_another_kind_are_measured_anew(tmp_path, cache):
    made = deployment(tmp_path)
    put(cache, made)
    (order,) = made.orders()
    assert cache.get(order, "emulated", None) == MEASURED
    assert cache.get(order, "emulated", "310P") is None
    assert cache.get(replace(order, precision="enforce_fp16"), "emulated", None) is None
    assert cache.get(replace(order, config={"a": {"b": "c"}}), "emulated", None) is None
    assert cache.get(replace(order, threads=9), "emulated", None) == MEASURED
    (tmp_path / "m.mindir").write_bytes(b"model")
    assert cache.get(order, "cpu", None) is None
    (tmp_path / "m.onnx").write_bytes(b"changed")
    assert cache.get(order, "emulated", None) is None


def test_the_folder_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("ASCEND_ORCHESTRATOR_CACHE", str(tmp_path))
    assert ProfileCache().folder == tmp_path / "profiles"


def test_what_runs_do_not_give_back_is_charged_to_every_object(tmp_path, cache):
    made = deployment(tmp_path)
    put(cache, made, replace(MEASURED, drift_bytes=50))
    assert collect(made, cache)["m"].sizes.object_bytes == 7 + 50
    put(cache, made, replace(MEASURED, drift_bytes=-50))
    assert collect(made, cache)["m"].sizes.object_bytes == 7


def test_after_another_driver_or_cann_a_real_card_is_measured_anew(tmp_path, cache, monkeypatch):
    (tmp_path / "m.mindir").write_bytes(b"model")
    monkeypatch.delenv("ASCEND_CUSTOM_PATH", raising=False)
    monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path))
    info = tmp_path / "compiler" / "version.info"
    info.parent.mkdir()
    info.write_text("Version=7.7.0.1\nversion_dir=8.1.RC1\n")
    (order,) = deployment(tmp_path, kind="ascend").orders()
    cache.put(order, "ascend", "310P", MEASURED)
    assert cache.get(order, "ascend", "310P") == MEASURED
    info.write_text("Version=8.2.0.1\nversion_dir=8.2.RC1\n")
    assert cache.get(order, "ascend", "310P") is None


def test_drift_and_overhead_are_shown_where_a_card_has_them(tmp_path):
    (order,) = deployment(tmp_path).orders()
    seen = replace(MEASURED, drift_bytes=2048, overhead_bytes=1 << 30)
    table = profile_table({"m": (order, MEASURED), "n": (order, seen)}, {"m": "", "n": ""})
    shown = {str(column.header): list(column.cells)[0::2] for column in table.columns}
    assert shown["drift"] == ["0 B", "2.0 KiB"]
    assert shown["overhead"] == ["not seen", "1.0 GiB"]
    plain = profile_table({"m": (order, MEASURED)}, {"m": ""})
    assert "drift" not in [column.header for column in plain.columns]


SIZES = {"weights": "10KiB", "workspace": "20KiB", "io": "1KiB", "objects": "16B"}


def test_declared_sizes_go_before_measured_ones(tmp_path, cache):
    made = deployment(tmp_path, sizes=SIZES, demand=5.0)
    put(cache, made)
    profile = collect(made, cache)["m"]
    assert profile.sizes == Sizes(10240, 20480, (1024,), object_bytes=16)
    assert (profile.label, profile.service_ms) == ("declared", 1.0)


def test_declared_sizes_need_no_file_unless_there_is_a_demand(tmp_path):
    cache = ProfileCache(tmp_path / "cache")
    quiet = deployment(tmp_path, sizes=SIZES)
    assert missing(quiet, cache) == ()
    assert collect(quiet, cache)["m"].service_ms is None
    busy = deployment(tmp_path, sizes=SIZES, demand=5.0)
    with pytest.raises(DeploymentError, match=r"model m: no such file: .*m\.onnx"):
        missing(busy, cache)
    with pytest.raises(DeploymentError, match="model m: has demand and no known time: give its"):
        collect(busy, cache)


def test_a_demand_without_a_known_time_is_left_out_and_said_so(tmp_path, cache):
    made = deployment(tmp_path, demand=5.0)
    plan = plan_deployment(
        made, collect(made, cache, estimate=True), Inventory.declared(made.cards)
    )
    assert plan.problem.models[0].demand_rps == 0
    assert "[estimated, demand left out: no known time, " in plan.explain()


def test_declared_time_is_per_item_and_goes_first(tmp_path, cache):
    made = deployment(tmp_path, service_time="3ms", demand=5.0)
    put(cache, made)
    profile = collect(made, cache)["m"]
    assert (profile.service_ms, profile.batch_ms) == (3.0, 12.0)
    assert profile.label == "measured, declared service_time"


def test_estimates_are_marked(tmp_path, cache):
    made = deployment(tmp_path, emulated={"execute": "8ms"}, demand=5.0)
    profile = collect(made, cache, estimate=True)["m"]
    assert profile.sizes == Sizes(weights=5, workspace=16 * 128, tensors=(128, 128))
    assert profile.label == "estimated, declared emulated"
    assert profile.service_ms == 2.0
