"""Bytes and durations as people write them: ``160MiB``, ``5ms``."""

import re
from fractions import Fraction

_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-zµ]*)\s*")
_BYTES = {
    "B": 1,
    **{f"{prefix}iB": 1024 ** (i + 1) for i, prefix in enumerate("KMGT")},
    **{f"{prefix}B": 1000 ** (i + 1) for i, prefix in enumerate("kMGT")},
}
_SECONDS = {
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "min": Fraction(60),
    "h": Fraction(3600),
}


def parse_bytes(text: str | int) -> int:
    """Read ``160MiB``, ``2GB``, ``512B`` or a whole number of bytes; rounds up to a whole byte.

    Raises:
        ValueError: no number, an unknown unit, or a number without a unit that is not an int.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        if text < 0:
            raise ValueError(f"a size cannot be negative: {text}")
        return text
    value, unit = _split(str(text), "a size such as 160MiB, 2GB or 512B")
    if unit not in _BYTES:
        raise ValueError(f"unknown unit {unit!r} in {text!r}: use one of {', '.join(_BYTES)}")
    return -int(-value * _BYTES[unit] // 1)


def format_bytes(nbytes: int) -> str:
    """Three digits or so with a binary unit: ``58.9 MiB``. For people; nothing parses it back."""
    sign, value = ("-", -nbytes) if nbytes < 0 else ("", nbytes)
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= size:
            return f"{sign}{value / size:.1f} {unit}"
    return f"{sign}{value} B"


def parse_seconds(text: str | float) -> float:
    """Read ``5ms``, ``2s``, ``1.5min`` as seconds; a bare number other than 0 is refused.

    Raises:
        ValueError: no number, or an unknown or missing unit.
    """
    if text == 0:
        return 0.0
    value, unit = _split(str(text), "a duration such as 5ms, 2s or 1.5min")
    if unit not in _SECONDS:
        raise ValueError(f"unknown unit {unit!r} in {text!r}: use one of {', '.join(_SECONDS)}")
    return float(value * _SECONDS[unit])


def format_seconds(seconds: float) -> str:
    """``850 us``, ``5.2 ms``, ``3.1 s``, ``2 min 5 s``: whichever reads best."""
    if seconds >= 120:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    if seconds >= 1:
        return f"{seconds:.1f} s"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds * 1e6:.0f} us"


def _split(text: str, wanted: str) -> tuple[Fraction, str]:
    match = _NUMBER.fullmatch(text)
    if not match:
        raise ValueError(f"expected {wanted}, got {text!r}")
    return Fraction(match[1]), match[2]
