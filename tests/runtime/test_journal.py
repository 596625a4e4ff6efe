"""Events as log lines, for people and for programs."""

import json
import logging

import pytest

from orchestrator.runtime.journal import Journal, JsonLines, TextLines


def record_of(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    with caplog.at_level(logging.INFO, logger="orchestrator.events"):
        Journal("reader").tell("death", "its process died", card="n/0", models=("det", "rec"))
    [record] = caplog.records
    return record


def test_an_event_is_one_line_that_people_can_read(caplog: pytest.LogCaptureFixture) -> None:
    line = TextLines().format(record_of(caplog))
    assert line.endswith(" INFO death reader n/0: its process died (model det, rec)")


def test_an_event_has_fields_for_programs(caplog: pytest.LogCaptureFixture) -> None:
    told = json.loads(JsonLines().format(record_of(caplog)))
    assert told.pop("time") > 0
    assert told == {
        "level": "INFO",
        "event": "death",
        "deployment": "reader",
        "card": "n/0",
        "model": "det, rec",
        "message": "reader n/0: its process died",
    }
