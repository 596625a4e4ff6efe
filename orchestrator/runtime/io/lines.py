"""Files of lines: JSON lines and CSV, cut at bytes, each line in the piece that it begins in.

Nobody counts lines before they are read, so that files of any size are cut at once. Columns and
their types are those of the first megabyte of the first file; they are numbers, truth values and
text (and in JSON lists and objects of them), and a line that does not fit is a bad record.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import islice

import pyarrow as pa
import pyarrow.csv
import pyarrow.json

from orchestrator.errors import JobError
from orchestrator.jobs import Part, Piece, Reject, Stage, Unit, ranges
from orchestrator.runtime.io.files import InputFiles
from orchestrator.runtime.io.source import Load, Rows, batches_of, nothing_in

_SAMPLE = 1 << 20
_PARSED = 4096
_TRIED = 100
_CHUNK = 1 << 16
_BOM = b"\xef\xbb\xbf"

#: How Arrow counts rows, which are not those of the file.
_NUMBER = re.compile(r"Row #\d+: | in row \d+")

#: A line with its record's id.
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
        self.columns = tuple(self._schema.names)

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
                good = list(self._fitting(some, rejects))
                tables = [table for _, table in good] or [self._schema.empty_table()]
                ids = [name for read, _ in good for name, _ in read]
                yield Rows(pa.concat_tables(tables), ids, tuple(rejects))

    def _fitting(
        self, lines: Sequence[Line], rejects: list[Reject]
    ) -> Iterator[tuple[Sequence[Line], pa.Table]]:
        """The lines that can be parsed, by halving what cannot."""
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
        (at, data), prefix = self._stretch(piece), piece.prefix
        for line in data.split(b"\n"):
            if line and not line.isspace() and (at or self._first_line_is_a_record()):
                yield f"{prefix}{at}", line if at else line.removeprefix(_BOM)
            at += len(line) + 1

    def _stretch(self, piece: Piece) -> tuple[int, bytes]:
        """The bytes of the lines that begin in the piece, and where they begin."""
        at = max(piece.start - 1, 0)  # the byte before tells whether a line begins at the start
        with self._files.open(piece.file) as file:
            file.seek(at)
            data = file.read(piece.stop - at)
            if piece.start:
                before, newline, data = data.partition(b"\n")
                at += len(before) + len(newline)
            while data and not data.endswith(b"\n"):
                more, newline, _ = file.read(_CHUNK).partition(b"\n")
                data += more + newline
                if not more and not newline:
                    break
        return at, data

    def _inferred(self) -> pa.Schema:
        """The types of as many of the first lines as fit together."""
        problem = "it is empty"
        for name in self._names:
            end = min(_SAMPLE, self._files.size(name))
            lines = list(self._lines(Piece(name, 0, end, self.unit))) if end else []
            for start in range(min(len(lines), _TRIED)):
                count = len(lines) - start
                while count:
                    try:
                        table = self._table(lines[start : start + count], None)
                        return pa.schema([_plain(field) for field in table.schema])
                    except pa.ArrowException as error:
                        problem = _reason(error)
                        count //= 2
            if lines:
                raise JobError(name, f"its first lines are no records: {lines[0][0]}: {problem}")
        raise JobError(self._files.where, "holds no lines")


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


class CsvLines(LineFiles):
    """CSV, or with tabs TSV, with the columns' names in each file's first line.

    Raises:
        JobError: the first lines differ, or a name is there twice.
    """

    what = "CSV file"
    suffixes = (".csv", ".tsv")

    def _begin(self) -> None:
        self._tab = self._names[0].lower().endswith(".tsv")
        self._header: list[str] = []
        for name in self._names:
            header = self._header_of(name)
            self._header = self._header or header
            if header and header != self._header:
                raise JobError(
                    name, f"begins with {header}, and {self._names[0]} with {self._header}"
                )
        if len(set(self._header)) < len(self._header):
            raise JobError(self._names[0], f"names a column twice: {self._header}")

    def parse(self, data: bytes, schema: pa.Schema | None) -> pa.Table:
        """Lines as rows."""
        types = None if schema is None else {field.name: field.type for field in schema}
        return pa.csv.read_csv(
            pa.BufferReader(data),
            read_options=pa.csv.ReadOptions(
                column_names=self._header, use_threads=False, block_size=len(data) + 1
            ),
            parse_options=pa.csv.ParseOptions(delimiter="\t" if self._tab else ","),
            convert_options=pa.csv.ConvertOptions(column_types=types),
        )

    def _first_line_is_a_record(self) -> bool:
        return False

    def _header_of(self, name: str) -> list[str]:
        if not self._files.size(name):
            return []
        with self._files.open(name) as file:
            line = file.read(_CHUNK).removeprefix(_BOM).partition(b"\n")[0]
        text = io.StringIO(line.decode("utf-8", "replace").strip("\r"))
        return next(csv.reader(text, delimiter="\t" if self._tab else ","), [])


def _plain(field: pa.Field) -> pa.Field:
    """Text stays text although it looks like a time; a column without values is taken for text."""
    odd = pa.types.is_temporal(field.type) or pa.types.is_null(field.type)
    return pa.field(field.name, pa.string()) if odd else field


def _reason(error: Exception) -> str:
    """What is wrong with a line, without its number within the lines that were parsed."""
    return _NUMBER.sub("", str(error).splitlines()[0]).strip()
