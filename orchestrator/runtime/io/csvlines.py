"""CSV: lines whose values may hold line breaks where they are in quotes."""

import contextlib
import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import IO

import pyarrow as pa
import pyarrow.csv

from orchestrator.errors import JobError
from orchestrator.jobs import Reject, Stage
from orchestrator.runtime.io.lines import BOM, CHUNK, Line, LineFiles, next_line

_QUOTED = '"[^"]*(?:""[^"]*)*"'


def _patterns(pattern: str) -> dict[str, re.Pattern[bytes]]:
    """By delimiter, which is D in the pattern."""
    return {d: re.compile(pattern.replace("D", d).encode(), re.DOTALL) for d in (",", "\t")}


def _fields(field: str) -> str:
    return f"(?:{field}|)(?:D(?:{field}|))*"


#: Fields whose quotes are closed: Arrow minds quotes only where a field begins with one.
_CLOSED = _patterns(_fields(f'{_QUOTED}(?:[^"D][^D]*)?|[^"D][^D]*'))
#: The same without quotes inside of bare fields, or anything behind a closed one.
_STRICT = _patterns(_fields(f'{_QUOTED}|[^"D\n]+'))
#: The beginning of what no further lines can make such fields.
_BROKEN = _patterns(f'(?:(?:{_QUOTED}|[^"D\n]+|)D)*{_QUOTED}[^"D]')
#: Most lines, and bytes, of a value that are known as such.
_MOST_LINES, _MOST_BYTES = 100, 4 << 20
_OPEN = f"a quote is not closed in its line, nor in the next {_MOST_LINES}"
#: Bytes before a place that are looked at to see whether it lies in a value.
_BEHIND = 1 << 16


class CsvLines(LineFiles):
    """CSV, or with tabs TSV, with the columns' names in each file's first line.

    Raises:
        JobError: the first lines differ, or a name is there twice.
    """

    what = "CSV file"
    suffixes = (".csv", ".tsv")

    def _begin(self) -> None:
        self._delimiter = "\t" if self._names[0].lower().endswith(".tsv") else ","
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
        """Records as rows."""
        types = None if schema is None else {field.name: field.type for field in schema}
        return pa.csv.read_csv(
            pa.BufferReader(data),
            read_options=pa.csv.ReadOptions(
                column_names=self._header, use_threads=False, block_size=len(data) + 1
            ),
            parse_options=pa.csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(column_types=types),
        )

    def _first_line_is_a_record(self) -> bool:
        return False

    def begins(self, file: IO[bytes], at: int, size: int) -> int:
        """See LineFiles. A look at what comes before tells whether the byte lies in a value.

        Whoever asks about a byte of a file gets the same answer, so that neighbouring pieces have
        each record once, whatever the file holds.
        """
        here = next_line(file, at, size)
        begin = next_line(file, max(at - _BEHIND, 0), size)
        file.seek(begin)
        before = file.read(max(here - begin, 0))
        if b'"' not in before:
            return here
        begin_of_record = begin
        for record in self.records(before + self._further(file)):
            if begin_of_record >= at:
                return begin_of_record
            begin_of_record += len(record) + 1
        return min(begin_of_record, size)

    def records(self, data: bytes) -> Iterator[bytes]:
        """Lines, joined where a value in quotes holds their ends."""
        lines, at, closed = data.split(b"\n"), 0, _CLOSED[self._delimiter]
        while at < len(lines):
            line, begin = lines[at], at
            at += 1
            if b'"' in line and not closed.fullmatch(line.rstrip(b"\r")):
                at = self._closed_at(lines, at)
            yield line if at == begin + 1 else b"\n".join(lines[begin:at])

    def whole(self, lines: Sequence[Line], rejects: list[Reject]) -> Sequence[Line]:
        """Without lines that leave a quote open, and that no few lines close."""
        found, closed = [], _CLOSED[self._delimiter]
        for name, line in lines:
            if b'"' not in line or b"\n" in line or closed.fullmatch(line.rstrip(b"\r")):
                found.append((name, line))
            else:
                rejects.append(Reject(name, Stage.READ, f"cannot be read: {_OPEN}"))
        return found

    def _further(self, file: IO[bytes]) -> bytes:
        """What may belong to a value that is open, from here on."""
        data = b""
        while data.count(b"\n") <= _MOST_LINES and len(data) < _MOST_BYTES:
            more = file.read(CHUNK)
            if not more:
                break
            data += more
        return data

    def _closed_at(self, lines: Sequence[bytes], at: int) -> int:
        """Where the line after those is that belong to the value that the line before left open.

        That is ``at`` itself where no few lines close it and give a record of as many columns.
        """
        text, strict = lines[at - 1], _STRICT[self._delimiter]
        for end in range(at, min(at + _MOST_LINES, len(lines))):
            text += b"\n" + lines[end].rstrip(b"\r")
            if _BROKEN[self._delimiter].match(text):
                return at
            if b'"' in lines[end] and strict.fullmatch(text):
                columns = len(self._fields(text.decode("utf-8", "replace")))
                return end + 1 if columns == len(self._header) else at
        return at

    def _header_of(self, name: str) -> list[str]:
        if not self._files.size(name):
            return []
        with self._files.open(name) as file:
            line = file.read(CHUNK).removeprefix(BOM).partition(b"\n")[0]
        fields = self._fields(line.decode("utf-8", "replace").strip("\r"))
        if line and not fields:
            raise JobError(name, "its first line names no columns")
        return fields

    def _fields(self, text: str) -> list[str]:
        """The values of a record; none where it is no CSV at all."""
        with contextlib.suppress(csv.Error):  # such as a value of more than 128 KiB
            return next(csv.reader(io.StringIO(text), delimiter=self._delimiter), [])
        return []
