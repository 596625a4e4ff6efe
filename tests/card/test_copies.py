"""Copies kept apart from execution, through a stand-in for pyACL: a byte takes it a microsecond."""

from pathlib import Path

import pytest

from actors.copies import copy_milliseconds
from actors.messages import GearMeasurement, Measurement
from actors.probe import without_copies
from actors.shapes import TensorSpec
from tests.card.conftest import gears_of

STANDINS = Path(__file__).parent / "standins"


def measured(*milliseconds: float) -> Measurement:
    """Gears of 2000 bytes in and 1000 and 3000 bytes out, by their times."""
    gears = gears_of(*((n + 1, 64) for n in range(len(milliseconds))))
    return Measurement(
        weight_bytes=1,
        object_bytes=0,
        streams=0,
        dynamic=False,
        inputs=(TensorSpec("x", "float32", (-1, 64)),),
        outputs=(),
        gears=tuple(
            GearMeasurement(gear, 1, (2000, 1000, 3000), ms)
            for gear, ms in zip(gears, milliseconds, strict=True)
        ),
        library="a library",
    )


def test_copies_of_the_same_bytes_are_subtracted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(STANDINS)
    found = without_copies(measured(100.0, 5.0), "0")
    whole, short = found.gears
    assert 2 <= whole.copy_in_ms < 45
    assert 4 <= whole.copy_out_ms < 45
    assert whole.execute_ms + whole.copy_in_ms + whole.copy_out_ms == pytest.approx(100)
    assert (short.execute_ms, short.copy_in_ms) == (5.0, 0.0), "no more than the whole call"
    assert found.copies_estimated


def test_without_pyacl_the_times_stay_those_of_whole_calls() -> None:
    assert copy_milliseconds([((1,), (1,))], "0") == ()
    assert without_copies(measured(100.0), "0") == measured(100.0)
