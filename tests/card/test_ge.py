"""Models of provider GE on a card: one session, its options, its parameters, its one lock."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from actors import emulator, ge
from actors.card import CardActor
from actors.errors import LoadError
from actors.files.parameters import read_parameters
from actors.messages import ModelOrder
from orchestrator.config import parse_deployment
from orchestrator.inventory import Inventory
from orchestrator.placement import DeploymentPlan, plan_deployment
from orchestrator.profiles import ProfileCache, collect
from orchestrator.runtime.cluster.measure import measure
from tests import models
from tests.card.conftest import Load, answer, card_order, changed, expected, rows, with_times

SESSION = {"ge_session_options": {"ge.externalWeight": "1"}}


def of_ge(order: ModelOrder, **changes: object) -> ModelOrder:
    return changed(order, provider="ge", share_workspace=False, **changes)


def refusal(*orders: ModelOrder, **changes: object) -> str:
    with pytest.raises(LoadError) as caught:
        CardActor().load(card_order(*orders, **changes))
    return str(caught.value)


def copied(order: ModelOrder, folder: Path, name: str, **changes: object) -> ModelOrder:
    """The same network under another name and path."""
    source = Path(order.path).with_suffix(".onnx")
    shutil.copy(source, folder / f"{name}.onnx")
    return replace(order, name=name, path=str(folder / f"{name}.mindir"), **changes)


def test_threads_and_equal_networks_hold_one_copy_and_run_one_at_a_time(
    load: Load, mlp: ModelOrder, tmp_path: Path
) -> None:
    first = with_times(of_ge(mlp, threads=3), execute_ms=20)  # so long that two would meet
    twin = copied(first, tmp_path, "twin")
    card = load(first, twin)
    one = emulator.calibration(mlp.path, "", mlp.config).weight_bytes
    measured = card.memory().measured
    assert measured is not None
    assert one <= measured.weights < 2 * one
    assert measured.workspace == 0
    assert measured.total <= card.memory().planned.total, "the plan charges the sum"
    inputs = [rows(1 + n % 4, seed=n) for n in range(24)]
    with ThreadPoolExecutor(8) as pool:
        for name in ("mlp", "twin"):
            outputs = list(pool.map(lambda x, n=name: answer(card, n, x=x)["y"], inputs))
            for x, y in zip(inputs, outputs, strict=True):
                np.testing.assert_allclose(y, expected(mlp, x=x)["y"], rtol=1e-5, atol=1e-6)


def test_a_session_is_charged_as_its_measured_peak_to_the_byte(
    mlp: ModelOrder, tmp_path: Path
) -> None:
    """Measured in a process of its own, planned with, and found again in the card's ledger."""
    source = Path(mlp.path).with_suffix(".onnx")
    for name in ("one", "twin"):
        shutil.copy(source, tmp_path / f"{name}.onnx")
    shared = {"provider": "ge", "threads": 2, "shapes": {"gears": [{"x": [1, 64]}, {"x": [4, 64]}]}}
    data = {
        "name": "pair",
        "cards": {"kind": "emulated", "count": 1, "capacity": "64MiB"},
        "models": [{"name": n, "path": f"{n}.mindir", **shared} for n in ("one", "twin")],
    }
    deployment = parse_deployment(data, folder=str(tmp_path))
    cache = ProfileCache(tmp_path / "cache")
    one, twin = deployment.orders()
    told: list[str] = []
    measure(deployment, [one], cache, told.append)
    assert told == ["measuring one (1 of 1)", "measuring one, twin as one GE session"]
    found = cache.get(one, "emulated", None)
    assert found is not None
    cache.put(twin, "emulated", None, found)  # the same file
    plan = plan_deployment(
        deployment, collect(deployment, cache), Inventory.declared(deployment.cards)
    )
    card = CardActor()
    report = card.load(plan.orders("local/0"))
    card.stop()
    assert report.memory.measured is not None
    planned = plan.memory("local/0")
    assert report.memory.planned.total == report.memory.measured.total == planned.total
    assert planned.saved > found.weight_bytes, "one copy of the constants, and one memory for all"
    assert "saved in the GE session" in planned.parts()
    again = DeploymentPlan.from_json(plan.to_json())
    assert again.memory("local/0").total == planned.total


