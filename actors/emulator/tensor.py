"""``Tensor`` and ``TensorMeta``, with the library's zero-copy rules and its silent refusals."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.emulator.types import DATA_TYPES, NUMPY_TYPES, DataType, Format, check_isinstance

Array = npt.NDArray[Any]


class TensorMeta:
    """What ``get_outputs`` tells of one output."""

    def __init__(self) -> None:
        self.name = ""
        self.dtype = DataType.UNKNOWN
        self.shape: list[int] = []
        self.format = Format.DEFAULT
        self.element_num = 0
        self.data_size = 0

    def __str__(self) -> str:
        return (
            f"name: {self.name},\ndtype: {self.dtype},\nshape: {self.shape},\n"
            f"format: {self.format},\nelement_num: {self.element_num},\n"
            f"data_size: {self.data_size}."
        )


class Tensor:
    """A named array with a declared shape; the data is somebody else's memory.

    Args:
        tensor: a Tensor or an array to start from. A Tensor is copied, an array is not.
        shape: shape, or a check on ``tensor``'s.
        dtype: element type, or a check on ``tensor``'s.
        device: ``"ascend"`` or ``"ascend:N"``; kept, and not used.

    Raises:
        TypeError: arguments of other types, or a shape or dtype that differs from ``tensor``'s.
    """

    def __init__(
        self,
        tensor: "Tensor | Array | None" = None,
        shape: Sequence[int] | None = None,
        dtype: DataType | None = None,
        device: str | None = None,
    ) -> None:
        _check_shape_and_device(shape, device)
        if dtype is not None:
            check_isinstance("dtype", dtype, DataType)
        self._name = ""
        self._dtype = dtype or DataType.FLOAT32
        self._shape = list(shape or ())
        self._format = Format.NCHW
        self._device = "None:-1" if device is None else device if ":" in device else f"{device}:0"
        self._array: Array | None = None
        if tensor is not None:
            self._take(tensor, shape, dtype)

    def _take(
        self, tensor: "Tensor | Array", shape: Sequence[int] | None, dtype: DataType | None
    ) -> None:
        if isinstance(tensor, Tensor):
            source, kind = tensor.get_data_to_numpy().copy(), "tensor"
        elif isinstance(tensor, np.ndarray):
            source, kind = tensor, "numpy"
            if not source.flags.forc:
                source = np.ascontiguousarray(source)
            if source.dtype.type not in DATA_TYPES:
                raise TypeError(f"Unsupported numpy dtype value {source.dtype}")
        else:
            raise TypeError(
                "tensor must be MindSpore Lite's Tensor._tensor or numpy ndarray, "
                f"but got {type(tensor)}."
            )
        if shape is not None and list(shape) != list(source.shape):
            raise TypeError(
                f"user set shape is not equal numpy shape, user shape: {shape}, "
                f"{kind} shape is: {source.shape}."
            )
        found = DATA_TYPES[source.dtype.type]
        if dtype is not None and found != dtype:
            raise TypeError(
                f"user set dtype is not equal {kind} dtype, user dtype: {dtype}, "
                f"{kind} dtype is: {source.dtype}."
            )
        self._dtype, self._shape = found, list(source.shape)
        if source.flags.c_contiguous and source.dtype.isnative:
            self._array = source  # other arrays leave a tensor without data, and nobody says so

    def __str__(self) -> str:
        return (
            f"name: {self.name},\ndtype: {self.dtype},\nshape: {self.shape},\n"
            f"format: {self.format},\nelement_num: {self.element_num},\n"
            f"data_size: {self.data_size}.\ndevice: {self.device}."
        )

    @property
    def name(self) -> str:
        """Name; ``predict`` goes by position and ignores it."""
        return self._name

    @name.setter
    def name(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError(f"name must be str, but got {type(value)}.")
        self._name = value

    @property
    def dtype(self) -> DataType:
        """Element type."""
        return self._dtype

    @dtype.setter
    def dtype(self, value: DataType) -> None:
        if not isinstance(value, DataType):
            raise TypeError(f"dtype must be DataType, but got {type(value)}.")
        self._dtype = value

    @property
    def format(self) -> Format:
        """Layout; told, never acted on."""
        return self._format

    @format.setter
    def format(self, value: Format) -> None:
        if not isinstance(value, Format):
            raise TypeError(f"format must be Format, but got {type(value)}.")
        self._format = value

    @property
    def shape(self) -> list[int]:
        """Shape; -1 where a dimension is open. Numpy integers are refused."""
        return list(self._shape)

    @shape.setter
    def shape(self, value: Sequence[int]) -> None:
        if not isinstance(value, list | tuple):
            raise TypeError(f"shape must be list or tuple, but got {type(value)}.")
        _check_elements(value)
        self._shape = list(value)

    @property
    def element_num(self) -> int:
        """Elements; 0 while a dimension is open."""
        return 0 if any(dim < 0 for dim in self._shape) else math.prod(self._shape)

    @property
    def data_size(self) -> int:
        """Bytes; 0 while a dimension is open."""
        kind = NUMPY_TYPES.get(self._dtype)
        return self.element_num * np.dtype(kind).itemsize if kind else 0

    @property
    def device(self) -> str:
        """``None:-1`` for host memory."""
        return self._device

    def get_data_to_numpy(self) -> Array:
        """A writable view, not a copy: it changes when the memory below it does.

        Data that was never set is whatever lies there.
        """
        array = self._array
        if array is None or array.nbytes != self.data_size:
            array = np.empty(self.element_num, NUMPY_TYPES[self._dtype])
            self._array = array
        return array.view(NUMPY_TYPES[self._dtype]).reshape(self._shape)

    def set_data_from_numpy(self, numpy_obj: Array) -> None:
        """Read this array at ``predict``, without copying it.

        A Fortran-ordered or big-endian array is ignored without an error, as in the library: the
        tensor keeps its old data (python/api/tensor.py and tensor_pybind.cc of 2.0 and 2.7).

        Raises:
            TypeError: not an array, or an element type without a counterpart.
            RuntimeError: another element type or number of bytes than the tensor's.
        """
        if not isinstance(numpy_obj, np.ndarray):
            raise TypeError(f"numpy_obj must be numpy.ndarray, but got {type(numpy_obj)}.")
        if not numpy_obj.flags.forc:
            numpy_obj = np.ascontiguousarray(numpy_obj)
        kind = DATA_TYPES.get(numpy_obj.dtype.type)
        if kind is None:
            raise TypeError(f"Unsupported numpy dtype value {numpy_obj.dtype}")
        if kind != self._dtype:
            raise RuntimeError(
                f"data type not equal! Numpy type: {numpy_obj.dtype.type}, "
                f"Tensor type: {self._dtype}"
            )
        if numpy_obj.nbytes != self.data_size:
            raise RuntimeError(
                f"data size not equal! Numpy size: {numpy_obj.nbytes}, "
                f"Tensor size: {self.data_size}"
            )
        if numpy_obj.flags.c_contiguous and numpy_obj.dtype.isnative:
            self._array = numpy_obj

    @property
    def _has_data(self) -> bool:
        """Whether memory was attached to the tensor (not part of the library)."""
        return self._array is not None


def model_tensor(
    name: str, dtype: DataType, shape: Sequence[int], layout: Format, array: Array | None = None
) -> Tensor:
    """A tensor as the library hands it out; ``array`` is the memory that it shows."""
    tensor = Tensor(shape=list(shape), dtype=dtype)
    tensor._name, tensor._format, tensor._array = name, layout, array
    return tensor


def _check_elements(shape: Sequence[int]) -> None:
    for index, element in enumerate(shape):
        if not isinstance(element, int):
            raise TypeError(f"shape element must be int, but got {type(element)} at index {index}.")


def _check_shape_and_device(shape: Sequence[int] | None, device: str | None) -> None:
    if shape is not None:
        if not isinstance(shape, list | tuple):
            raise TypeError(f"shape must be list or tuple, but got {type(shape)}.")
        _check_elements(shape)
    if device is None:
        return
    if not isinstance(device, str):
        raise TypeError(f"device must be str, but got {type(device)}.")
    kind, *index = device.split(":")
    if len(index) > 1:
        raise TypeError("device must be 'ascend:index', eg: 'ascend:0'")
    if kind != "ascend":
        raise TypeError("now only support ascend device.")
    if index and not index[0].isdigit():
        raise TypeError("device id should >= 0.")
