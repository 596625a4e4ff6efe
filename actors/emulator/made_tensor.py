"""``Tensor`` from release 2.3.1 on, which is made from an array, a Tensor, or a shape and type."""

from collections.abc import Sequence

import numpy as np

from actors.emulator import tensor
from actors.emulator.arena import Array
from actors.emulator.types import DATA_TYPES, SEQUENCES, DataType, check_isinstance


class Tensor(tensor.Tensor):
    """``Tensor`` from 2.3.1 on: made from an array or a Tensor, on the host or for a card.

    Without a ``tensor``, a shape or an element type alone is ignored without a word, and so is the
    device with it (python/api/tensor.py after 2.7.0).

    Args:
        tensor: a Tensor or an array to start from. A Tensor is copied, an array is not.
        shape: shape, or a check on ``tensor``'s.
        dtype: element type, or a check on ``tensor``'s.
        device: ``"ascend"`` or ``"ascend:N"``; kept, and not used.

    Raises:
        TypeError: arguments of other types, or a shape or dtype that differs from ``tensor``'s.
    """

    _containers = SEQUENCES

    def __init__(
        self,
        tensor: "tensor.Tensor | Array | None" = None,
        shape: Sequence[int] | None = None,
        dtype: DataType | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__()
        if shape is not None:
            self._check_shape(shape)
        _check_device(device)
        if dtype is not None:
            check_isinstance("dtype", dtype, DataType)
        self._device = "None:-1"
        if tensor is not None:
            self._take(tensor, shape, dtype)
        elif shape is None or dtype is None:
            return
        else:
            self._shape, self._dtype = list(shape), dtype
        if device is not None:
            self._device = device if ":" in device else f"{device}:0"

    def __str__(self) -> str:
        return f"{super().__str__()}\ndevice: {self.device}."

    @property
    def device(self) -> str:
        """``None:-1`` for host memory."""
        return self._device

    def set_data_from_numpy(self, numpy_obj: Array) -> None:
        """As in 2.0, with a text of its own for element types without a counterpart."""
        if isinstance(numpy_obj, np.ndarray):
            _require_known(numpy_obj)
        super().set_data_from_numpy(numpy_obj)

    def _take(
        self,
        tensor: "tensor.Tensor | Array",
        shape: Sequence[int] | None,
        dtype: DataType | None,
    ) -> None:
        source, kind = _source(tensor)
        user = "user's" if kind == "tensor" else "user"
        own: tuple[object, object] = source.shape, source.dtype
        if kind == "tensor":  # told as that has them
            own = list(source.shape), DATA_TYPES[source.dtype.type]
        if shape is not None and list(shape) != list(source.shape):
            raise TypeError(
                f"user set shape is not equal numpy shape, {user} shape: {shape}, "
                f"{kind} shape is: {own[0]}."
            )
        found = DATA_TYPES[source.dtype.type]
        if dtype is not None and found != dtype:
            raise TypeError(
                f"user set dtype is not equal {kind} dtype, {user} dtype: {dtype}, "
                f"{kind} dtype is: {own[1]}."
            )
        self._dtype, self._shape = found, list(source.shape)
        if source.flags.c_contiguous and source.dtype.isnative:
            self._array = source  # other arrays leave a tensor without data, and nobody says so


def _require_known(array: Array) -> None:
    if array.dtype.type not in DATA_TYPES:
        raise TypeError(f"Unsupported numpy dtype value {array.dtype}")


def _source(given: "tensor.Tensor | Array") -> tuple[Array, str]:
    """The array that a Tensor is made from, and what messages call it."""
    if isinstance(given, tensor.Tensor):
        return given.get_data_to_numpy().copy(), "tensor"
    if not isinstance(given, np.ndarray):
        raise TypeError(
            "tensor must be MindSpore Lite's Tensor._tensor or numpy ndarray, "
            f"but got {type(given)}."
        )
    _require_known(given)
    return (given if given.flags.forc else np.ascontiguousarray(given)), "numpy"


def _check_device(device: str | None) -> None:
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
