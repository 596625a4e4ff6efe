"""What a person wants to know of a deployment afterwards: one log line for each event.

The lines go to the logger ``orchestrator.events``. Their fields are attributes of the record, so
that any formatter can print them; ``log_events`` sets one up where nobody has.
"""

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

EventName = Literal[
    "start", "ready", "warning", "death", "restart", "drained", "undo", "given-up", "quarantine",
    "replan", "interrupted", "set-aside", "scaling", "controller", "driver", "change", "down",
]  # fmt: skip
#: ``json`` for a JSON object in each line, ``text`` for all events also from commands.
VARIABLE = "ASCEND_ORCHESTRATOR_LOG"
_FIELDS = ("event", "deployment", "card", "model", "batch")
_events = logging.getLogger("orchestrator.events")


@dataclass(frozen=True)
class Journal:
    """Writes the events of one deployment."""

    deployment: str = ""

    def tell(
        self,
        event: EventName,
        text: str,
        *,
        card: str = "",
        models: Sequence[str] = (),
        batch: Sequence[int] = (),
        level: int = logging.INFO,
    ) -> None:
        """Write a line. ``batch`` are the ids of requests, for the events that are about some."""
        fields = {
            "event": event,
            "deployment": self.deployment,
            "card": card,
            "model": ", ".join(models),
            "batch": ", ".join(map(str, batch)),
        }
        where = " ".join(filter(None, (self.deployment, card)))
        _events.log(level, "%s: %s", where or "deployment", text, extra=fields)


class TextLines(logging.Formatter):
    """``2026-01-31 12:00:00 INFO death reader local/0: its process died (model det, rec)``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, without fields that are empty."""
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        fields = {name: getattr(record, name, None) for name in ("model", "batch")}
        about = ", ".join(f"{name} {value}" for name, value in fields.items() if value)
        event = getattr(record, "event", record.name)
        text = f"{clock} {record.levelname} {event} {record.getMessage()}"
        return f"{text} ({about})" if about else text


class JsonLines(logging.Formatter):
    """The same as a JSON object: time, level, message, and the fields that are not empty."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields = {name: getattr(record, name, None) for name in _FIELDS}
        known = {name: value for name, value in fields.items() if value not in (None, "")}
        told = {"time": round(record.created, 3), "level": record.levelname, **known}
        return json.dumps({**told, "message": record.getMessage()})


def log_events(as_json: bool | None = None, level: int = logging.INFO) -> None:
    """Write events to standard error, unless the program has set up the logger already.

    Without it, Python prints those of level WARNING and above there, without time or fields.

    Args:
        as_json: a JSON object in each line; None: as the environment variable
            ``ASCEND_ORCHESTRATOR_LOG`` says (``json``), else text.
        level: the least that is written, as of ``logging``.
    """
    if not _events.handlers:
        _install(as_json, level)


@contextlib.contextmanager
def events_shown() -> Iterator[None]:
    """``log_events`` for one command: what goes wrong, or all if the variable is set."""
    if _events.handlers:
        yield
        return
    handler = _install(None, logging.INFO if VARIABLE in os.environ else logging.WARNING)
    try:
        yield
    finally:
        _events.removeHandler(handler)
        _events.setLevel(logging.NOTSET)
        _events.propagate = True


class _StandardError(logging.Handler):
    """Writes to what ``sys.stderr`` is then, which a progress display may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"{self.format(record)}\n")
        sys.stderr.flush()


def _install(as_json: bool | None, level: int) -> logging.Handler:
    as_json = os.environ.get(VARIABLE) == "json" if as_json is None else as_json
    handler = _StandardError()
    handler.setFormatter(JsonLines() if as_json else TextLines())
    _events.addHandler(handler)
    _events.setLevel(level)
    _events.propagate = False
    return handler
