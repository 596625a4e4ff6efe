"""Model's rules: building, shapes, gears, predictions, and the texts of what fails."""

import threading
from pathlib import Path

import numpy as np
import pytest

import actors.emulator as lite
from actors.emulator import Format, Model, ModelType, Tensor
from tests import models
from tests.emulator.conftest import Zoo, build, context, filled, predict, reference, share, values

BUILD_FAILED = "build_from_file failed! Error is Common error code."


@pytest.fixture
def mlp(zoo: Zoo) -> Model:
    return build(zoo.mlp)


# Building


def test_arithmetic_is_the_engines(zoo: Zoo):
    share(zoo.conv, zoo.pair)
    image = values(1, 3, 96, 96)
    found = predict(build(zoo.conv), image)
    np.testing.assert_allclose(found[0], reference(zoo.conv, x=image)[0], atol=2e-6)
    left, right = values(2, 8), values(2, 8, seed=1)
    total, difference = predict(build(zoo.pair), left, right)
    np.testing.assert_allclose(total, left + right, atol=1e-6)
    np.testing.assert_allclose(difference, left - right, atol=1e-6)


def test_integer_inputs(zoo: Zoo):
    ids = np.arange(12).reshape(2, 6)
    found = predict(build(zoo.embedding), ids)
    np.testing.assert_array_equal(found[0], reference(zoo.embedding, ids=ids)[0])


@pytest.mark.parametrize(
    ("make", "log"),
    [
        (lambda folder: models.write_garbage(folder, "bad"), "is not an ONNX model"),
        (lambda folder: _touch(folder / "m.onnx"), "is no MindIR"),
        (lambda folder: _touch(folder / "real.mindir"), "there is no real.onnx beside it"),
        (lambda folder: folder, "is no MindIR"),
        (lambda folder: _empty(folder / "empty.mindir"), "empty.onnx is empty"),
    ],
    ids=["garbage", "an .onnx path", "a .mindir alone", "a folder", "an empty file"],
)
def test_files_that_cannot_be_built(tmp_path, make, log):
    with pytest.raises(RuntimeError) as caught:
        build(str(make(tmp_path)))
    assert str(caught.value) == BUILD_FAILED
    assert log in lite.last_native_log()


def _touch(path: Path) -> Path:
    path.write_bytes(b"x")
    return path


def _empty(path: Path) -> Path:
    path.with_suffix(".onnx").touch()
    return path


def test_a_file_that_the_engine_refuses_cannot_be_built(tmp_path):
    path = models.write_mlp(tmp_path, "m", rows=2)
    onnx = path.with_suffix(".onnx")
    onnx.write_bytes(onnx.read_bytes().replace(b"MatMul", b"MatMux"))
    with pytest.raises(RuntimeError, match=BUILD_FAILED):
        build(str(path))
    assert "does not run" in lite.last_native_log()
    assert "MatMux" in lite.last_native_log()


def test_texts_of_refused_build_arguments(zoo: Zoo):
    model = Model()
    for arguments, error, text in [
        (("/no/m.mindir", ModelType.MINDIR), RuntimeError, "model_path does not exist!"),
        ((Path(zoo.mlp), ModelType.MINDIR), TypeError, "model_path must be str, but got"),
        ((zoo.mlp, 0), TypeError, "model_type must be ModelType, but got <class 'int'>."),
        ((zoo.mlp, ModelType.MINDIR, 3), TypeError, "context must be Context, but got"),
        (
            (zoo.mlp, ModelType.MINDIR, None, "/no/c.ini"),
            RuntimeError,
            "build_from_file failed, config_path does not exist!",
        ),
        (
            (zoo.mlp, ModelType.MINDIR, None, "", {"a": {"b": 1}}),
            TypeError,
            "config_dict_value_value must be str, but got <class 'int'>.",
        ),
    ]:
        with pytest.raises(error) as caught:
            model.build_from_file(*arguments)
        assert text in str(caught.value)


def test_a_second_build_on_one_model_fails(zoo: Zoo, mlp: Model):
    with pytest.raises(RuntimeError, match=BUILD_FAILED):
        mlp.build_from_file(zoo.mlp, ModelType.MINDIR, context())
    assert str(mlp) == f"model_path: {zoo.mlp}."


def test_target_cpu_takes_no_card(zoo: Zoo):
    model = Model()
    model.build_from_file(zoo.mlp, ModelType.MINDIR)
    assert predict(model, values(4, 64))[0].shape == (4, 64)
    assert lite.memory(0).card_memory.total == 0


# Inputs and outputs


def test_inputs_have_the_files_order_names_and_shapes(zoo: Zoo):
    inputs = build(zoo.pair).get_inputs()
    assert [(t.name, t.shape, t.dtype.name, t.format) for t in inputs] == [
        ("left", [2, 8], "FLOAT32", Format.NCHW),
        ("right", [2, 8], "FLOAT32", Format.NCHW),
    ]


def test_get_inputs_gives_new_tensors_each_time(mlp: Model):
    filled(mlp, values(4, 64))
    assert not mlp.get_inputs()[0]._has_data


