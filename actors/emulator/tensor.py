"""``Tensor`` and ``TensorMeta``, with the library's zero-copy rules and its silent refusals."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from actors.emulator import nativelog
from actors.emulator.types import DATA_TYPES, LISTS, NUMPY_TYPES, Containers, DataType, Format

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

    This is the class of release 2.0; what later ones add is in ``releases``.

    Args:
        tensor: nothing that a caller could give.

    Raises:
        TypeError: something was given.
    """

    _containers: ClassVar[Containers] = LISTS

    def __init__(self, tensor: object = None) -> None:
        if tensor is not None:
            raise TypeError(
                f"tensor must be MindSpore Lite's Tensor._tensor, but got {type(tensor)}."
            )
        self._name = ""
        self._dtype = DataType.FLOAT32
        self._shape: list[int] = []
        self._format = Format.NCHW
        self._array: Array | None = None

    def __str__(self) -> str:
        return (
            f"name: {self.name},\ndtype: {self.dtype},\nshape: {self.shape},\n"
            f"format: {self.format},\nelement_num: {self.element_num},\n"
            f"data_size: {self.data_size}."
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
        self._check_shape(value)
        self._shape = list(value)

    def _check_shape(self, value: Sequence[int]) -> None:
        self._containers.check("shape", value)
        for index, element in enumerate(value):
            if not isinstance(element, int):
                raise TypeError(
                    f"shape element must be int, but got {type(element)} at index {index}."
                )

    @property
    def element_num(self) -> int:
        """Elements; 0 while a dimension is open."""
        return 0 if any(dim < 0 for dim in self._shape) else math.prod(self._shape)

    @property
    def data_size(self) -> int:
        """Bytes; 0 while a dimension is open."""
        kind = NUMPY_TYPES.get(self._dtype)
        return self.element_num * np.dtype(kind).itemsize if kind else 0

    def get_data_to_numpy(self) -> Array:
        """A writable view, not a copy: it changes when the memory below it does.

        Data that was never set is whatever lies there. Without elements it is an array of no
        shape and another type; 2.0 divides by their number and dies (executed).
        """
        if any(dim <= 0 for dim in self._shape):
            nativelog.write(f"Tensor shape {self._shape} is invalid")
            return np.empty(0)
        return self._memory()

    def _memory(self) -> Array:
        """The data as the emulator itself needs it (not part of the library)."""
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
            TypeError: not an array.
            RuntimeError: another element type or number of bytes than the tensor's.
        """
        if not isinstance(numpy_obj, np.ndarray):
            raise TypeError(f"numpy_obj must be numpy.ndarray, but got {type(numpy_obj)}.")
        if not numpy_obj.flags.forc:
            numpy_obj = np.ascontiguousarray(numpy_obj)
        if DATA_TYPES.get(numpy_obj.dtype.type) != self._dtype:
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
    kind: type[Tensor],
    name: str,
    dtype: DataType,
    shape: Sequence[int],
    layout: Format,
    array: Array | None = None,
) -> Tensor:
    """A tensor as the library hands it out; ``array`` is the memory that it shows."""
    tensor = kind()
    tensor._name, tensor._dtype, tensor._shape = name, dtype, list(shape)
    tensor._format, tensor._array = layout, array
    return tensor
