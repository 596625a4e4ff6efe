"""The public Python API of mindspore_lite on emulated cards, over ONNX Runtime.

Names, signatures, order rules, exceptions and quirks follow mindspore_lite 2.7 on target
``ascend``; the arithmetic is real, and so is the sharing of memory. A ``.mindir`` path is served by
the ``.onnx`` beside it. Every allocation is entered in a ledger that plays the card's memory.

Beside the library's names: ``configure``, ``declare``, ``memory``, ``calibration``,
``last_native_log`` and ``reset``.
"""

from actors.emulator.api_context import Context
from actors.emulator.build import calibration
from actors.emulator.calibrate import Calibration, GearCalibration
from actors.emulator.device import DeviceMemory, LedgerEntry
from actors.emulator.group import ModelGroup
from actors.emulator.model import Model
from actors.emulator.nativelog import last_native_log
from actors.emulator.registry import configure, declare, memory, reset
from actors.emulator.tensor import Tensor, TensorMeta
from actors.emulator.types import DataType, Format, ModelGroupFlag, ModelType

__version__ = "2.7.0"

__all__ = [
    "Calibration",
    "Context",
    "DataType",
    "DeviceMemory",
    "Format",
    "GearCalibration",
    "LedgerEntry",
    "Model",
    "ModelGroup",
    "ModelGroupFlag",
    "ModelType",
    "Tensor",
    "TensorMeta",
    "calibration",
    "configure",
    "declare",
    "last_native_log",
    "memory",
    "reset",
]
