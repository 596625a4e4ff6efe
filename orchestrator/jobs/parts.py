"""Parts: the units in which a job's output appears, and the stretches of input behind them. Pure.

A record has an id that never changes, made of its file's name and its place there:

    scan.png            a file that is one record
    pages.parquet#7     a row, counted from 0 over the whole file
    pages.jsonl@4096    a line, by the byte that it begins at
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

#: The column that names each record, unless the input has one of that name itself.
RECORD_ID = "record_id"


class Unit(str, Enum):
    """What the places of a file count."""

    FILE = "file"
    """The file is one record."""
    ROW = "row"
    """Records by number."""
    BYTE = "byte"
    """Bytes; the records are the lines that begin there, and nobody has counted them."""


_MARKS = {Unit.ROW: "#", Unit.BYTE: "@"}


@dataclass(frozen=True)
class Piece:
    """A stretch of one input file, from ``start`` up to but without ``stop``.

    ``file`` is the path below the input, with ``/``.
    """

    file: str
    start: int = 0
    stop: int = 1
    unit: Unit = Unit.FILE

    @property
    def size(self) -> int:
        """Records, or bytes of lines."""
        return self.stop - self.start

    @property
    def records(self) -> int | None:
        """How many records it holds; None while nobody has counted its lines."""
        return None if self.unit is Unit.BYTE else self.size

    @property
    def prefix(self) -> str:
        """What comes before the place in the ids of its rows or lines."""
        return self.file + _MARKS.get(self.unit, "")

    def record(self, place: int) -> str:
        """The id of the record at this place of the file."""
        return self.file if self.unit is Unit.FILE else f"{self.prefix}{place}"

    def __str__(self) -> str:
        """``pages.jsonl@0-4096``: the stretch as a message names it."""
        return self.record(self.start) + ("" if self.unit is Unit.FILE else f"-{self.stop}")


@dataclass(frozen=True)
class Part:
    """Neighbouring pieces of the input, whose results make one file of the output.

    The same pieces and size always give the same parts, whatever order the results come in.
    """

    index: int
    pieces: tuple[Piece, ...]

    @property
    def name(self) -> str:
        """The name of its file, without the ending: ``part-00007``."""
        return f"part-{self.index:05d}"

    @property
    def records(self) -> int | None:
        """How many records it holds; None while nobody has counted."""
        counts = [piece.records for piece in self.pieces]
        return None if None in counts else sum(count for count in counts if count is not None)


def ranges(file: str, total: int, size: int, unit: Unit) -> list[Piece]:
    """A file of ``total`` records or bytes as pieces of ``size``; the last may be smaller."""
    return [Piece(file, at, min(at + size, total), unit) for at in range(0, total, max(size, 1))]


def cut(pieces: Sequence[Piece], size: int) -> tuple[Part, ...]:
    """Join pieces to parts of at most ``size`` records or bytes; a larger piece is a part alone.

    Raises:
        ValueError: the size is below 1, or a stretch of input occurs twice.
    """
    if size < 1:
        raise ValueError(f"a part holds at least 1 record, not {size}")
    seen: set[tuple[str, int]] = set()
    groups: list[list[Piece]] = []
    held = 0
    for piece in pieces:
        if (piece.file, piece.start) in seen:
            raise ValueError(f"two records are named {piece.record(piece.start)!r}")
        seen.add((piece.file, piece.start))
        if not groups or held + piece.size > size:
            groups.append([])
            held = 0
        groups[-1].append(piece)
        held += piece.size
    return tuple(Part(index, tuple(group)) for index, group in enumerate(groups))
