"""The public Python API of mindspore_lite on emulated cards, over ONNX Runtime.

Names, signatures, order rules, exceptions and quirks follow mindspore_lite on target ``ascend``,
in the release that ``configure`` was given (2.7, 2.3.1, or 2.0 on target ``cpu`` alone); the
arithmetic is real, and so is the sharing of memory. A ``.mindir`` path is served by the ``.onnx``
beside it. Every allocation is entered in a ledger that plays the card's memory.

The library's names (``Context``, ``Model``, ``ModelGroup``, ...) are those of the configured
release: ask the package for them (``emulator.Model``), an import keeps what it got. Beside them:
``configure``, ``declare``, ``memory``, ``calibration``, ``last_native_log`` and ``reset``.
"""

from typing import Any

from actors.emulator.build import calibration
from actors.emulator.calibrate import Calibration, GearCalibration
from actors.emulator.control import configure, declare, memory, reset
from actors.emulator.device import DeviceMemory, LedgerEntry
from actors.emulator.nativelog import last_native_log
from actors.emulator.registry import LIBRARY
from actors.emulator.releases import RELEASES

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


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class of the library
    """A name of the library, as the configured release has it."""
    release = RELEASES[LIBRARY.release]
    if name == "__version__":
        return release.version
    try:
        return release.names[name]
    except KeyError:
        raise AttributeError(f"mindspore_lite {release.version} has no {name}") from None
