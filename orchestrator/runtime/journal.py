"""What a person wants to know of a deployment afterwards: one log line for each event.

The lines go to the logger ``orchestrator.events``. Their fields are attributes of the record, so
that any formatter can print them; ``log_events`` sets one up where nobody has.
"""

import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

EventName = Literal[
    "start", "ready", "warning", "death", "restart", "drained", "given-up", "quarantine", "replan",
    "set-aside",
]  # fmt: skip
#: ``json`` for a JSON object in each line.
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
        batch: int | None = None,
        level: int = logging.INFO,
    ) -> None:
        """Write a line. ``batch`` is the id of a request, for the events that are about one."""
        fields = {
            "event": event,
            "deployment": self.deployment,
            "card": card,
            "model": ", ".join(models),
            "batch": batch,
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


def log_events(as_json: bool | None = None) -> None:
    """Write events to standard error, unless the program has set up the logger already.

    ``as_json`` None: as the environment variable ``ASCEND_ORCHESTRATOR_LOG`` says, else text.
    """
    if _events.handlers:
        return
    as_json = os.environ.get(VARIABLE) == "json" if as_json is None else as_json
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else TextLines())
    _events.addHandler(handler)
    _events.setLevel(logging.INFO)
    _events.propagate = False
