"""Faults on demand: a predict that fails, never returns or kills, for tests of what runs on cards.

Environment variable ``ASCEND_ORCHESTRATOR_EMULATED_FAULTS`` names a file, which is read before each
execution: a line ``PID fail`` or ``PID hang`` is a fault of the card of that process, and a line
``poison VALUE`` ends every process that gets this value in an input.
"""

import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from actors.messages import Array

VARIABLE = "ASCEND_ORCHESTRATOR_EMULATED_FAULTS"


def strike(feeds: Sequence[Array]) -> None:
    """Fail, never return or die, if this process's card is to with these inputs.

    Raises:
        RuntimeError: it is to fail.
    """
    file = os.environ.get(VARIABLE)
    if not file or not Path(file).exists():
        return
    faults = dict(line.split() for line in Path(file).read_text().splitlines())
    if "poison" in faults and any((feed == float(faults["poison"])).any() for feed in feeds):
        os.kill(os.getpid(), signal.SIGKILL)
    fault = faults.get(str(os.getpid()))
    if fault == "fail":
        raise RuntimeError("a fault that was asked for")
    if fault == "hang":
        threading.Event().wait()
