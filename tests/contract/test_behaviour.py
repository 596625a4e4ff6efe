"""How the library behaves on target cpu: each emulated release, and the genuine one where it is.

Every test is named after what was seen by running release 2.0.0.
"""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tests.contract.conftest import Library, numbers

BUILD_FAILED = "build_from_file failed! Error is Common error code."


def build(library: Library, path: Path):
    model = library.lite.Model()
    model.build_from_file(str(path), library.lite.ModelType.MINDIR)
    return model


@pytest.fixture
def mlp(library: Library, folder: Path):
    """x [4, 64] -> y [4, 64]."""
    return build(library, folder / "mlp.mindir")


@pytest.fixture
def pair(library: Library, folder: Path):
    """left, right [2, 8] -> total, difference [2, 8]."""
    return build(library, folder / "pair.mindir")


@pytest.fixture
def dynamic(library: Library, folder: Path):
    """x [n, 64] -> y [n, 64]."""
    return build(library, folder / "open.mindir")


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).rand(*shape).astype(np.float32)


def tensor(library: Library, *shape: int):
    made = library.lite.Tensor()
    made.dtype = library.lite.DataType.FLOAT32
    made.shape = list(shape)
    return made


def holding(library: Library, array: np.ndarray):
    made = tensor(library, *array.shape)
    made.set_data_from_numpy(array)
    return made


def filled(model, *arrays: np.ndarray) -> list:
    inputs = model.get_inputs()
    for one, array in zip(inputs, arrays):  # noqa: B905 - what is missing stays unset
        one.set_data_from_numpy(array)
    return inputs


def answer(model, *arrays: np.ndarray) -> np.ndarray:
    return model.predict(filled(model, *arrays))[0].get_data_to_numpy().copy()


# Tensors


def test_data_is_not_copied(library: Library):
    array = np.zeros((2, 3), np.float32)
    made = holding(library, array)
    array[0, 0] = 7
    assert made.get_data_to_numpy()[0, 0] == 7
    assert not made.get_data_to_numpy().flags.owndata


@pytest.mark.parametrize(
    "array",
    [np.asfortranarray(np.ones((2, 3), np.float32)), np.ones((2, 3), ">f4")],
    ids=["fortran order", "big endian"],
)
def test_fortran_order_and_big_endian_arrays_are_ignored_in_silence(library: Library, array):
    made = holding(library, np.zeros((2, 3), np.float32))
    made.set_data_from_numpy(array)
    assert not made.get_data_to_numpy().any()


def test_strided_arrays_are_copied_and_work(library: Library):
    assert holding(library, np.ones((4, 6), np.float32)[::2, ::2]).get_data_to_numpy().all()


def test_read_only_arrays_are_accepted(library: Library):
    array = np.ones((2, 3), np.float32)
    array.setflags(write=False)
    assert holding(library, array).get_data_to_numpy().all()


def test_only_bytes_and_dtype_are_compared_not_the_shape(library: Library):
    made = tensor(library, 2, 3)
    made.set_data_from_numpy(np.arange(6, dtype=np.float32))
    assert made.shape == [2, 3]
    assert made.get_data_to_numpy().tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (
            np.ones((2, 3)),
            "data type not equal! Numpy type: <class 'numpy.float64'>, "
            "Tensor type: DataType.FLOAT32",
        ),
        (
            np.ones((4, 3), np.float32),
            "data size not equal! Numpy size: 48, Tensor size: 24",
        ),
    ],
)
def test_texts_of_refused_data(library: Library, array, text):
    with pytest.raises(RuntimeError) as caught:
        tensor(library, 2, 3).set_data_from_numpy(array)
    assert str(caught.value) == text


def test_a_tensor_with_an_open_dimension_has_no_size_and_takes_no_data(library: Library):
    made = tensor(library, -1, 3)
    assert (made.element_num, made.data_size) == (0, 0)
    with pytest.raises(RuntimeError, match="Numpy size: 24, Tensor size: 0"):
        made.set_data_from_numpy(np.ones((2, 3), np.float32))


# Building


def test_inputs_and_outputs_have_the_files_order_names_and_formats(library: Library, pair):
    lite, inputs = library.lite, pair.get_inputs()
    assert [(t.name, t.shape, t.dtype, t.format) for t in inputs] == [
        (name, [2, 8], lite.DataType.FLOAT32, lite.Format.NCHW) for name in ("left", "right")
    ]
    outputs = pair.predict(filled(pair, values(2, 8), values(2, 8)))
    assert [(t.name, t.shape, t.format) for t in outputs] == [
        (name, [2, 8], lite.Format.DEFAULT) for name in ("total", "difference")
    ]


def test_an_unbuilt_model_has_no_inputs_and_fails_to_predict_or_resize(library: Library):
    model = library.lite.Model()
    assert model.get_inputs() == []
    with pytest.raises(RuntimeError) as caught:
        model.predict([])
    assert str(caught.value) == "predict failed!"
    with pytest.raises(RuntimeError) as caught:
        model.resize([], [])
    assert str(caught.value) == "resize failed! Error is Common error code."


