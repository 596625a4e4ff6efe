import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.units import (
    exact_bytes,
    exact_seconds,
    format_bytes,
    parse_bytes,
    parse_seconds,
)


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("0B", 0),
        ("512B", 512),
        ("160MiB", 160 << 20),
        (" 1.5 GiB ", 3 << 29),
        ("2GB", 2_000_000_000),
        ("1kB", 1000),
        ("0.5B", 1),
        (7, 7),
    ],
)
def test_sizes(text, nbytes):
    assert parse_bytes(text) == nbytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5ms", 0.005), ("2s", 2.0), ("1.5min", 90.0), ("850us", 0.00085), ("1h", 3600.0), (0, 0.0)],
)
def test_durations(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("many", "expected a size such as 160MiB, 2GB or 512B, got 'many'"),
        ("160", "160 needs its unit: expected a size such as 160MiB, 2GB or 512B"),
        ("160Mb", "unknown unit 'Mb' in '160Mb': use one of B, KiB, MiB"),
        ("1e3MiB", "expected a size"),
        ("-5MiB", "cannot be negative, got '-5MiB'"),
        (-5, "cannot be negative, got -5"),
        (True, "expected a size such as 160MiB, 2GB or 512B, got True"),
        ("9" * 5000 + "B", "expected a size"),
        ("٣MiB", "expected a size"),
    ],
)
def test_what_is_no_size(text, message):
    with pytest.raises(ValueError) as caught:
        parse_bytes(text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("soon", "expected a duration such as 5ms, 2s or 1.5min, got 'soon'"),
        (5, "5 needs its unit: expected a duration"),
        ("5m", "unknown unit 'm' in '5m': use one of us, µs, ms, s, min, h"),
        ("nan", "expected a duration"),
        (False, "expected a duration"),
        (-1.5, "cannot be negative, got -1.5"),
    ],
)
def test_what_is_no_duration(text, message):
    with pytest.raises(ValueError) as caught:
        parse_seconds(text)
    assert str(caught.value).startswith(message)


@given(st.integers(0, 1 << 70))
def test_an_exact_size_reads_back_the_same(nbytes):
    assert parse_bytes(exact_bytes(nbytes)) == nbytes


@given(st.floats(0, 1e9))
def test_an_exact_duration_reads_back_the_same(seconds):
    assert parse_seconds(exact_seconds(seconds)) == seconds


@given(st.integers(1, 10**6), st.sampled_from(["B", "KiB", "MiB", "GiB", "TiB", "kB", "MB", "GB"]))
def test_a_size_is_proportional(number, unit):
    assert parse_bytes(f"{number}{unit}") == number * parse_bytes(f"1{unit}")


@given(st.text(max_size=20))
def test_any_text_is_a_size_or_a_clear_refusal(text):
    try:
        assert parse_bytes(text) >= 0
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (61_761_126, "58.9 MiB"),
        (-(3 << 30), "-3.0 GiB"),
    ],
)
def test_sizes_for_people(nbytes, text):
    assert format_bytes(nbytes) == text
