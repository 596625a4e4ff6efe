"""The public Python API of mindspore_lite on emulated cards, over ONNX Runtime.

Names, signatures, order rules, exceptions and quirks follow mindspore_lite on target ``ascend``,
in the release that ``configure`` was given (2.7, 2.8, 2.3.1, or 2.0 on target ``cpu`` alone); the
arithmetic is real, and so is the sharing of memory. A ``.mindir`` path is served by the ``.onnx``
beside it. Every allocation is entered in a ledger that plays the card's memory.

The library's names (``Context``, ``Model``, ``ModelGroup``, ...) are those of the configured
release: ask the package for them (``emulator.Model``), an import keeps what it got. Beside them:
``configure``, ``declare``, ``memory``, ``calibration``, ``last_native_log`` and ``reset``.

Each name is imported when it is first asked for: the process that measures a model needs next to
nothing of this package, and there are many of them.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

# From 1.29 on the engine tells its maker what it runs, unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime  # noqa: F401 - without it there is no emulator, and the import is to say so

if TYPE_CHECKING:
    from actors.emulator.build import calibration
    from actors.emulator.calibrate import Calibration, GearCalibration
    from actors.emulator.control import configure, declare, memory, reset
    from actors.emulator.device import DeviceMemory, LedgerEntry
    from actors.emulator.nativelog import last_native_log

__all__ = [
    "Calibration",
    "DeviceMemory",
    "GearCalibration",
    "LedgerEntry",
    "calibration",
    "configure",
    "declare",
    "last_native_log",
    "memory",
    "reset",
]

_HOMES = {
    "Calibration": "calibrate",
    "DeviceMemory": "device",
    "GearCalibration": "calibrate",
    "LedgerEntry": "device",
    "calibration": "build",
    "configure": "control",
    "declare": "control",
    "last_native_log": "nativelog",
    "memory": "control",
    "reset": "control",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """A name of the emulator's own, or one of the library's, as the configured release has it."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name[:1].isupper() or name == "__version__":  # the library's names are classes
        control = importlib.import_module(f"{__name__}.control")
        return control.library_name(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
