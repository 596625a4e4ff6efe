"""Which source an input is read by."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Union

from orchestrator.errors import JobError
from orchestrator.jobs import Unit
from orchestrator.runtime.io.csvlines import CsvLines
from orchestrator.runtime.io.files import InputFiles
from orchestrator.runtime.io.lines import JsonLines
from orchestrator.runtime.io.rows import NumpyRows, ParquetRows
from orchestrator.runtime.io.source import Source
from orchestrator.runtime.io.whole import Images, WholeFiles
from orchestrator.units import exact_bytes, parse_bytes

if TYPE_CHECKING:
    from ray.data import Dataset

#: A file, a folder or the URL of one; or a dataset of Ray Data.
Input = Union[str, Path, "Dataset"]

#: By the name of the format. ``binary`` takes any file, so that it is never inferred.
KINDS: Mapping[str, type[Images | ParquetRows | JsonLines | CsvLines | NumpyRows | WholeFiles]] = {
    "images": Images,
    "parquet": ParquetRows,
    "jsonl": JsonLines,
    "csv": CsvLines,
    "numpy": NumpyRows,
    "binary": WholeFiles,
}


def open_source(where: Input, kind: str | None = None, id_column: str | None = None) -> Source:
    """The source for an input; ``kind`` says what files hold where endings do not tell.

    ``id_column`` is that of a dataset.

    Raises:
        JobError: nothing is there, or of several kinds, or it cannot be read.
    """
    if not isinstance(where, str | Path):
        from orchestrator.runtime.io.dataset import DatasetRows

        return DatasetRows.of(where, id_column)
    if id_column is not None:
        raise JobError(str(where), "records of files have ids: id_column goes with a dataset")
    if kind is not None and kind not in KINDS:
        raise JobError(kind, f"no such input format, there are: {', '.join(KINDS)}")
    files = InputFiles(where)
    return KINDS[kind or _inferred(files)](files)


def is_dataset(where: object) -> bool:
    """Whether it is a dataset of Ray Data, whose import takes long: who has one has imported it."""
    data = sys.modules.get("ray.data")
    return data is not None and isinstance(where, data.Dataset)


def kind_of(source: Source) -> str:
    """The name of a source's format; that of a dataset is its own."""
    return next((kind for kind, one in KINDS.items() if type(source) is one), "dataset")


def _inferred(files: InputFiles) -> str:
    counts = {
        kind: sum(name.lower().endswith(source.suffixes) for name in files.names)
        for kind, source in KINDS.items()
        if kind != "binary"
    }
    found = {kind: count for kind, count in counts.items() if count}
    if len(found) > 1:
        told = ", ".join(f"{count} of {kind}" for kind, count in found.items())
        told = f"holds files of several kinds ({told}): input_format=... takes one of them"
        raise JobError(files.where, told, {"input_format=...": "--input-format"})
    if not files.names:
        raise JobError(files.where, "holds no file, at any depth")
    if not found:
        known = "; ".join(
            f"{kind}: {' '.join(source.suffixes)}"
            for kind, source in KINDS.items()
            if kind != "binary"
        )
        others = "1 file" if len(files.names) == 1 else f"{len(files.names)} files"
        raise JobError(
            files.where,
            f"nothing in it ({others}) has a known ending ({known}): input_format=... says what "
            "it is, binary takes any file",
            {"input_format=...": "--input-format"},
        )
    return next(iter(found))


def part_size_of(source: Source, text: str | int | None) -> int:
    """The size of a part as its source counts it: records, or bytes of lines.

    Raises:
        JobError: it is not a size, is given in the other unit, or is 0.
    """
    if text is None:
        return source.part_size
    problem = "a part holds so many records: a number of at least 1"
    if source.unit is Unit.BYTE:
        suits = exact_bytes(source.part_size)
        problem = f"lines are not counted before they are read: a size such as {suits}"
    try:
        size = parse_bytes(str(text)) if source.unit is Unit.BYTE else int(text)
    except ValueError as error:
        raise JobError(f"part size {text}", problem) from error
    if size < 1:
        raise JobError(f"part size {text}", problem)
    return size
