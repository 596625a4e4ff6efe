"""What a job writes: the same rows in each format, equal bytes each time, and what cannot be."""

import contextlib
import io
import json
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import JobError
from orchestrator.jobs import Job, Piece, Reject, Stage
from orchestrator.runtime.io.begun import REJECTS_FORMAT, reject_of, rejects_table
from orchestrator.runtime.io.columns import to_table
from orchestrator.runtime.io.draft import write_draft
from orchestrator.runtime.io.formats import FORMATS, format_of
from orchestrator.runtime.io.inputs import open_source
from orchestrator.runtime.io.output import OutputFolder

COLUMNS = {
    "file": np.arange(3),
    "box": np.arange(12, dtype=np.float32).reshape(3, 2, 2),
    "text": np.array(["a", '"é\n', ""]),
}


def written(columns, format):
    file = io.BytesIO()
    table = columns if isinstance(columns, pa.Table) else to_table(columns)
    FORMATS[format].write(table, file)
    return file.getvalue()


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_written_is_read_back_by_a_source(tmp_path, format):
    data = written(COLUMNS, format)
    assert data == written(COLUMNS, format)
    (tmp_path / f"part-00000{FORMATS[format].suffix}").write_bytes(data)
    source = open_source(tmp_path)
    job = Job.of(source.pieces(1 << 20), source.stamp, 1 << 20)
    (load,) = source.read(job.parts[0], 10)
    found = load().columns
    for name, expected in COLUMNS.items():
        np.testing.assert_array_equal(found[name], expected)


def test_parquet_keeps_dictionaries_of_what_may_repeat():
    values = {"x": 0.5, "vector": [0.5], "text": "a", "codes": [[1]], "both": {"f": 0.5, "n": 1}}
    table = pa.table({name: [value] for name, value in values.items()})
    table = table.append_column("map", pa.array([[("k", 0.5)]], pa.map_(pa.string(), pa.float32())))
    group = pq.read_metadata(io.BytesIO(written(table, "parquet"))).row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    assert {one.path_in_schema: one.has_dictionary_page for one in columns} == {
        "x": False,
        "vector.list.element": False,
        "text": True,
        "codes.list.element.list.element": True,
        "both.f": False,
        "both.n": True,
        "map.key_value.key": True,
        "map.key_value.value": False,
    }


def test_a_line_of_json_has_no_nan_and_times_as_text():
    table = pa.table({"x": [[1.5, float("nan")], [float("inf")]], "day": [date(2020, 1, 2)] * 2})
    assert [json.loads(line) for line in written(table, "jsonl").splitlines()] == [
        {"x": [1.5, None], "day": "2020-01-02"},
        {"x": [None], "day": "2020-01-02"},
    ]


@pytest.mark.parametrize(
    ("format", "values", "message"),
    [
        ("jsonl", [b"bytes"], "JSON has no bytes; Parquet has"),
        ("numpy", [[1], [2, 3]], "column x is not only numbers or text of one shape"),
        ("numpy", ["a", None], "column x is not only numbers or text of one shape"),
    ],
)
def test_what_a_format_cannot_hold_is_said_and_leaves_no_file(tmp_path, format, values, message):
    sink = OutputFolder(tmp_path / "out", format)
    job = Job.of([Piece("a")], lambda file: "", 1)
    table = pa.table({"x": values})
    with contextlib.closing(sink):
        sink.prepare(job)
        with pytest.raises(
            JobError, match=rf"part-00000\{sink.format.suffix} cannot be made: "
        ) as told:
            write_draft(sink.place, job.parts[0].name, [table], None)
    assert message in str(told.value)
    assert sink.store.names() == {"_lock", "_manifest.jsonl"}


def test_outputs_that_are_none(tmp_path):
    with pytest.raises(JobError, match="csv: no such output format, there are: parquet, jsonl, nu"):
        format_of("csv")


def test_a_reject_is_one_line_of_json():
    told = Reject("a\nb.png", Stage.PIPELINE, "says é\u2028", "local/0")
    file = io.BytesIO()
    REJECTS_FORMAT.write(rejects_table([told]), file)
    (line,) = file.getvalue().splitlines()
    assert reject_of(line) == told
    assert json.loads(line) == {
        "record": "a\nb.png",
        "stage": "pipeline",
        "reason": "says é\u2028",
        "card": "local/0",
    }
