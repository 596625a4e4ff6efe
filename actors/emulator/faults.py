"""Faults on demand: a predict that fails, or never returns, for tests of what runs on cards.

Environment variable ``ASCEND_ORCHESTRATOR_EMULATED_FAULTS`` names a file, which is read before each
execution: a line ``PID fail`` or ``PID hang`` is a fault of the card of that process.
"""

import os
import threading
from pathlib import Path

VARIABLE = "ASCEND_ORCHESTRATOR_EMULATED_FAULTS"


def strike() -> None:
    """Fail, or never return, if this process's card is to.

    Raises:
        RuntimeError: it is to fail.
    """
    file = os.environ.get(VARIABLE)
    if not file or not Path(file).exists():
        return
    faults = dict(line.split() for line in Path(file).read_text().splitlines())
    fault = faults.get(str(os.getpid()))
    if fault == "fail":
        raise RuntimeError("a fault that was asked for")
    if fault == "hang":
        threading.Event().wait()