def test_an_unbuilt_model_has_no_inputs_and_does_not_predict():
    model = Model()
    assert model.get_inputs() == []
    assert model.get_outputs() == ()
    with pytest.raises(RuntimeError, match="predict failed!"):
        model.predict([])
    with pytest.raises(RuntimeError, match="model input len:0 not equal input len:1!"):
        model.predict([values(1)])


def test_inputs_go_by_position_whatever_their_names(zoo: Zoo):
    left, right = Tensor(values(2, 8)), Tensor(values(2, 8, seed=1))
    left.name = right.name = "zzz"
    found = build(zoo.pair).predict([left, right])[1].get_data_to_numpy()
    np.testing.assert_allclose(found, values(2, 8) - values(2, 8, seed=1), atol=1e-6)


def test_inputs_are_read_at_predict_and_not_copied(mlp: Model):
    array = values(4, 64)
    tensors = filled(mlp, array)
    first = mlp.predict(tensors)[0].get_data_to_numpy().copy()
    array *= 2
    assert not np.array_equal(mlp.predict(tensors)[0].get_data_to_numpy(), first)


def test_outputs_are_views_that_the_next_predict_overwrites(mlp: Model):
    first = mlp.predict([values(4, 64)])[0].get_data_to_numpy()
    kept = first.copy()
    second = mlp.predict([values(4, 64, seed=1)])[0].get_data_to_numpy()
    assert first.ctypes.data == second.ctypes.data
    assert not np.array_equal(first, kept)
    assert first.flags.writeable
    assert not first.flags.owndata


def test_outputs_stay_valid_after_the_model_is_gone(zoo: Zoo):
    share(zoo.mlp)
    model = build(zoo.mlp)
    found = model.predict([values(4, 64)])[0].get_data_to_numpy()
    kept = found.copy()
    del model
    np.testing.assert_array_equal(found, kept)


def test_outputs_given_by_the_caller_are_written_to(mlp: Model):
    target = Tensor(np.zeros((4, 64), np.float32))
    found = mlp.predict([values(4, 64)], [target])
    expected = predict(mlp, values(4, 64))[0]
    np.testing.assert_array_equal(target.get_data_to_numpy(), expected)
    np.testing.assert_array_equal(found[0].get_data_to_numpy(), expected)
    with pytest.raises(RuntimeError, match="predict failed!"):
        mlp.predict([values(4, 64)], [Tensor(np.zeros((4, 63), np.float32))])


def test_outputs_are_described(zoo: Zoo):
    meta = build(zoo.pair).get_outputs()
    assert [(m.name, m.shape, m.data_size) for m in meta] == [
        ("total", [2, 8], 64),
        ("difference", [2, 8], 64),
    ]
    assert "element_num: 16" in str(meta[0])


def test_an_ignored_array_means_an_answer_from_old_data(mlp: Model):
    tensors = filled(mlp, values(4, 64))
    expected = mlp.predict(tensors)[0].get_data_to_numpy().copy()
    tensors[0].set_data_from_numpy(np.asfortranarray(values(4, 64, seed=5)))
    np.testing.assert_array_equal(mlp.predict(tensors)[0].get_data_to_numpy(), expected)


@pytest.mark.parametrize(
    ("inputs", "outputs", "error", "text"),
    [
        ("x", None, TypeError, "inputs must be list or tuple, but got <class 'str'>."),
        ([], None, RuntimeError, "model input len:1 not equal input len:0!"),
        ([3], None, TypeError, "inputs element must be Tensor, of numpy."),
        ([values(4, 64)], (), TypeError, "inputs must be list, but got <class 'list'>."),
        (
            [values(4, 64)],
            [3],
            TypeError,
            "outputs element must be Tensor, but got <class 'int'> at index 0.",
        ),
    ],
)
def test_texts_of_refused_predict_arguments(mlp: Model, inputs, outputs, error, text):
    with pytest.raises(error) as caught:
        mlp.predict(inputs, outputs)
    assert str(caught.value) == text


def test_a_model_may_be_built_and_used_in_different_threads(zoo: Zoo):
    built: list[Model] = []
    thread = threading.Thread(target=lambda: built.append(build(zoo.mlp)))
    thread.start()
    thread.join()
    assert predict(built[0], values(4, 64))[0].shape == (4, 64)


# Target cpu of release 2.0


def test_release_2_0_takes_an_ascend_target_and_fails_to_build_for_it(zoo: Zoo):
    lite.configure([64 << 20], release="2.0")
    asked = lite.Context()
    asked.target = ["ascend"]
    model = lite.Model()
    with pytest.raises(RuntimeError) as caught:
        model.build_from_file(zoo.mlp, ModelType.MINDIR, asked)
    assert str(caught.value) == BUILD_FAILED
    assert "release 2.0 has target cpu alone" in lite.last_native_log()
    with pytest.raises(AttributeError, match=r"mindspore_lite 2\.0\.0 has no ModelGroup"):
        lite.ModelGroup  # noqa: B018
