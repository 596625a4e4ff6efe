"""The enums of the library and its checks of arguments, the same in every release emulated here."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np


class DataType(Enum):
    """Element types of a Tensor."""

    UNKNOWN = 0
    BOOL = 30
    INT8 = 32
    INT16 = 33
    INT32 = 34
    INT64 = 35
    UINT8 = 37
    UINT16 = 38
    UINT32 = 39
    UINT64 = 40
    FLOAT16 = 42
    FLOAT32 = 43
    FLOAT64 = 44
    INVALID = 2147483647


class Format(Enum):
    """Memory layouts of a Tensor. Inputs say NCHW whatever their rank, outputs DEFAULT."""

    DEFAULT = -1
    NCHW = 0
    NHWC = 1
    NHWC4 = 2
    HWKC = 3
    HWCK = 4
    KCHW = 5
    CKHW = 6
    KHWC = 7
    CHWK = 8
    HW = 9
    HW4 = 10
    NC = 11
    NC4 = 12
    NC4HW4 = 13
    NCDHW = 15
    NWC = 16
    NCW = 17
    NDHWC = 18
    NC8HW8 = 19


class ModelType(Enum):
    """File types that a Model is built from."""

    MINDIR = 0
    MINDIR_LITE = 4


class ModelGroupFlag(Enum):
    """What the members of a ModelGroup share."""

    SHARE_WEIGHT = 1
    SHARE_WORKSPACE = 2
    SHARE_WEIGHT_WORKSPACE = 3


#: numpy scalar type of each element type.
NUMPY_TYPES: dict[DataType, type[np.generic]] = {
    DataType.BOOL: np.bool_,
    DataType.INT8: np.int8,
    DataType.INT16: np.int16,
    DataType.INT32: np.int32,
    DataType.INT64: np.int64,
    DataType.UINT8: np.uint8,
    DataType.UINT16: np.uint16,
    DataType.UINT32: np.uint32,
    DataType.UINT64: np.uint64,
    DataType.FLOAT16: np.float16,
    DataType.FLOAT32: np.float32,
    DataType.FLOAT64: np.float64,
}

DATA_TYPES: dict[type[np.generic], DataType] = {value: key for key, value in NUMPY_TYPES.items()}


def data_type(dtype: str) -> DataType:
    """The element type with this numpy name."""
    return DATA_TYPES[np.dtype(dtype).type]


def check_isinstance(name: str, value: object, kind: type[Any]) -> None:
    """Raise the library's TypeError unless ``value`` is a ``kind`` (its ``_checkparam.py``)."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {kind.__name__}, but got {type(value)}.")


def check_list(name: str, value: Any, kind: type[Any]) -> None:  # noqa: ANN401 - whatever came
    """Raise the library's TypeError unless ``value`` is a list of ``kind``."""
    LISTS.check(name, value)
    check_elements(name, value, kind)


def check_elements(name: str, value: Any, kind: type[Any]) -> None:  # noqa: ANN401 - a container
    """Raise the library's TypeError unless every element is a ``kind``."""
    for index, element in enumerate(value):
        if not isinstance(element, kind):
            raise TypeError(
                f"{name} element must be {kind.__name__}, but got {type(element)} at index {index}."
            )


@dataclass(frozen=True)
class Containers:
    """Which containers a release takes, and what it calls them where one is refused."""

    kinds: tuple[type, ...]
    names: dict[str, str]

    def check(self, name: str, value: object, where: str = "") -> None:
        """Raise the library's TypeError unless ``value`` is one of these containers."""
        if not isinstance(value, self.kinds):
            wanted = self.names.get(name, " or ".join(kind.__name__ for kind in self.kinds))
            raise TypeError(f"{name} must be {wanted}, but got {type(value)}{where}.")


#: Release 2.0 takes lists alone; resize names what later ones take (base_model.py of 2.7.0).
LISTS = Containers((list,), {})
SEQUENCES = Containers((list, tuple), {})
RESIZED = Containers(
    (list, tuple),
    {
        "inputs": "list or tuple of Lite Tensor",
        "dims": "list or tuple of shape",
        "dims element": "list or tuple of int",
    },
)
