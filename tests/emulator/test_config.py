"""What is read from Lite configurations."""

import pytest

from actors.emulator.config import merge, settings
from actors.shapes import Gear

GEARS = {"input_shape": "x:[-1,3,48,-1]", "dynamic_dims": "[1,320],[6,320]"}


def test_gears_come_from_the_converters_own_keys():
    found = settings({"ascend_context": GEARS})
    assert found.gears == (Gear((("x", (1, 3, 48, 320)),)), Gear((("x", (6, 3, 48, 320)),)))
    assert found.input_shapes == (("x", (-1, 3, 48, -1)),)


def test_one_time_for_all_gears_or_one_for_each():
    assert settings({"emulated_card": {"execute_ms": "5"}}).execute_seconds(3) == 0.005
    each = settings({"ascend_context": GEARS, "emulated_card": {"execute_ms": "5,20"}})
    assert [each.execute_seconds(gear) for gear in (0, 1)] == [0.005, 0.02]
    copies = settings({"emulated_card": {"copy_in_ms": "1.5", "copy_out_ms": "2"}})
    assert (copies.copy_in, copies.copy_out) == (0.0015, 0.002)


def test_largest_shapes_of_a_dynamic_model():
    found = settings({"emulated_card": {"max_shape": "x:[8,128];mask:[8,1]"}})
    assert found.max_shape == Gear((("x", (8, 128)), ("mask", (8, 1))))
    assert found.gears is None


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        ({"emulated_card": {"execution_ms": "5"}}, "has no key 'execution_ms'"),
        ({"emulated_card": {"execute_ms": "fast"}}, "'fast' is no number of milliseconds"),
        ({"emulated_card": {"copy_in_ms": "-1"}}, "'-1' is no number of milliseconds"),
        ({"emulated_card": {"execute_ms": "nan"}}, "'nan' is no number of milliseconds"),
        ({"emulated_card": {"execute_ms": "1,2"}}, "execute_ms has 2 times for 0 gears"),
        ({"ascend_context": {"input_shape": "x:[0,3]"}}, "'0'"),
    ],
)
def test_nonsense_is_refused(sections, text):
    with pytest.raises(ValueError) as caught:
        settings(sections)
    assert text in str(caught.value)


def test_later_sources_win_key_by_key():
    merged = merge({"a": {"x": "1", "y": "2"}}, {"a": {"y": "3"}, "b": {"z": "4"}})
    assert merged == {"a": {"x": "1", "y": "3"}, "b": {"z": "4"}}
