"""Measured sizes and their cache."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnx
import pytest

import actors.emulator as lite
from actors.emulator import calibrate
from actors.files.onnxfile import read_onnx
from tests import models
from tests.emulator.conftest import with_weights_beside


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ASCEND_ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "emulator"


def answers(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.json"))


def doctor(cache: Path, workspace: int) -> None:
    """Change the cached numbers, to see where an answer comes from."""
    for file in answers(cache):
        file.write_text(json.dumps({**json.loads(file.read_text()), "workspace": workspace}))


def test_a_gear_is_measured_once_and_then_read(cache, tmp_path):
    path = str(models.write_mlp(tmp_path, "m", rows=4))
    first = lite.calibration(path)
    assert first.gears[0].outputs[0].shape == (4, 64)
    doctor(cache, 12345)
    assert lite.calibration(path).workspace_bytes == 12345
    renamed = tmp_path / "same_bytes.onnx"
    renamed.write_bytes(Path(path).with_suffix(".onnx").read_bytes())
    assert lite.calibration(str(renamed.with_suffix(".mindir"))).workspace_bytes == 12345


def test_other_bytes_or_other_shapes_are_measured_anew(cache, tmp_path):
    path = models.write_mlp(tmp_path, "m", gears=(1, 2))
    lite.calibration(str(path))
    assert len(answers(cache)) == 2
    doctor(cache, 12345)
    models.write_gears(path, {"x": [-1, 64]}, [[1], [3]])
    found = lite.calibration(str(path))
    assert [gear.workspace == 12345 for gear in found.gears] == [True, False]
    models.write_mlp(tmp_path, "m", gears=(1, 2), seed=1)
    assert lite.calibration(str(path)).workspace_bytes != 12345


def test_weights_in_external_data_are_part_of_the_key(tmp_path):
    plain = str(models.write_mlp(tmp_path, "m", rows=2))
    (tmp_path / "moved").mkdir()
    onnx_path = Path(with_weights_beside(plain, tmp_path / "moved")).with_suffix(".onnx")
    model = read_onnx(onnx_path)
    before = calibrate._identity(onnx_path, model)
    file = onnx_path.with_suffix(".data")
    data = bytearray(file.read_bytes())
    data[3] ^= 1
    file.write_bytes(data)
    assert calibrate._identity(onnx_path, model) != before


def test_a_damaged_cache_file_is_measured_again_with_the_same_result(cache, tmp_path):
    path = str(models.write_conv(tmp_path, "m", rows=1, size=(64, 64)))
    first = lite.calibration(path)
    maps = 16 * 64 * 64 * 4
    assert 2 * maps <= first.workspace_bytes <= 5 * maps
    for content in ("", "{", "[]", "{}", "null"):
        answers(cache)[0].write_text(content)
        assert calibrate._load(answers(cache)[0]) is None
    assert lite.calibration(path) == first


def test_whoever_asks_at_the_same_time_waits_for_one_measurement(cache, tmp_path):
    """Files are locked between threads as between processes: by who opened them."""
    path = str(models.write_mlp(tmp_path, "m", rows=4))
    with ThreadPoolExecutor(3) as pool:
        told = set(pool.map(lambda _: lite.calibration(path).workspace_bytes, range(3)))
    assert len(told) == 1
    assert len(answers(cache)) == 1
    assert [file.suffix for file in cache.iterdir() if file.suffix != ".lock"] == [".json"]


def test_outputs_whose_shape_depends_on_the_data_are_found(cache, tmp_path):
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 8])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [2, "k"])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, tmp_path / "m.onnx")
    gear = lite.calibration(str(tmp_path / "m.mindir")).gears[0]
    assert not gear.bound
    assert gear.outputs[0].shape == (2, 32)


def test_a_dynamic_model_has_no_gears_until_its_largest_shapes_are_declared(cache, tmp_path):
    path = str(models.write_mlp(tmp_path, "m"))
    unknown = lite.calibration(path)
    assert (unknown.dynamic, unknown.gears, unknown.workspace_bytes) == (True, (), 0)
    assert answers(cache) == []
    declared = {"emulated_card": {"max_shape": "x:[5,64]", "copy_in_ms": "2"}}
    known = lite.calibration(path, config_dict=declared)
    assert (known.dynamic, known.tensor_bytes, known.copy_in_ms) == (True, (1280, 1280), 2.0)
    assert known.workspace_bytes > 0


def test_what_cannot_be_measured_says_why(cache, tmp_path):
    with pytest.raises(calibrate.CalibrationError, match="is not an ONNX model"):
        lite.calibration(str(models.write_garbage(tmp_path, "bad")))
    path = models.write_mlp(tmp_path, "m", rows=2)
    onnx_path = path.with_suffix(".onnx")
    onnx_path.write_bytes(onnx_path.read_bytes().replace(b"Relu", b"Rely"))
    with pytest.raises(calibrate.CalibrationError, match=r"does not run at .*Rely"):
        lite.calibration(str(path))
    assert answers(cache) == []
