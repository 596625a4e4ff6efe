"""Model's rules: building, shapes, gears, predictions, and the texts of what fails."""

import threading
from pathlib import Path

import numpy as np
import pytest

import actors.emulator as lite
from actors.emulator import Format, Model, ModelType, Tensor
from tests import models
from tests.emulator.conftest import Zoo, build, context, predict, reference, share, values

BUILD_FAILED = "build_from_file failed! Error is Common error code."


@pytest.fixture
def mlp(zoo: Zoo) -> Model:
    return build(zoo.mlp)


def filled(model: Model, *arrays: np.ndarray) -> list[Tensor]:
    tensors = model.get_inputs()
    for tensor, array in zip(tensors, arrays, strict=True):
        tensor.set_data_from_numpy(array)
    return tensors


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
        ([values(4, 64)], (), TypeError, "inputs must be list, but got <class 'tuple'>."),
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


# Shapes


def test_one_wrong_shape_poisons_a_model_until_resize(mlp: Model):
    with pytest.raises(RuntimeError, match="predict failed!"):
        mlp.predict([Tensor(values(3, 64))])
    with pytest.raises(RuntimeError, match="predict failed!"):
        mlp.predict([values(4, 64)])
    assert "resize first" in lite.last_native_log()
    mlp.resize(mlp.get_inputs(), [[4, 64]])
    assert predict(mlp, values(4, 64))[0].shape == (4, 64)


def test_a_wrong_number_of_inputs_does_not_poison(mlp: Model):
    with pytest.raises(RuntimeError):
        mlp.predict([values(4, 64), values(4, 64)])
    assert predict(mlp, values(4, 64))[0].shape == (4, 64)


def test_another_shape_of_equal_size_is_a_warning_on_a_fixed_model(mlp: Model, caplog):
    found = mlp.predict([Tensor(values(8, 32))])[0].get_data_to_numpy()
    np.testing.assert_array_equal(found, predict(mlp, values(8, 32).reshape(4, 64))[0])
    assert "differ from the model's" in caplog.text


def test_a_fixed_model_resizes_to_its_own_shape_only(mlp: Model):
    mlp.resize(mlp.get_inputs(), [[4, 64]])
    with pytest.raises(RuntimeError) as caught:
        mlp.resize(mlp.get_inputs(), [[8, 64]])
    assert str(caught.value) == "resize failed! Error is Common error code."
    assert "Not support dynamic input" in lite.last_native_log()
    assert predict(mlp, values(4, 64))[0].shape == (4, 64)


@pytest.mark.parametrize(
    ("dims", "error", "text"),
    [
        ([[0, 64]], RuntimeError, "resize failed! Error is Invalid input param by user."),
        ([[-1, 64]], RuntimeError, "resize failed! Error is Invalid input param by user."),
        ([[4, 63]], RuntimeError, "resize failed! Error is Common error code."),
        (
            [[4, 64], [4, 64]],
            ValueError,
            "inputs' size does not match dims' size, but got inputs: 1 and dims: 2.",
        ),
        (
            [[np.int64(4), 64]],
            TypeError,
            "dims element's element must be int, but got <class 'numpy.int64'> "
            "at 0th dims element's 0th element.",
        ),
        (4, TypeError, "dims must be list or tuple of shape, but got <class 'int'>."),
        ([4], TypeError, "dims element must be list or tuple of int, but got <class 'int'>"),
    ],
)
def test_texts_of_refused_shapes(mlp: Model, dims, error, text):
    with pytest.raises(error) as caught:
        mlp.resize(mlp.get_inputs(), dims)
    assert str(caught.value).startswith(text)


def test_a_gear_model_is_open_until_a_gear_is_chosen(zoo: Zoo):
    model = build(zoo.gears)
    assert model.get_inputs()[0].shape == [-1, 64]
    assert model.get_outputs()[0].shape == [4, 64]
    with pytest.raises(RuntimeError, match="Numpy size: 256, Tensor size: 0"):
        model.predict([values(1, 64)])
    for rows in (1, 4, 1):
        model.resize(model.get_inputs(), [[rows, 64]])
        assert model.get_inputs()[0].shape == [rows, 64]
        assert model.get_outputs()[0].shape == [rows, 64]
        found = predict(model, values(rows, 64))[0]
        np.testing.assert_allclose(found, reference(zoo.gears, x=values(rows, 64))[0], atol=1e-6)


def test_a_gear_model_takes_the_shapes_of_its_gears_only(zoo: Zoo):
    model = build(zoo.gears)
    with pytest.raises(RuntimeError, match="resize failed! Error is Common error code"):
        model.resize(model.get_inputs(), [[2, 64]])
    assert "none of the model's 2 gears" in lite.last_native_log()


