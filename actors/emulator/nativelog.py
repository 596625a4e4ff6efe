"""What the library would print on stderr, where its exceptions say only ``Common error code.``."""

import logging
import threading

_logger = logging.getLogger("actors.emulator")
_last = threading.local()


def write(text: str) -> None:
    """Log a native line as a warning of logger ``actors.emulator``, and keep it for its thread."""
    _last.text = text
    _logger.warning(text)


def last_native_log() -> str:
    """The last line that the library logged in this thread; the cause of an error just raised."""
    text: str = getattr(_last, "text", "")
    return text


def forget() -> None:
    """Start a call with nothing logged."""
    _last.text = ""
