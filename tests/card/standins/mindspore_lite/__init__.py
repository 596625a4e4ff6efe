"""Stands in for the vendor's package: the emulated library under the genuine name.

What the emulator has beside the library's names is hidden, and native lines go where the genuine
library writes them: to standard error. A process of its own finds as many cards
as STANDIN_CARDS says, and the ONNX file of a MindIR by its name in the folder STANDIN_ONNX: the
genuine library needs none, so a node's cache of models has none. The release is the emulator's
newest one, or the first that has a wheel for this Python.
"""

import logging
import os
from pathlib import Path
from typing import Any

from standin_imports import note_import

from actors import emulator
from actors.emulator import build
from actors.emulator.registry import NEWEST
from actors.machine.environment import floor

note_import(__name__)
_OURS = {"calibration", "configure", "declare", "last_native_log", "memory", "reset"}
RELEASE = max(NEWEST, floor("ascend").rpartition(".")[0])
#: What a test makes of the installed release: another version, names that it lacks.
version: str | None = None
lacks: set[str] = set()


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        os.write(2, f"[ERROR] LITE(1,python): {record.getMessage()}\n".encode())


def _serve_from(folder: str) -> None:
    beside = build.served_file
    build.served_file = lambda path, kind: beside(f"{folder}/{Path(path).name}", kind)


emulator.configure([1 << 30] * int(os.environ.get("STANDIN_CARDS", "1")), release=RELEASE)
if "STANDIN_ONNX" in os.environ:
    _serve_from(os.environ["STANDIN_ONNX"])
_handler = _Stderr()
logging.getLogger("actors.emulator").addHandler(_handler)


def __getattr__(name: str) -> Any:
    if name == "__version__" and version is not None:
        return version
    if name in _OURS or name in lacks:
        raise AttributeError(name)
    return getattr(emulator, name)
