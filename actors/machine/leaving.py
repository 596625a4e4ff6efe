"""The end of a process that has loaded the library: stop, flush, and leave without its own exit.

At interpreter exit mindspore_lite finalises ACL, which races with models that still live (and its
CPU engine was seen to abort there). The operating system gives everything back as well.
"""

import atexit
import logging
import os
import sys
from collections.abc import Callable


def leave_early(stop: Callable[[], None]) -> None:
    """At the process's exit: ``stop``, flush, and end it before the library finalises anything.

    Call it after the library was imported: what is registered last runs first.
    """
    atexit.register(_stop_and_leave, stop)


def leave(status: int = 0) -> None:
    """Flush what was written and end the process now."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _stop_and_leave(stop: Callable[[], None]) -> None:
    try:
        stop()
    finally:
        leave()
