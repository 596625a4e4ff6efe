"""Tensors as they are since 2.3.1; what all releases have in common is in ``tests/contract``."""

import numpy as np
import pytest

from actors import emulator as lite
from actors.emulator import DataType, Format, Tensor


@pytest.mark.parametrize(
    ("array", "error", "text"),
    [
        ([1.0], TypeError, "numpy_obj must be numpy.ndarray, but got <class 'list'>."),
        (np.ones(6, np.complex64), TypeError, "Unsupported numpy dtype value complex64"),
        (
            np.ones((2, 3)),
            RuntimeError,
            "data type not equal! Numpy type: <class 'numpy.float64'>, "
            "Tensor type: DataType.FLOAT32",
        ),
    ],
)
def test_texts_of_refused_data(array, error, text):
    with pytest.raises(error) as caught:
        Tensor(shape=[2, 3], dtype=DataType.FLOAT32).set_data_from_numpy(array)
    assert str(caught.value) == text


def test_shapes_take_python_integers_only():
    holder = Tensor()
    with pytest.raises(TypeError) as caught:
        holder.shape = [np.int64(2)]
    assert str(caught.value) == (
        "shape element must be int, but got <class 'numpy.int64'> at index 0."
    )
    with pytest.raises(TypeError, match="shape must be list or tuple, but got <class 'int'>"):
        holder.shape = 3


def test_a_tensor_from_an_array_shows_it_and_one_from_a_tensor_copies_it():
    array = np.ones((2, 2), np.int32)
    shown = Tensor(array)
    copied = Tensor(shown)
    array[0, 0] = 5
    assert (shown.dtype, shown.shape) == (DataType.INT32, [2, 2])
    assert shown.get_data_to_numpy()[0, 0] == 5
    assert copied.get_data_to_numpy()[0, 0] == 1


def test_a_shape_or_a_type_alone_is_ignored_and_the_device_with_it():
    for arguments in ({"shape": [4]}, {"dtype": DataType.INT8}, {}):
        made = Tensor(device="ascend:1", **arguments)
        assert (made.shape, made.dtype, made.device) == ([], DataType.FLOAT32, "None:-1")
    made = Tensor(shape=(4,), dtype=DataType.INT8, device="ascend")
    assert (made.shape, made.dtype, made.device) == ([4], DataType.INT8, "ascend:0")


def test_a_tensor_without_elements_shows_another_shape_and_type():
    for shape in ([0, 4], [-1, 4]):
        shown = Tensor(shape=shape, dtype=DataType.INT32).get_data_to_numpy()
        assert (shown.shape, shown.dtype) == ((0,), np.float64)
        assert lite.last_native_log() == f"Tensor shape {shape} is invalid"


def test_a_tensor_from_a_fortran_order_array_has_no_data():
    assert not Tensor(np.asfortranarray(np.ones((2, 3), np.float32)))._has_data


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"tensor": 3}, "tensor must be MindSpore Lite's Tensor._tensor or numpy ndarray"),
        ({"device": "cpu"}, "now only support ascend device."),
        ({"device": "ascend:x"}, "device id should >= 0."),
        ({"dtype": 43}, "dtype must be DataType, but got <class 'int'>."),
        ({"tensor": np.ones(2, np.float32), "shape": [3]}, "user set shape is not equal numpy"),
    ],
)
def test_texts_of_refused_tensors(arguments, text):
    with pytest.raises(TypeError) as caught:
        Tensor(**arguments)
    assert text in str(caught.value)


def test_attributes_are_checked():
    holder = Tensor()
    for name, value in (("name", 3), ("dtype", 3), ("format", 3)):
        with pytest.raises(TypeError, match=f"{name} must be"):
            setattr(holder, name, value)
    holder.name, holder.format = "x", Format.NHWC
    assert "name: x" in str(holder)
    assert "device: None:-1." in str(holder)
