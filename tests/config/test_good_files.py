"""Files in good/ load, and say what they look as if they said."""

import json
from pathlib import Path

import pytest

from actors.gears import config_gears, parse_sections
from actors.memory import ASCEND, EXACT
from actors.messages import ModelOrder
from actors.shapes import BatchRule, Gear, Padding
from orchestrator.config import load_deployment, parse_deployment
from orchestrator.errors import DeploymentError

HERE = Path(__file__).parent
GOOD = sorted((HERE / "good").glob("*.yaml"))
MODELS = HERE / "models"


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_it_loads_and_survives_json(path):
    deployment = load_deployment(path)
    text = json.dumps(deployment.as_data())
    assert parse_deployment(json.loads(text)) == deployment
    assert len(deployment.orders()) == len(deployment.models)


def test_the_smallest_file_has_the_defaults():
    deployment = load_deployment(HERE / "good" / "smallest.yaml")
    assert deployment.rule == ASCEND
    assert deployment.cards.resource == "NPU"
    assert deployment.cards.count is None
    assert deployment.placement.utilisation(batch=False) == 0.85
    assert deployment.placement.utilisation(batch=True) == 1.0
    assert deployment.orders() == (ModelOrder(name="det", path=str(MODELS / "det.mindir")),)


def test_every_field_arrives():
    deployment = load_deployment(HERE / "good" / "every_field.yaml")
    cards = deployment.cards
    assert (cards.kind, cards.type, cards.count) == ("emulated", "310P", 2)
    assert (cards.capacity, cards.reserve, cards.overhead) == (160 << 20, 4 << 20, 0)
    det = deployment.model("det")
    assert (det.version, det.demand, det.max_delay) == ("PP-OCRv6", 20.0, 0.05)
    assert (det.replicas.min, det.replicas.max, det.cards) == (2, 2, ("local/0", "local/1"))
    assert det.sizes is not None
    assert (det.sizes.weights, det.sizes.workspace, det.sizes.io) == (10 << 20, 56 << 20, 12 << 20)
    assert det.service_time == 0.012
    assert deployment.model("rec").replicas.max == 2
    autoscale = deployment.autoscale
    assert autoscale is not None
    assert (autoscale.min_cards, autoscale.busy, autoscale.idle) == (0, 0.7, 30.0)
    assert autoscale.starts_per_minute == 6
    assert autoscale.request_resources is True
    placement = deployment.placement
    assert placement.objective == "max_alpha"
    assert placement.affinity == (("det", "rec"),)
    assert placement.anti_affinity == (("rec", "geared"),)
    assert placement.spread == {"det": 1}
    assert placement.utilisation(batch=True) == placement.utilisation(batch=False) == 0.9


def test_an_order_says_all_that_the_card_needs():
    det, rec, geared = load_deployment(HERE / "good" / "every_field.yaml").orders()
    assert det == ModelOrder(
        name="det",
        path=str(MODELS / "det.mindir"),
        version="PP-OCRv6",
        threads=2,
        share_workspace=False,
        gears=(Gear((("x", (1, 3, 960, 704)),)), Gear((("x", (6, 3, 960, 704)),))),
        batching=BatchRule(max_batch=6, max_wait=0.002, padding=(Padding("x", 3, 0.5),)),
        precision="enforce_fp16",
        config_path=str(MODELS / "det_config.ini"),
        config={
            "acl_init_options": {
                "ge.exec.precision_mode": "force_fp16",
                "level": "3",
                "quiet": "true",
            },
            "ascend_context": {
                "input_shape": "x:[-1,3,960,704]",
                "dynamic_dims": "[1],[6]",
            },
            "emulated_card": {"execute_ms": "5,20", "copy_in_ms": "1", "copy_out_ms": "0.5"},
        },
    )
    assert rec == ModelOrder(
        name="rec",
        path=str(MODELS / "rec.mindir"),
        share_workspace=False,
        dynamic=True,
        gears=(Gear((("x", (8, 128)), ("mask", (8, 128)))),),
        batching=BatchRule(axis=None),
        config={"emulated_card": {"max_shape": "x:[8,128];mask:[8,128]"}},
    )
    assert geared.gears == (Gear((("x", (1, 3, 48, 320)),)), Gear((("x", (6, 3, 48, 320)),)))


def test_a_fixed_shape_goes_to_the_library_and_cpu_shares_nothing():
    deployment = load_deployment(HERE / "good" / "cpu.yaml")
    (order,) = deployment.orders()
    assert deployment.rule == EXACT
    assert order.gears is None
    assert order.config == {"ascend_context": {"input_shape": "x:[1,3,32,32]"}}
    assert not order.share_weights
    assert not order.share_workspace


def test_one_gear_takes_the_place_of_the_dims_in_the_file(tmp_path):
    (tmp_path / "det.onnx").touch()
    (tmp_path / "det.ini").write_text("[ascend_context]\ninput_shape=x:[-1,3]\ndynamic_dims=[4]\n")
    (tmp_path / "d.yaml").write_text(
        "name: one\ncards: {kind: emulated}\nmodels: [{name: det, path: det.mindir}]\n"
    )
    (order,) = load_deployment(tmp_path / "d.yaml").orders()
    sections = parse_sections((tmp_path / "det.ini").read_text())
    merged = {key: sections.get(key, {}) | dict(keys) for key, keys in order.config.items()}
    assert config_gears(merged) == (Gear((("x", (4, 3)),)),)


def test_a_relative_path_starts_at_the_file(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    deployment = load_deployment(str(HERE / "good" / "smallest.yaml"))
    assert deployment.models[0].path == str(MODELS / "det.mindir")


def test_a_model_is_found_by_name():
    deployment = load_deployment(HERE / "good" / "every_field.yaml")
    with pytest.raises(DeploymentError) as caught:
        deployment.model("dett")
    assert str(caught.value) == "ocr: there is no model 'dett', did you mean 'det'?"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: None, "d.yaml: there is no such file"),
        (lambda path: path.mkdir(), "d.yaml: is a folder: name the file in it, such as"),
        (lambda path: path.write_bytes(b"name: ocr\n# \xff\xfe"), "d.yaml:2: is not UTF-8 text"),
        (lambda path: path.write_bytes(b"\x00\x01"), "d.yaml: is not YAML: "),
        (lambda path: path.write_text(""), "d.yaml: is empty"),
        (lambda path: path.write_text("- " * 3000), "d.yaml"),
        (lambda path: path.write_text("a: [" * 3000), "d.yaml"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_line(make, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "d.yaml")
    with pytest.raises(DeploymentError) as caught:
        load_deployment("d.yaml")
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_and_windows_line_ends_are_no_obstacle(tmp_path):
    text = (HERE / "good" / "smallest.yaml").read_text().replace("../models", str(MODELS))
    (tmp_path / "d.yaml").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert load_deployment(tmp_path / "d.yaml").name == "smallest"
