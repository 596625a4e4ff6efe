"""Signatures and weight bytes, read without the onnx package and checked against it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from actors.files.onnxfile import NotAModelError, read_onnx, without_strides
from actors.shapes import TensorSpec
from tests import models


def onnx_of(path) -> Path:
    return Path(path).with_suffix(".onnx")


def test_signature_and_weights_of_a_plain_model(tmp_path):
    path = onnx_of(models.write_mlp(tmp_path, "m", width=8, layers=3))
    found = read_onnx(path)
    assert found.inputs == (TensorSpec("x", "float32", (-1, 8)),)
    assert found.outputs == (TensorSpec("y", "float32", (-1, 8)),)
    assert found.weight_bytes == 3 * (8 * 8 + 8) * 4
    assert found.is_open
    stored = onnx.load(path).graph.initializer
    assert found.weight_bytes == sum(numpy_helper.to_array(t).nbytes for t in stored)


def test_weights_in_external_data_count_and_are_named(tmp_path):
    path = onnx_of(models.write_mlp(tmp_path, "m", width=32))
    plain = read_onnx(path)
    onnx.save(
        onnx.load(path),
        tmp_path / "e.onnx",
        save_as_external_data=True,
        location="e.data",
        size_threshold=0,
    )
    moved = read_onnx(tmp_path / "e.onnx")
    assert moved.weight_bytes == plain.weight_bytes
    assert moved.external_data == ("e.data",)
    assert (tmp_path / "e.onnx").stat().st_size < plain.weight_bytes


def test_constants_and_subgraphs_count_and_initializers_are_no_inputs(tmp_path):
    def constant(name: str, size: int):
        tensor = numpy_helper.from_array(np.ones(size, np.float64), name)
        return helper.make_node("Constant", [], [name], value=tensor)

    def branch(name: str, size: int):
        out = helper.make_tensor_value_info(name, TensorProto.DOUBLE, [None])
        return helper.make_graph([constant(name, size)], name, [], [out])

    nodes = [
        helper.make_node(
            "If", ["flag"], ["z"], then_branch=branch("a", 3), else_branch=branch("b", 5)
        ),
        constant("c", 7),
        helper.make_node("Identity", ["c"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT16, [2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, [7])],
        [numpy_helper.from_array(np.ones(2, np.float16), "w")],
    )
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    found = read_onnx(tmp_path / "m.onnx")
    assert found.weight_bytes == (3 + 5 + 7) * 8 + 2 * 2
    assert found.inputs == (TensorSpec("flag", "bool", ()),)


def test_convolutions_without_strides_are_found(tmp_path):
    path = onnx_of(models.write_conv(tmp_path, "m", layers=3))
    assert without_strides(path) == ()
    assert without_strides(models.drop_strides(path)) == ("c0", "c1", "y")
    named = onnx.load(path)
    named.graph.node[0].name = "first"
    named.graph.node[0].op_type = "ConvTranspose"
    named.graph.node[2].op_type = "Conv3"
    onnx.save(named, path)
    assert without_strides(path) == ("first", "y")
    garbage = onnx_of(models.write_garbage(tmp_path, "garbage"))
    with pytest.raises(NotAModelError, match="is not an ONNX model"):
        without_strides(garbage)


def test_weights_of_real_models_match_the_onnx_package():
    rapidocr = pytest.importorskip("rapidocr")
    for path in sorted(Path(rapidocr.__file__).parent.glob("models/*.onnx")):
        graph = onnx.load(path).graph
        constants = [
            attribute.t
            for node in graph.node
            if node.op_type == "Constant"
            for attribute in node.attribute
            if attribute.name == "value"
        ]
        tensors = [*graph.initializer, *constants]
        expected = sum(numpy_helper.to_array(tensor).nbytes for tensor in tensors)
        assert read_onnx(path).weight_bytes == expected


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("sample")
    return onnx_of(models.write_pair(folder, "m")).read_bytes()


@given(data=st.data())
def test_whatever_is_no_model_is_refused_by_name(sample, tmp_path_factory, data):
    cut = data.draw(st.integers(0, len(sample) - 1), "bytes kept")
    junk = data.draw(st.binary(max_size=40), "appended")
    path = tmp_path_factory.getbasetemp() / "cut.onnx"
    path.write_bytes(sample[:cut] + junk)
    try:
        read_onnx(path)
    except NotAModelError as error:
        assert "cut.onnx" in str(error)


def test_text_and_empty_files_are_no_models(tmp_path):
    garbage = onnx_of(models.write_garbage(tmp_path, "g"))
    with pytest.raises(NotAModelError, match=r"g\.onnx is not an ONNX model"):
        read_onnx(garbage)
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(NotAModelError, match=r"empty\.onnx is empty"):
        read_onnx(tmp_path / "empty.onnx")
