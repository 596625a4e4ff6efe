"""Files of lines, cut at bytes, each line in the piece that it begins in; and JSON lines.

Nobody counts lines before they are read, so that files of any size are cut at once. Columns and
their types are those of the first megabyte of the first file, where whole numbers become fractions
if a look at other places finds some; they are numbers, truth values and text (and in JSON lists and
objects of them), and a line that does not fit is a bad record.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import IO

import pyarrow as pa
import pyarrow.json

from orchestrator.errors import JobError
from orchestrator.jobs import Part, Piece, Reject, Stage, Unit, ranges
from orchestrator.runtime.io.columns import holds
from orchestrator.runtime.io.files import InputFiles
from orchestrator.runtime.io.source import Load, Rows, batches_of, nothing_in

_SAMPLE = 1 << 20
#: Other places that are looked at for the columns' types, and the bytes of each.
_LOOKS, _LOOK = 16, 1 << 16
_PARSED = 4096
_TRIED = 100
#: Bytes that are read at once where a line's end is looked for.
CHUNK = 1 << 16
#: What some programs put before the first line.
BOM = b"\xef\xbb\xbf"

#: How Arrow counts rows, which are not those of the file.
_NUMBER = re.compile(r"Row #\d+: | in row \d+")


#: A record's id and its line, or lines.
Line = tuple[str, bytes]


class LineFiles:
    """Files of lines with the columns of the first.

    Raises:
        JobError: there is none, they are empty, or nothing in the first is a record.
    """

    what: str
    suffixes: tuple[str, ...]
    part_size = 4 << 20
    batch_size = 64
    unit = Unit.BYTE

    def __init__(self, files: InputFiles) -> None:
        self._files = files
        self._names = files.only(self.suffixes)
        self.ignored = len(files.names) - len(self._names)
        if not self._names:
            raise nothing_in(files.where, self.what, self.ignored, self.suffixes)
        self._begin()
        self._schema = self._inferred()
        self.columns = {one.name: holds(one.type) for one in self._schema}

    def pieces(self, size: int) -> list[Piece]:
        """Every file in ranges of so many bytes."""
        return [
            piece
            for name in self._names
            for piece in ranges(name, self._files.size(name), size, self.unit)
        ]

    def stamp(self, file: str) -> str:
        """Size and time of change."""
        return self._files.stamp(file)

    def seen_from_here(self) -> bool:
        """Whether this process can read the files."""
        return self._files.seen_from_here()

    def read(self, part: Part, rows: int) -> Iterator[Load]:
        """Batches over lines and files."""
        return batches_of(self._rows(part), rows)

    def _begin(self) -> None:
        """Look at the heads of the files."""

    def parse(self, data: bytes, schema: pa.Schema | None) -> pa.Table:
        """Lines as a table; raises ArrowException when one does not fit."""
        raise NotImplementedError

    def _first_line_is_a_record(self) -> bool:
        return True

    def _rows(self, part: Part) -> Iterator[Rows]:
        """All lines of a part; many are parsed at once, because each time costs as much as many."""
        for piece in part.pieces:
            lines = self._lines(piece)
            while some := list(islice(lines, _PARSED)):
                rejects: list[Reject] = []
                good = list(self._fitting(self.whole(some, rejects), rejects))
                tables = [table for _, table in good] or [self._schema.empty_table()]
                ids = [name for read, _ in good for name, _ in read]
                yield Rows(pa.concat_tables(tables), ids, tuple(rejects))

    def whole(self, lines: Sequence[Line], rejects: list[Reject]) -> Sequence[Line]:
        """The lines that are a record each; what is only taken for one is set aside."""
        return lines

    def _fitting(
        self, lines: Sequence[Line], rejects: list[Reject]
    ) -> Iterator[tuple[Sequence[Line], pa.Table]]:
        """The lines that can be parsed, by halving what cannot."""
        if not lines:
            return
        try:
            yield lines, self._table(lines, self._schema)
        except pa.ArrowException as error:
            if len(lines) == 1:
                reason = f"cannot be read: {_reason(error)}"
                rejects.append(Reject(lines[0][0], Stage.READ, reason))
                return
            half = len(lines) // 2
            yield from self._fitting(lines[:half], rejects)
            yield from self._fitting(lines[half:], rejects)

    def _table(self, lines: Sequence[Line], schema: pa.Schema | None) -> pa.Table:
        table = self.parse(b"\n".join(line for _, line in lines) + b"\n", schema)
        if table.num_rows != len(lines):
            raise pa.ArrowInvalid(f"{len(lines)} lines hold {table.num_rows} records")
        return table

    def _lines(self, piece: Piece) -> Iterator[Line]:
        """Those that begin in the piece; blank ones are none."""
        with self._files.open(piece.file) as file:
            size = self._files.size(piece.file)
            at, stop = (self.begins(file, one, size) for one in (piece.start, piece.stop))
            file.seek(at)
            data = file.read(stop - at)
        for line in self.records(data.removesuffix(b"\n")):
            if line and not line.isspace() and (at or self._first_line_is_a_record()):
                yield f"{piece.prefix}{at}", line if at else line.removeprefix(BOM)
            at += len(line) + 1

    def begins(self, file: IO[bytes], at: int, size: int) -> int:
        """Where the first record begins that does so at this byte or later; else ``size``."""
        return next_line(file, at, size)

    def records(self, data: bytes) -> Iterator[bytes]:
        """Whole lines as records, each of which is followed by a line's end."""
        yield from data.split(b"\n")

    def _inferred(self) -> pa.Schema:
        """The types of as many of the first lines as fit together, widened by looks elsewhere."""
        problem = "it is empty"
        for name in self._names:
            lines = self._sample(name, 0, _SAMPLE)
            for start in range(min(len(lines), _TRIED)):
                count = len(lines) - start
                while count:
                    try:
                        table = self._table(lines[start : start + count], None)
                    except pa.ArrowException as error:
                        problem = _reason(error)
                        count //= 2
                    else:
                        return self._widened(table.schema)
            if lines:
                raise JobError(name, f"its first lines are no records: {lines[0][0]}: {problem}")
        raise JobError(self._files.where, "holds no lines")

    def _sample(self, name: str, start: int, size: int) -> Sequence[Line]:
        end = min(start + size, self._files.size(name))
        lines = list(self._lines(Piece(name, start, end, self.unit))) if start < end else []
        return self.whole(lines, [])

    def _widened(self, schema: pa.Schema) -> pa.Schema:
        """The schema with fractions for whole numbers where a look at other places finds some."""
        fields = list(schema)
        if any(_may_widen(field.type) for field in fields):
            for name, start in self._places():
                with contextlib.suppress(pa.ArrowException):
                    seen = self._table(self._sample(name, start, _LOOK), None).schema
                    fields = [_wider(field, seen) for field in fields]
        return pa.schema([_plain(field) for field in fields])

    def _places(self) -> Iterator[tuple[str, int]]:
        """Places all over the input, the same each time."""
        files = self._names[:: -(-len(self._names) // _LOOKS)]
        looks = max(_LOOKS // len(files), 1)
        for name in files:
            size = self._files.size(name)
            yield from ((name, size * look // looks) for look in range(looks))


class JsonLines(LineFiles):
    """One JSON object a line."""

    what = "JSON lines file"
    suffixes = (".jsonl", ".ndjson")

    def parse(self, data: bytes, schema: pa.Schema | None) -> pa.Table:
        """Objects as rows; fields that the schema does not have are left out."""
        return pa.json.read_json(
            pa.BufferReader(data),
            read_options=pa.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=pa.json.ParseOptions(
                explicit_schema=schema,
                unexpected_field_behavior="infer" if schema is None else "ignore",
            ),
        )


def next_line(file: IO[bytes], at: int, size: int) -> int:
    """Where the first line begins that does so at this byte or later; else ``size``."""
    if at == 0:
        return 0
    file.seek(at - 1)  # the byte before tells whether a line begins there
    while at <= size and (data := file.read(CHUNK)):
        found = data.find(b"\n")
        if found >= 0:
            return at + found
        at += len(data)
    return size


def _may_widen(kind: pa.DataType) -> bool:
    """Whether other lines may show that this type is too narrow."""
    if pa.types.is_list(kind):
        return _may_widen(kind.value_type)
    return bool(pa.types.is_integer(kind) or pa.types.is_null(kind))


def _wider(field: pa.Field, seen: pa.Schema) -> pa.Field:
    """A field, or what it must be for the values that were seen elsewhere, too."""
    at = seen.get_field_index(field.name)
    return field if at < 0 else pa.field(field.name, _widest(field.type, seen.field(at).type))


def _widest(kind: pa.DataType, other: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind) and pa.types.is_list(other):
        return pa.list_(_widest(kind.value_type, other.value_type))
    if pa.types.is_null(kind) or (pa.types.is_integer(kind) and pa.types.is_floating(other)):
        return other
    return kind


def _plain(field: pa.Field) -> pa.Field:
    """Text stays text although it looks like a time; a column without values is taken for text."""
    odd = pa.types.is_temporal(field.type) or pa.types.is_null(field.type)
    return pa.field(field.name, pa.string()) if odd else field


def _reason(error: Exception) -> str:
    """What is wrong with a line, without its number within the lines that were parsed."""
    return _NUMBER.sub("", str(error).splitlines()[0]).strip()
