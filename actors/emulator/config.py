"""What the emulator reads from a Lite configuration, and from where.

A MindIR has its gears compiled in. Here they come from the converter's own configuration: an
``.ini`` beside the model, what ``declare`` was told of it, and what a build is given, later
sources over earlier ones, key by key.

Section ``emulated_card`` belongs to the emulator and the genuine library ignores it:
``execute_ms`` (one number, or one for each gear), ``copy_in_ms``, ``copy_out_ms``, and
``max_shape`` (``x:[8,128];mask:[8,128]``), the largest shapes meant for a purely dynamic model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from actors.gears import INPUT_SHAPE, SECTION, config_gears, parse_input_shape, parse_sections
from actors.shapes import Gear, Shape

Sections = Mapping[str, Mapping[str, str]]

EMULATED = "emulated_card"
_KEYS = {"execute_ms", "copy_in_ms", "copy_out_ms", "max_shape"}


@dataclass(frozen=True)
class Settings:
    """What one build or sizing goes by. Times in seconds; ``execute`` has one, or one a gear."""

    gears: tuple[Gear, ...] | None = None
    input_shapes: tuple[tuple[str, Shape], ...] | None = None
    max_shape: Gear | None = None
    execute: tuple[float, ...] = (0.0,)
    copy_in: float = 0.0
    copy_out: float = 0.0

    def execute_seconds(self, gear: int) -> float:
        """Emulated execution time of a gear."""
        return self.execute[gear if len(self.execute) > 1 else 0]


def merge(*sources: Sections) -> dict[str, dict[str, str]]:
    """Later sources win, key by key."""
    merged: dict[str, dict[str, str]] = {}
    for source in sources:
        for section, values in source.items():
            merged.setdefault(section, {}).update(values)
    return merged


def read_file(path: Path) -> dict[str, dict[str, str]]:
    """A Lite configuration by section; nothing where there is no file.

    Raises:
        ValueError: a line that is neither a section nor ``key=value``.
    """
    try:
        return parse_sections(path.read_text())
    except FileNotFoundError:
        return {}


def settings(sections: Sections) -> Settings:
    """Make sense of merged sections.

    Raises:
        ValueError: shapes not in the converter's format, a time that is no number, an unknown key
            of ``emulated_card``, or as many times as there are no gears.
    """
    own = sections.get(EMULATED, {})
    unknown = sorted(set(own) - _KEYS)
    if unknown:
        known = ", ".join(sorted(_KEYS))
        raise ValueError(f"[{EMULATED}] has no key {unknown[0]!r}; it has {known}")
    gears = config_gears(sections)
    text = sections.get(SECTION, {}).get(INPUT_SHAPE, "")
    execute = tuple(_seconds("execute_ms", part) for part in own.get("execute_ms", "0").split(","))
    if len(execute) > 1 and len(execute) != len(gears or ()):
        raise ValueError(
            f"[{EMULATED}] execute_ms has {len(execute)} times for {len(gears or ())} gears"
        )
    declared = own.get("max_shape", "").strip()
    return Settings(
        gears=gears,
        input_shapes=parse_input_shape(text) if text.strip() else None,
        max_shape=Gear(parse_input_shape(declared)) if declared else None,
        execute=execute,
        copy_in=_seconds("copy_in_ms", own.get("copy_in_ms", "0")),
        copy_out=_seconds("copy_out_ms", own.get("copy_out_ms", "0")),
    )


def _seconds(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise ValueError(f"[{EMULATED}] {key}: {text!r} is no number of milliseconds")
    return value / 1000