def test_a_second_build_on_one_model_fails(library: Library, folder: Path, mlp):
    with pytest.raises(RuntimeError) as caught:
        mlp.build_from_file(str(folder / "mlp.mindir"), library.lite.ModelType.MINDIR)
    assert str(caught.value) == BUILD_FAILED
    assert str(mlp) == "model_path: {}.".format(folder / "mlp.mindir")


@pytest.mark.parametrize("content", [b"", b"this is not a model " * 50], ids=["empty", "garbage"])
def test_a_bad_file_a_folder_and_an_onnx_path_fail_alike(
    library: Library, folder: Path, tmp_path: Path, content
):
    for name in ("bad.mindir", "bad.onnx"):
        (tmp_path / name).write_bytes(content)
    for path in (tmp_path / "bad.mindir", tmp_path, folder / "mlp.onnx"):
        with pytest.raises(RuntimeError) as caught:
            build(library, path)
        assert str(caught.value) == BUILD_FAILED


def test_a_truncated_file_fails_alike(library: Library, folder: Path, tmp_path: Path):
    suffix = ".onnx" if library.emulated else ".mindir"  # an emulated card reads the ONNX file
    whole = (folder / "mlp").with_suffix(suffix).read_bytes()
    (tmp_path / "cut").with_suffix(suffix).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RuntimeError) as caught:
        build(library, tmp_path / "cut.mindir")
    assert str(caught.value) == BUILD_FAILED


@pytest.mark.parametrize("target", [["ascend"], ["Ascend", "cpu"]])
def test_an_ascend_target_is_taken_and_fails_at_the_build_where_there_is_no_card(
    library: Library, folder: Path, target
):
    if not library.emulated and any(Path("/dev").glob("davinci[0-9]*")):
        pytest.skip("there is a card")
    if library.emulated and numbers(library.contract["release"]) != (2, 0):
        pytest.skip("this release has an emulated card")
    context = library.lite.Context()
    context.target = target
    assert context.target == target
    context.ascend.device_id = 99
    with pytest.raises(RuntimeError) as caught:
        library.lite.Model().build_from_file(
            str(folder / "mlp.mindir"), library.lite.ModelType.MINDIR, context
        )
    assert str(caught.value) == BUILD_FAILED


def test_a_missing_file_and_a_missing_configuration_are_told(library: Library, folder: Path):
    with pytest.raises(RuntimeError) as caught:
        build(library, folder / "nowhere.mindir")
    assert str(caught.value) == "build_from_file failed, model_path does not exist!"
    with pytest.raises(RuntimeError) as caught:
        library.lite.Model().build_from_file(
            str(folder / "mlp.mindir"), library.lite.ModelType.MINDIR, None, "/nowhere/c.ini"
        )
    assert str(caught.value) == "build_from_file failed, config_path does not exist!"


# Predictions


def test_each_call_of_get_inputs_gives_new_tensors(mlp):
    first = filled(mlp, values(4, 64))
    mlp.get_inputs()[0].set_data_from_numpy(values(4, 64, seed=1))
    np.testing.assert_array_equal(first[0].get_data_to_numpy(), values(4, 64))


def test_inputs_are_read_at_predict(mlp):
    array = values(4, 64)
    inputs = filled(mlp, array)
    before = mlp.predict(inputs)[0].get_data_to_numpy().copy()
    array[:] = values(4, 64, seed=1)
    after = mlp.predict(inputs)[0].get_data_to_numpy().copy()
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, answer(mlp, values(4, 64, seed=1)))


def test_an_ignored_array_means_an_answer_from_old_data(mlp):
    inputs = filled(mlp, values(4, 64))
    inputs[0].set_data_from_numpy(np.asfortranarray(values(4, 64, seed=1)))
    found = mlp.predict(inputs)[0].get_data_to_numpy()
    np.testing.assert_array_equal(found, answer(mlp, values(4, 64)))


def test_inputs_that_were_never_set_give_an_answer_and_no_error(pair):
    assert [output.shape for output in pair.predict(pair.get_inputs())] == [[2, 8], [2, 8]]


def test_inputs_go_by_position_whatever_their_names(library: Library, pair):
    left, right = holding(library, values(2, 8)), holding(library, values(2, 8, seed=1))
    left.name = right.name = "zzz"
    found = pair.predict([left, right])[1].get_data_to_numpy()
    np.testing.assert_allclose(found, values(2, 8) - values(2, 8, seed=1), atol=1e-6)


def test_outputs_are_views_that_the_next_predict_overwrites(mlp):
    first = mlp.predict(filled(mlp, values(4, 64)))[0].get_data_to_numpy()
    kept = first.copy()
    second = mlp.predict(filled(mlp, values(4, 64, seed=1)))[0].get_data_to_numpy()
    assert first.ctypes.data == second.ctypes.data
    assert not np.array_equal(first, kept)
    assert first.flags.writeable
    assert not first.flags.owndata


def test_outputs_stay_valid_after_the_model_is_gone(library: Library, folder: Path):
    model = build(library, folder / "mlp.mindir")
    found = model.predict(filled(model, values(4, 64)))[0].get_data_to_numpy()
    kept = found.copy()
    del model
    np.testing.assert_array_equal(found, kept)