def test_equal_parameter_names_with_other_bytes_are_refused(
    mlp: ModelOrder, tmp_path: Path
) -> None:
    models.write_mlp(tmp_path, "tuned", seed=7)
    tuned = replace(of_ge(mlp), name="tuned", path=str(tmp_path / "tuned.mindir"))
    text = refusal(of_ge(mlp), tuned)
    assert text.startswith(f"card local/0: model tuned ({tuned.path}) did not load: parameter w0")
    assert "has other values than in model mlp: one GE session would answer with those" in text
    alone = changed(tuned, share_weights=False)
    card = CardActor()
    card.load(card_order(of_ge(mlp), alone))
    x = rows(2)
    ours = answer(card, "tuned", x=x)["y"]
    card.stop()
    np.testing.assert_allclose(ours, expected(tuned, x=x)["y"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("section", "shares", "why"),
    [
        ("ge_session_options", True, "GE models of one card that share are one session, whose"),
        ("ge_global_options", True, "GE takes them from the first of its models in a process"),
        ("ge_global_options", False, "GE takes them from the first of its models in a process"),
    ],
)
def test_unequal_options_of_one_session_or_process_are_refused(
    mlp: ModelOrder, tmp_path: Path, section: str, shares: bool, why: str
) -> None:
    own = {**mlp.config, section: {"ge.exec.precision_mode": "must_keep_origin_dtype"}}
    other = replace(copied(of_ge(mlp, config=own), tmp_path, "other"), share_weights=shares)
    text = refusal(of_ge(mlp), other)
    assert "model other" in text
    assert f"[{section}] ge.exec.precision_mode is 'must_keep_origin_dtype' and model mlp" in text
    assert f"has not set: {why}" in text


def test_options_of_a_session_are_free_where_it_is_not_shared(
    load: Load, mlp: ModelOrder, tmp_path: Path
) -> None:
    own = {**mlp.config, "ge_session_options": {"ge.exec.precision_mode": "must_keep_origin_dtype"}}
    other = copied(of_ge(mlp, config=own), tmp_path, "other")
    load(of_ge(mlp), changed(other, share_weights=False))


def test_a_card_runs_acl_or_ge_unless_it_is_allowed_to_mix(
    load: Load, mlp: ModelOrder, conv: ModelOrder
) -> None:
    text = refusal(of_ge(mlp), conv)
    assert "model mlp" in text
    assert "it is of provider ge and conv of provider acl, and a card runs one of them" in text
    assert "cards.mix_ge_and_acl: true once orchestrator verify-card has passed" in text
    card = load(of_ge(mlp), conv, mix_ge_and_acl=True)
    x = rows(3)
    np.testing.assert_allclose(
        answer(card, "mlp", x=x)["y"], expected(mlp, x=x)["y"], rtol=1e-5, atol=1e-6
    )


def test_the_option_is_written_whatever_the_user_wrote_and_the_right_one_is_named(
    mlp: ModelOrder, tmp_path: Path
) -> None:
    own = tmp_path / "own.ini"
    own.write_text("[ge_graph_options]\nge.externalWeigth=1\n")
    order = of_ge(mlp, config_path=str(own), threads=2)
    card = CardActor()
    report = card.load(card_order(order))
    card.stop()
    assert report.warnings == (
        "model mlp: [ge_graph_options] ge.externalWeigth: found an option that nothing reads, "
        "wanted [ge_session_options] ge.externalWeight: write ge.externalWeight=1 under "
        "[ge_session_options]",
    )
    assert report.memory.measured is not None
    assert report.memory.measured.weights == report.memory.planned.weights
    assert ge.with_external_weights({"a": {"b": "c"}}) == {"a": {"b": "c"}, **SESSION}


def test_digests_of_constants(tmp_path: Path) -> None:
    path = models.write_mlp(tmp_path, "m").with_suffix(".onnx")
    found = read_parameters(path)
    assert sorted(found) == ["b0", "b1", "w0", "w1"]
    assert found["w0"] != found["w1"]
    held = {constant.name: constant.raw_data for constant in onnx.load(path).graph.initializer}
    assert {name: one.nbytes for name, one in found.items()} == {
        name: len(data) for name, data in held.items()
    }
    beside = tmp_path / "beside.onnx"
    onnx.save(onnx.load(path), beside, save_as_external_data=True, size_threshold=0)
    moved = read_parameters(beside)
    assert {n: one.nbytes for n, one in moved.items()} == {n: p.nbytes for n, p in found.items()}
    again = tmp_path / "again.onnx"
    onnx.save(
        onnx.load(path), again, save_as_external_data=True, location="elsewhere", size_threshold=0
    )
    assert read_parameters(again) == moved, "where the bytes lie is no part of them"
    with pytest.raises(ValueError, match=r"is neither a \.mindir nor an \.onnx file"):
        read_parameters(tmp_path / "elsewhere")
    garbage = models.write_garbage(tmp_path, "garbage").with_suffix(".onnx")
    with pytest.raises(ValueError, match="cannot be read as a model"):
        read_parameters(garbage)


def test_digests_of_a_mindir(tmp_path: Path) -> None:
    def part(field: int, data: bytes) -> bytes:
        return bytes([field << 3 | 2, len(data)]) + data

    def tensor(name: bytes, *parts: bytes) -> bytes:
        return part(3, b"\x08\x02\x10\x01" + part(7, name) + b"".join(parts))

    inside = tensor(b"w", part(9, b"12345678"))
    outside = tensor(b"v", part(12, part(1, b"data_0") + b"\x10\x04\x18\x08"))
    (tmp_path / "data_0").write_bytes(b"....12345678....")
    file = tmp_path / "m.mindir"
    file.write_bytes(part(7, inside + outside))
    found = read_parameters(file)
    assert sorted(found) == ["v", "w"]
    (tmp_path / "data_0").write_bytes(b"xxxx12345678xxxx")
    assert read_parameters(file) == found
    (tmp_path / "data_0").write_bytes(b"....1234567x....")
    assert read_parameters(file)["v"] != found["v"]
