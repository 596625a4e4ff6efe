"""Shapes of a Model: wrong ones, gears, open dimensions, and the texts of what fails."""

import numpy as np
import pytest

import actors.emulator as lite
from actors.emulator import Model, ModelType, Tensor
from tests.emulator.conftest import Zoo, build, context, filled, predict, reference, share, values

BUILD_FAILED = "build_from_file failed! Error is Common error code."


@pytest.fixture
def mlp(zoo: Zoo) -> Model:
    return build(zoo.mlp)


def test_one_wrong_shape_poisons_a_model_until_resize(mlp: Model):
    with pytest.raises(RuntimeError, match="predict failed!"):
        mlp.predict([Tensor(values(3, 64))])
    with pytest.raises(RuntimeError, match="predict failed!"):
        mlp.predict([values(4, 64)])
    assert "resize first" in lite.last_native_log()
    mlp.resize(mlp.get_inputs(), [[4, 64]])
    assert predict(mlp, values(4, 64))[0].shape == (4, 64)


def test_a_wrong_shape_poisons_on_target_cpu_as_well(zoo: Zoo):
    on_cpu = Model()
    on_cpu.build_from_file(zoo.mlp, ModelType.MINDIR)
    expected = predict(on_cpu, values(4, 64))[0]
    for wrong in (values(3, 64), values(4, 64)):
        with pytest.raises(RuntimeError, match="predict failed!"):
            on_cpu.predict([Tensor(wrong)])
    on_cpu.resize(on_cpu.get_inputs(), [[4, 64]])
    np.testing.assert_array_equal(predict(on_cpu, values(4, 64))[0], expected)


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
    config.write_text("[ascend_context]\ninput_shape=x:[-1,64]\ndynamic_dims=[1],[4]\n")
    model = Model()
    model.build_from_file(zoo.open, ModelType.MINDIR, context(), str(config))
    assert model.get_outputs()[0].shape == [4, 64]


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
