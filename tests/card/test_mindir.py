"""MindIR files read without a library: two that the genuine converter wrote, and written ones."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.files.mindir import NotAMindIRError, read_mindir
from actors.files.modelfiles import model_bytes
from actors.shapes import Gear, TensorSpec
from tests.mindirs import write_mindir
from tests.oms import write_compiled, write_om

#: Converted from ONNX by the Converter of mindspore_lite 2.0.0, for the CPU.
GENUINE = Path(__file__).with_name("mindir")


def test_a_genuine_file_of_two_inputs_and_two_outputs():
    found = read_mindir(GENUINE / "pair.mindir")
    assert found.inputs == (
        TensorSpec("left", "float32", (2, 8)),
        TensorSpec("right", "float32", (2, 8)),
    )
    assert (found.converted, found.om, found.om_bytes, found.external_data) == (False, None, 0, ())


def test_a_genuine_file_whose_converter_changed_int64_to_int32():
    assert read_mindir(GENUINE / "embedding.mindir").inputs == (TensorSpec("ids", "int32", (2, 6)),)


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_file_converted_for_ascend_names_its_hardware_and_gears(tmp_path, outputs):
    shapes = {"x": (-1, 3, 48, -1), "mask": (1, 16)}
    gears = [{"x": (n, 3, 48, 320), "mask": (1, 16)} for n in (1, 6)]
    path = write_compiled(tmp_path / "m.mindir", shapes, gears=gears, outputs=outputs)
    found = read_mindir(path)
    assert found.inputs == (
        TensorSpec("x", "float32", (-1, 3, 48, -1)),
        TensorSpec("mask", "float32", (1, 16)),
    )
    assert (found.converted, found.om.soc) == (True, "Ascend310P3")
    assert found.om_bytes == len(write_om(shapes, gears=gears))
    assert found.gears == tuple(Gear(tuple(gear.items())) for gear in gears)


def test_an_unknown_rank_is_one_open_dimension(tmp_path):
    found = read_mindir(write_mindir(tmp_path / "m.mindir", {"x": (-2,)}))
    assert found.inputs == (TensorSpec("x", "float32", (-1,)),)


def test_an_om_in_a_file_beside_the_model(tmp_path):
    path = write_compiled(
        tmp_path / "m.mindir", {"x": (1,)}, soc="Ascend910B4", beside="m_variables/data_0"
    )
    missing = read_mindir(path)
    assert (missing.converted, missing.om) == (True, None)
    assert missing.om_problem == f"{tmp_path}/m_variables/data_0: No such file or directory"
    assert missing.external_data == ("m_variables/data_0",)
    (tmp_path / "m_variables").mkdir()
    beside = tmp_path / "m_variables" / "data_0"
    beside.write_bytes(write_om({"x": (1,)}, soc="Ascend910B4"))
    assert read_mindir(path).om.soc == "Ascend910B4"


def test_bytes_of_a_model_are_those_of_its_weights_too_wherever_they_lie(tmp_path):
    inside = write_mindir(tmp_path / "in.mindir", {"x": (1, 4)}, om=b"o" * 4096)
    beside = write_mindir(tmp_path / "b_graph.mindir", {"x": (1, 4)}, beside="b_variables/data_0")
    assert model_bytes(str(beside), "ascend") == beside.stat().st_size, "not there, and told so"
    (tmp_path / "b_variables").mkdir()
    (tmp_path / "b_variables" / "data_0").write_bytes(bytes(4096))
    assert model_bytes(str(inside), "ascend") == inside.stat().st_size
    assert model_bytes(str(beside), "ascend") == beside.stat().st_size + 4096


def test_an_om_of_an_unknown_layout_is_told_and_not_guessed(tmp_path):
    path = write_mindir(tmp_path / "m.mindir", {"x": (1,)}, om=b"PK\x03\x04" + bytes(300))
    found = read_mindir(path)
    assert (found.converted, found.om, found.gears) == (True, None, ())
    assert (
        found.om_problem
        == "its OM cannot be read: an OM begins with IMOD and this with b'PK\\x03\\x04'"
    )


def test_gears_of_other_inputs_than_the_model_has_are_not_told_apart(tmp_path):
    om = write_om({"x": (-1, 4), "y": (1,)}, gears=[{"x": (1, 4), "y": (1,)}])
    assert read_mindir(write_mindir(tmp_path / "m.mindir", {"x": (-1, 4)}, om=om)).gears == ()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "m.mindir is empty"),
        (b"a model of some bytes", "m.mindir is not a MindIR model: "),
        (b"\x0a\x050.1.1", "m.mindir is not a MindIR model: it holds no graph"),
        (b"\x3a\x00", "m.mindir is not a MindIR model: its graph has no outputs"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, content, problem):
    path = tmp_path / "m.mindir"
    path.write_bytes(content)
    with pytest.raises(NotAMindIRError, match=re.escape(problem)):
        read_mindir(path)


@given(data=st.data())
def test_a_damaged_file_is_refused_by_name_or_read(tmp_path_factory, data):
    whole = (GENUINE / "pair.mindir").read_bytes()
    cut = data.draw(st.integers(1, len(whole) - 1), "bytes kept")
    at = data.draw(st.integers(0, cut - 1), "byte changed")
    value = data.draw(st.integers(0, 255), "to")
    path = tmp_path_factory.getbasetemp() / "damaged.mindir"
    path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 : cut])
    try:
        read_mindir(path)
    except NotAMindIRError as error:
        assert "damaged.mindir" in str(error)
