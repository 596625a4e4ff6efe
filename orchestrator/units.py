"""Bytes and durations as people write them: ``160MiB``, ``5ms``."""

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

_NUMBER = re.compile(r"\s*(\d{1,300}(?:\.\d{1,1100})?)\s*([A-Za-zµ]*)\s*", re.ASCII)
_BYTES = {
    "B": 1,
    **{f"{prefix}iB": 1024 ** (i + 1) for i, prefix in enumerate("KMGTP")},
    **{f"{prefix}B": 1000 ** (i + 1) for i, prefix in enumerate("kMGTP")},
}
_SECONDS = {
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "min": Fraction(60),
    "h": Fraction(3600),
}
_A_SIZE = "a size such as 160MiB, 2GB or 512B"
_A_DURATION = "a duration such as 5ms, 2s or 1.5min"


def parse_bytes(text: str | int) -> int:
    """Read ``160MiB``, ``2GB``, ``512B`` or a whole number of bytes; rounds up to a whole byte.

    Raises:
        ValueError: no number, an unknown unit, or a number without a unit that is not an int.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        if text < 0:
            raise ValueError(f"cannot be negative, got {text}")
        return text
    value, unit = _split(text, _A_SIZE)
    return -int(-value * _scale(unit, text, _BYTES, _A_SIZE) // 1)


def format_bytes(nbytes: int) -> str:
    """Three digits or so with a binary unit: ``58.9 MiB``. For people; nothing parses it back."""
    sign, value = ("-", -nbytes) if nbytes < 0 else ("", nbytes)
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= size - size // 20480:  # what would read 1024.0 of the unit below
            return f"{sign}{value / size:.1f} {unit}"
    return f"{sign}{value} B"


def exact_bytes(nbytes: int) -> str:
    """The text that ``parse_bytes`` reads back as exactly ``nbytes``: ``160MiB``, ``1000001B``."""
    for unit in ("PiB", "TiB", "GiB", "MiB", "KiB"):
        if nbytes and nbytes % _BYTES[unit] == 0:
            return f"{nbytes // _BYTES[unit]}{unit}"
    return f"{nbytes}B"


def parse_seconds(text: str | float) -> float:
    """Read ``5ms``, ``2s``, ``1.5min`` as seconds; a bare number other than 0 is refused.

    Raises:
        ValueError: no number, or an unknown or missing unit.
    """
    if text == 0 and not isinstance(text, bool):
        return 0.0
    value, unit = _split(text, _A_DURATION)
    return float(value * _scale(unit, text, _SECONDS, _A_DURATION))


def exact_seconds(seconds: float) -> str:
    """The text that ``parse_seconds`` reads back as exactly ``seconds``: ``0.005s``."""
    return f"{Decimal(repr(seconds)):f}s"


def _split(text: str | float, wanted: str) -> tuple[Fraction, str]:
    match = _NUMBER.fullmatch(str(text))
    if str(text).strip().startswith("-"):
        raise ValueError(f"cannot be negative, got {text!r}")
    if not match:
        raise ValueError(f"expected {wanted}, got {text!r}")
    return Fraction(match[1]), match[2]


def _scale(unit: str, text: object, scales: Mapping[str, int | Fraction], wanted: str) -> Fraction:
    if unit in scales:
        return Fraction(scales[unit])
    if not unit:
        raise ValueError(f"{text} needs its unit: expected {wanted}")
    raise ValueError(f"unknown unit {unit!r} in {text!r}: use one of {', '.join(scales)}")