def test_predict_resizes_by_itself_when_a_tensor_has_the_shape_of_a_gear(zoo: Zoo):
    model = build(zoo.gears)
    for rows in (4, 1):
        assert model.predict([Tensor(values(rows, 64))])[0].shape == [rows, 64]


def test_tensors_fetched_before_a_resize_keep_their_shape_and_data(zoo: Zoo):
    model = build(zoo.gears)
    model.resize(model.get_inputs(), [[4, 64]])
    old = filled(model, values(4, 64))
    model.resize(old, [[1, 64]])
    assert old[0].shape == [4, 64]
    assert model.get_inputs()[0].shape == [1, 64]


def test_model_info_tells_the_compiled_shapes(zoo: Zoo):
    model = build(zoo.gears)
    assert model.get_model_info("input_shape") == "x:[-1,64]"
    assert model.get_model_info("dynamic_dims") == "[1],[4]"
    assert model.get_model_info("user_info") == ""
    assert model.get_model_info("current_pid").isdigit()
    with pytest.raises(TypeError, match="key must be str, but got <class 'int'>"):
        model.get_model_info(3)


def test_shapes_come_from_the_build_too(zoo: Zoo, tmp_path):
    sections = {"ascend_context": {"input_shape": "x:[2,64]"}}
    assert build(zoo.open, config=sections).get_inputs()[0].shape == [2, 64]
    config = tmp_path / "c.ini"
    config.write_text("[ascend_context]\ninput_shape=x:[-1,64]\ndynamic_dims=[3],[5]\n")
    model = Model()
    model.build_from_file(zoo.open, ModelType.MINDIR, context(), str(config))
    assert model.get_outputs()[0].shape == [5, 64]


def test_declared_shapes_serve_sizing_and_building(zoo: Zoo):
    lite.declare(zoo.open, {"ascend_context": {"input_shape": "x:[2,64]"}})
    share(zoo.open)
    model = build(zoo.open)
    assert model.get_inputs()[0].shape == [2, 64]
    assert lite.memory(0).workspace > 0


@pytest.mark.parametrize(
    ("sections", "log"),
    [
        ({"ascend_context": {"input_shape": "x:[4,63]"}}, "input x is [4, 64] in the model"),
        ({"ascend_context": {"input_shape": "z:[4,64]"}}, "the model's inputs are x"),
        ({"emulated_card": {"execute_ms": "soon"}}, "'soon' is no number of milliseconds"),
        ({"ascend_context": {"dynamic_dims": "[1]"}}, "needs input_shape"),
    ],
)
def test_configurations_that_do_not_suit_the_model(zoo: Zoo, sections, log):
    with pytest.raises(RuntimeError, match=BUILD_FAILED):
        build(zoo.mlp, config=sections)
    assert log in lite.last_native_log()


# Dynamic models


def test_a_dynamic_model_runs_at_any_shape_after_resize(zoo: Zoo):
    model = build(zoo.open, config={"emulated_card": {"max_shape": "x:[6,64]"}})
    assert model.get_inputs()[0].shape == [-1, 64]
    assert model.get_outputs()[0].shape == [-1]
    for rows in (6, 2, 5):
        model.resize(model.get_inputs(), [[rows, 64]])
        found = predict(model, values(rows, 64))[0]
        np.testing.assert_allclose(found, reference(zoo.open, x=values(rows, 64))[0], atol=1e-6)
    with pytest.raises(RuntimeError, match="resize failed! Error is Common error code"):
        model.resize(model.get_inputs(), [[3, 63]])


def test_a_dynamic_model_takes_more_memory_as_it_grows_and_keeps_it(zoo: Zoo):
    model = build(zoo.open)
    assert (lite.memory(0).private, lite.memory(0).io) == (0, 0)
    sizes = []
    for rows in (2, 4000, 2):
        model.resize(model.get_inputs(), [[rows, 64]])
        assert predict(model, values(rows, 64))[0].shape == (rows, 64)
        sizes.append(lite.memory(0).private)
    assert 0 < sizes[0] < sizes[1] == sizes[2]


def test_a_dynamic_model_that_outgrows_the_card_is_refused(zoo: Zoo):
    lite.configure([1 << 20])
    model = build(zoo.open)
    with pytest.raises(RuntimeError, match="resize failed! Error is Common error code"):
        model.resize(model.get_inputs(), [[4000, 64]])
    assert "Malloc device memory failed" in lite.last_native_log()
    model.resize(model.get_inputs(), [[2, 64]])
    assert predict(model, values(2, 64))[0].shape == (2, 64)


def test_a_model_may_be_built_and_used_in_different_threads(zoo: Zoo):
    built: list[Model] = []
    thread = threading.Thread(target=lambda: built.append(build(zoo.mlp)))
    thread.start()
    thread.join()
    assert predict(built[0], values(4, 64))[0].shape == (4, 64)
