"""Walks a protobuf message in a mapped file, field by field, copying nothing that is not asked for.

Model files are read this way wherever their header is wanted: without the packages of their makers,
and without their weights coming into memory. Errors are ValueError, IndexError or
UnicodeDecodeError.
"""

import mmap
from collections.abc import Iterator

#: Where a field's bytes lie in the file: first, and one past the last.
Span = tuple[int, int]


class Message:
    """One file as a message. Spans are places in it; the whole is ``span``."""

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self.data = data
        self.span: Span = (0, len(data))

    def fields(self, span: Span) -> Iterator[tuple[int, int | Span]]:
        """``(number, int)`` for varints, ``(number, (start, stop))`` for everything else."""
        pos, end = span
        while pos < end:
            key, pos = self._varint(pos)
            number, wire = key >> 3, key & 7
            if wire == 0:
                value, pos = self._varint(pos)
                yield number, value
            elif wire == 2:
                length, pos = self._varint(pos)
                if pos + length > end:
                    raise ValueError(f"field {number} at byte {pos} is cut off")
                yield number, (pos, pos + length)
                pos += length
            elif wire in (1, 5):
                width = 8 if wire == 1 else 4
                yield number, (pos, pos + width)
                pos += width
            else:
                raise ValueError(f"wire type {wire} before byte {pos}")

    def spans(self, span: Span, number: int) -> Iterator[Span]:
        """The places of a field that has a length, in the order of the file."""
        for found, value in self.fields(span):
            if found == number and not isinstance(value, int):
                yield value

    def numbers(self, span: Span, number: int) -> list[int]:
        """The values of a repeated number, packed or not."""
        found: list[int] = []
        for field, value in self.fields(span):
            if field == number:
                found.extend([value] if isinstance(value, int) else self._packed(value))
        return found

    def number(self, span: Span, number: int) -> int:
        """The value of a number; 0 where it is left out."""
        return next(iter(self.numbers(span, number)), 0)

    def text(self, span: Span, number: int) -> str:
        """The first text of a field; empty where it is left out."""
        for start, stop in self.spans(span, number):
            return self.data[start:stop].decode()
        return ""

    def _packed(self, span: Span) -> Iterator[int]:
        pos, end = span
        while pos < end:
            value, pos = self._varint(pos)
            yield value

    def _varint(self, pos: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = self.data[pos]
            value |= (byte & 0x7F) << shift
            pos, shift = pos + 1, shift + 7
            if byte < 0x80:
                return value, pos
            if shift > 63:
                raise ValueError(f"no number at byte {pos}")