def test_a_wrong_number_of_inputs_fails_and_does_not_poison(library: Library, mlp):
    expected = answer(mlp, values(4, 64))
    two = [holding(library, values(4, 64)), holding(library, values(4, 64))]
    counts = numbers(library.contract["release"]) >= (2, 7)
    text = "model input len:1 not equal input len:2!" if counts else "predict failed!"
    with pytest.raises(RuntimeError) as caught:
        mlp.predict(two)
    assert str(caught.value) == text
    np.testing.assert_array_equal(answer(mlp, values(4, 64)), expected)


# Shapes


def test_a_resize_to_the_own_shapes_and_fetching_again_cures_a_wrong_shape(library: Library, mlp):
    """Whether the wrong call fails, or poisons the calls after it, depends on the calls before."""
    expected = answer(mlp, values(4, 64))
    with suppress(RuntimeError):
        mlp.predict([holding(library, values(6, 64))])
    mlp.resize(mlp.get_inputs(), [[4, 64]])
    np.testing.assert_array_equal(answer(mlp, values(4, 64)), expected)


def test_a_tensor_of_another_shape_and_equal_size_is_read_as_it_lies(library: Library, mlp):
    expected = answer(mlp, values(4, 64))
    found = mlp.predict([holding(library, values(4, 64).reshape(8, 32))])
    np.testing.assert_array_equal(found[0].get_data_to_numpy().reshape(4, 64), expected)


@pytest.mark.parametrize(
    ("dims", "problem"),
    [
        ([[0, 64]], "Invalid input param by user."),
        ([[-1, 64]], "Invalid input param by user."),
        ([[4, 63]], "Common error code."),
        ([[4]], "Common error code."),
    ],
)
def test_a_failed_resize_leaves_the_model_usable(mlp, dims, problem):
    expected = answer(mlp, values(4, 64))
    with pytest.raises(RuntimeError) as caught:
        mlp.resize(mlp.get_inputs(), dims)
    assert str(caught.value) == f"resize failed! Error is {problem}"
    np.testing.assert_array_equal(answer(mlp, values(4, 64)), expected)


@pytest.mark.parametrize("rows", [8, 2])
def test_a_fixed_model_resizes_on_target_cpu(mlp, rows):
    kept = answer(mlp, values(4, 64))
    mlp.resize(mlp.get_inputs(), [[rows, 64]])
    assert [tensor.shape for tensor in mlp.get_inputs()] == [[rows, 64]]
    both = np.concatenate([values(4, 64), values(4, 64, seed=1)])
    found = answer(mlp, both[:rows])
    assert found.shape == (rows, 64)
    np.testing.assert_allclose(found[:4], kept[:rows], atol=1e-6)
    mlp.resize(mlp.get_inputs(), [[4, 64]])
    np.testing.assert_allclose(answer(mlp, values(4, 64)), kept, atol=1e-6)


def test_a_resize_of_fewer_inputs_than_the_model_has_fails(pair):
    with pytest.raises(RuntimeError) as caught:
        pair.resize(pair.get_inputs()[:1], [[2, 8]])
    assert str(caught.value) == "resize failed! Error is Invalid input param by user."


def test_a_dynamic_model_has_no_shape_until_resize(dynamic):
    before = dynamic.get_inputs()
    assert (before[0].shape, before[0].element_num, before[0].data_size) == ([-1, 64], 0, 0)
    with pytest.raises(RuntimeError) as caught:
        before[0].set_data_from_numpy(values(4, 64))
    assert str(caught.value) == "data size not equal! Numpy size: 1024, Tensor size: 0"
    with pytest.raises(RuntimeError) as caught:
        dynamic.predict(before)
    assert str(caught.value) == "predict failed!"


def test_resize_fetch_set_predict_can_be_repeated(dynamic, mlp):
    expected = answer(mlp, values(4, 64))
    for rows in (4, 2, 4):
        dynamic.resize(dynamic.get_inputs(), [[rows, 64]])
        found = answer(dynamic, values(4, 64)[:rows])
        np.testing.assert_allclose(found, expected[:rows], atol=1e-6)


def test_filled_tensors_keep_their_shape_over_a_resize_and_fail_to_predict(dynamic):
    dynamic.resize(dynamic.get_inputs(), [[4, 64]])
    old = filled(dynamic, values(4, 64))
    dynamic.resize(old, [[2, 64]])
    assert (old[0].shape, dynamic.get_inputs()[0].shape) == ([4, 64], [2, 64])
    with pytest.raises(RuntimeError) as caught:
        dynamic.predict(old)
    assert str(caught.value) == "predict failed!"


@pytest.mark.parametrize("rows", [2, 6])
def test_tensors_of_another_batch_fail_without_a_resize(library: Library, dynamic, rows):
    dynamic.resize(dynamic.get_inputs(), [[4, 64]])
    with pytest.raises(RuntimeError) as caught:
        dynamic.predict([holding(library, values(rows, 64))])
    assert str(caught.value) == "predict failed!"
