"""Files of rows and lines: deterministic parts, ids that never change, and what is refused."""

import csv
import io
import json
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orchestrator.errors import JobError
from orchestrator.jobs import cut
from orchestrator.runtime.io import csvlines
from orchestrator.runtime.io.columns import to_columns, to_table
from orchestrator.runtime.io.inputs import open_source, part_size_of

ROWS = 100


def batches(where, size=None, rows=7, kind=None):
    """Every batch of an input, cut into parts of ``size``."""
    source = open_source(where, kind)
    size = size or source.part_size
    parts = cut(source.pieces(size), size)
    return [load() for part in parts for load in source.read(part, rows)]


def column(found, name):
    return [value for batch in found for value in batch.columns[name].tolist()]


def ids(found):
    return [record for batch in found for record in batch.ids]


def rejects(found):
    return {reject.record: reject.reason for batch in found for reject in batch.rejects}


def write(folder, kind, rows=ROWS):
    """Two files of ``rows`` records in all, in the column x (NumPy: data)."""
    first = rows * 3 // 5
    for name, values in (("a", range(first)), ("sub/b", range(first, rows))):
        path = folder / f"{name}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "parquet":
            pq.write_table(pa.table({"x": list(values)}), path, row_group_size=16)
        elif kind == "npy":
            np.save(path, np.array(values, np.int64))
        elif kind == "npz":
            np.savez(path, x=np.array(values, np.int64), y=np.array([str(v) for v in values]))
        elif kind == "jsonl":
            path.write_text("".join(f'{{"x": {value}, "s": "é{value}"}}\n' for value in values))
        else:
            mark = "\t" if kind == "tsv" else ","
            lines = [mark.join(("x", "s")), *(f"{value}{mark}é{value}" for value in values)]
            path.write_text("\r\n".join(lines))
    return folder


@pytest.mark.parametrize("kind", ["parquet", "npy", "npz", "jsonl", "csv", "tsv"])
@pytest.mark.parametrize("size", [1, 23, 5000])
def test_every_record_comes_once_in_order_however_it_is_cut(tmp_path, kind, size):
    write(tmp_path, kind)
    found = batches(tmp_path, size)
    assert column(found, "data" if kind == "npy" else "x") == list(range(ROWS))
    assert len(set(ids(found))) == ROWS
    assert column(found, "record_id") == ids(found)
    assert ids(found) == ids(batches(tmp_path, 40, rows=100))
    assert rejects(found) == {}


def test_a_url_is_read_as_the_folder_that_it_names(tmp_path):
    write(tmp_path / "my data", "jsonl")
    there, here = batches(f"file://{tmp_path}/my%20data"), batches(tmp_path / "my data")
    assert ids(there) == ids(here)
    one = batches(f"file://{tmp_path}/my%20data/sub/b.jsonl")
    assert ids(one)[0] == "b.jsonl@0"
    with pytest.raises(JobError, match="no such file or folder"):
        open_source(f"file://{tmp_path}/none")
    with pytest.raises(JobError, match=r"nosuch://x: (nosuch:// is read through fsspec|cannot be)"):
        open_source("nosuch://x")


def test_file_systems_of_fsspec(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    path = write(tmp_path, "csv") / "a.csv"
    fsspec.filesystem("memory").pipe("/jobs/in/a.csv", path.read_bytes())
    assert ids(batches("memory://jobs/in")) == ids(batches(path))


def test_a_part_of_row_groups_is_one_data_set_of_neighbours(tmp_path):
    source = open_source(write(tmp_path, "parquet"))
    parts = cut(source.pieces(40), 40)
    assert [[str(piece) for piece in part.pieces] for part in parts] == [
        ["a.parquet#0-16", "a.parquet#16-32"],
        ["a.parquet#32-48", "a.parquet#48-60"],
        ["sub/b.parquet#0-16", "sub/b.parquet#16-32", "sub/b.parquet#32-40"],
    ]
    assert [len(load()) for load in source.read(parts[2], 30)] == [30, 10]


LINES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20))


@settings(max_examples=30)
@given(LINES, st.integers(1, 60), st.booleans())
def test_each_line_lies_in_one_range(tmp_path_factory, texts, size, last_newline):
    folder = tmp_path_factory.mktemp("lines")
    lines = [json.dumps({"s": text}, ensure_ascii=False) for text in texts] + ['{"s": "end"}']
    data = "\n".join(lines) + "\n" * last_newline
    (folder / "a.jsonl").write_bytes(data.encode())
    found = batches(folder, size)
    assert column(found, "s") == [*texts, "end"]
    starts = [int(record.partition("@")[2]) for record in ids(found)]
    for start, line in zip(starts, lines, strict=True):
        assert data.encode()[start:].startswith(line.encode())


#: What makes values look like ends of records.
TRICKY = st.text(st.sampled_from('ab,"\n'), max_size=12)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(TRICKY, TRICKY), min_size=1, max_size=30),
    st.integers(1, 60),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_each_record_of_csv_lies_in_one_range_whatever_its_values_hold(
    tmp_path_factory, values, size, quoting, end
):
    folder = tmp_path_factory.mktemp("csv")
    text = io.StringIO()
    writer = csv.writer(text, quoting=quoting, lineterminator=end)
    writer.writerows([("s", "t", "n"), *((s, t, n) for n, (s, t) in enumerate(values))])
    (folder / "a.csv").write_bytes(text.getvalue().encode())
    found = batches(folder, size)
    assert not rejects(found)
    rows = zip(column(found, "s"), column(found, "t"), column(found, "n"), strict=True)
    assert list(rows) == [(s, t, n) for n, (s, t) in enumerate(values)]


def test_a_part_of_csv_begins_with_a_record_and_sees_that_from_what_is_near(tmp_path, monkeypatch):
    monkeypatch.setattr(csvlines, "_BEHIND", 300)
    texts = [f"line {n}\n{n},{n}\n\n, and {n}" for n in range(500)]
    rows = "".join(f'{n},"{text}"\n' for n, text in enumerate(texts))
    (tmp_path / "a.csv").write_text(f"n,s\n{rows}")
    for size in (37, 1000, 5000):
        found = batches(tmp_path, size)
        assert not rejects(found)
        assert column(found, "n") == list(range(500))
        assert column(found, "s") == texts


def test_a_bad_line_costs_itself_alone(tmp_path):
    lines = [f'{{"x": {value}, "v": [1.5, {value}]}}' for value in range(30)]
    lines[3] = '{"x": 3, "v": [1.5'  # as a crash leaves it
    lines[11] = '{"x": "eleven"}'
    lines[17] = '{"x": 17} {"x": 18}'
    lines[20] = "   "
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    found = batches(tmp_path, rows=8)
    bad = [3, 11, 17]
    assert column(found, "x") == [value for value in range(30) if value not in [*bad, 20]]
    assert found[0].columns["v"].shape == (8, 2)
    assert list(rejects(found)) == [f"a.jsonl@{sum(map(len, lines[:n])) + n}" for n in bad]
    broken, text, two = rejects(found).values()
    assert broken.startswith("cannot be read: JSON parse error: ")
    assert text.endswith("Column(/x) changed from number to string")
    assert two == "cannot be read: 1 lines hold 2 records"


def test_a_bad_row_of_csv_costs_itself_alone(tmp_path):
    (tmp_path / "a.csv").write_text('x,s\n1,a\n2,"b, c"\nthree,d\n4\n5,e\n')
    found = batches(tmp_path)
    assert column(found, "x") == [1, 2, 5]
    assert column(found, "s") == ["a", "b, c", "e"]
    assert rejects(found) == {
        "a.csv@17": "cannot be read: In CSV column #0: CSV conversion error to int64: "
        "invalid value 'three'",
        "a.csv@25": "cannot be read: CSV parse error: Expected 2 columns, got 1: 4",
    }


def test_text_stays_text_and_a_mark_at_the_start_is_none(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfday,empty\n2020-01-01,\n2020-01-02,\n")
    found = batches(tmp_path)
    assert column(found, "day") == ["2020-01-01", "2020-01-02"]
    assert column(found, "empty") == ["", ""]
    (tmp_path / "a.csv").unlink()
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"day": "2020-01-01"}\n{}\n')
    assert column(batches(tmp_path), "day") == ["2020-01-01", None]


def test_binary_files_are_records_with_their_bytes(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"")
    (tmp_path / "_SUCCESS").touch()
    (batch,) = batches(tmp_path, kind="binary")
    assert column([batch], "bytes") == [b"one", b""]
    assert batch.ids == ("a.bin", "b")


def test_what_a_job_keeps_beside_its_output_is_no_input(tmp_path):
    write(tmp_path, "jsonl")
    for name in (
        "_manifest.jsonl",
        "_rejects-00001.jsonl",
        "_begun-00002.arrow",
        ".part-00001.jsonl.x",
    ):
        (tmp_path / name).write_text("{}\n")
    source = open_source(tmp_path)
    assert {piece.file for piece in source.pieces(9)} == {"a.jsonl", "sub/b.jsonl"}
    assert source.ignored == 0


def refusal(where, kind=None):
    with pytest.raises(JobError) as told:
        open_source(where, kind)
    return str(told.value)


def test_inputs_of_no_kind_or_of_several(tmp_path):
    assert refusal(tmp_path / "none") == f"{tmp_path}/none: no such file or folder"
    assert refusal(tmp_path) == f"{tmp_path}: holds no file, at any depth"
    (tmp_path / "notes.txt").touch()
    assert "nothing in it (1 file)" in refusal(tmp_path / "notes.txt")
    assert "there is no Parquet file in it (1 other files); Parquet files end in .parquet, .pq" in (
        refusal(tmp_path, "parquet")
    )
    write(tmp_path, "csv")
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    told = refusal(tmp_path)
    assert told.endswith("2 of csv): input_format=... takes one of them")
    assert open_source(tmp_path, "csv").ignored == 2
    assert refusal(tmp_path, "xml").startswith("xml: no such input format, there are: images,")


def test_a_parquet_file_that_was_cut(tmp_path):
    path = write(tmp_path, "parquet") / "a.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    assert refusal(tmp_path).startswith("a.parquet: is no whole Parquet file: Parquet magic bytes")


def test_a_parquet_file_damaged_inside_stops_the_job_with_its_name(tmp_path):
    path = write(tmp_path, "parquet") / "a.parquet"
    data = bytearray(path.read_bytes())
    data[4:200] = bytes(196)
    path.write_bytes(data)
    with pytest.raises(JobError, match=r"^a\.parquet: cannot be read: "):
        batches(tmp_path)


def test_a_file_of_many_records_that_vanishes_or_changes_stops_the_job(tmp_path):
    for kind in ("parquet", "jsonl", "npy"):
        folder = write(tmp_path / kind, kind)
        source = open_source(folder)
        (part,) = cut(source.pieces(5000), 5000)
        (folder / f"a.{kind}").unlink()
        with pytest.raises(JobError, match=rf"^a\.{kind}: cannot be read: No such file"):
            [load() for load in source.read(part, 10)]
        (folder / f"a.{kind}").write_bytes(b"123")
        with pytest.raises(JobError, match=rf"^a\.{kind}: has 3 bytes and had \d+ when"):
            [load() for load in source.read(part, 10)]


def test_files_of_unlike_columns(tmp_path):
    pq.write_table(pa.table({"x": [1], "y": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [1.5], "y": [1]}), tmp_path / "b.parquet")
    assert refusal(tmp_path) == (
        "b.parquet: has other columns than a.parquet: x is double, not int64"
    )
    (tmp_path / "c.csv").write_text("x,y\n1,2\n")
    (tmp_path / "d.csv").write_text("x,z\n1,2\n")
    assert refusal(tmp_path, "csv") == "d.csv: begins with ['x', 'z'], and c.csv with ['x', 'y']"
    (tmp_path / "e.csv").write_text("x,x\n1,2\n")
    assert refusal(tmp_path / "e.csv") == "e.csv: names a column twice: ['x', 'x']"


def test_files_without_records(tmp_path):
    pq.write_table(pa.table({"x": pa.array([], pa.int64())}), tmp_path / "a.parquet")
    assert refusal(tmp_path).endswith("holds no rows")
    (tmp_path / "b.jsonl").touch()
    assert refusal(tmp_path / "b.jsonl").endswith("holds no lines")
    (tmp_path / "c.jsonl").write_text("what\nis\nthis\n")
    told = refusal(tmp_path / "c.jsonl")
    assert told.startswith("c.jsonl: its first lines are no records: c.jsonl@0: JSON parse error")


def test_numpy_files_that_cannot_be_read_in_stretches(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(np.zeros((3, 2))))
    assert refusal(tmp_path / "a.npy").endswith("is in Fortran order: save it in C order")
    np.save(tmp_path / "b.npy", np.array([{}]))
    assert refusal(tmp_path / "b.npy").endswith("holds object, and not numbers or text")
    np.save(tmp_path / "c.npy", np.float32(1))
    assert "no common count of rows: {'data': -1}" in refusal(tmp_path / "c.npy")
    (tmp_path / "d.npz").write_bytes(b"PK and so on")
    assert refusal(tmp_path / "d.npz").startswith("d.npz: is no whole NumPy file: ")
    with zipfile.ZipFile(tmp_path / "e.npz", "w") as archive:
        archive.writestr("x.npy", b"no array")
    assert refusal(tmp_path / "e.npz").startswith("e.npz: is no whole NumPy file: ")


def test_part_sizes_are_counted_as_the_source_counts(tmp_path):
    lines = open_source(write(tmp_path / "l", "jsonl"))
    rows = open_source(write(tmp_path / "p", "parquet"))
    assert (part_size_of(lines, None), part_size_of(lines, "1MiB")) == (4 << 20, 1 << 20)
    assert (part_size_of(rows, None), part_size_of(rows, "100")) == (16384, 100)
    for source, size, message in (
        (lines, "1000", "lines are not counted before they are read: a size such as 4MiB"),
        (rows, "1MiB", "a part holds so many records: a number of at least 1"),
        (rows, "0", "a number of at least 1"),
        (lines, "0B", "a size such as 4MiB"),
    ):
        with pytest.raises(JobError, match=message):
            part_size_of(source, size)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float16).reshape(3, 2),
        np.arange(24, dtype=np.uint8).reshape(3, 2, 4),
        np.array([True, False, True]),
        np.array(["a", "é", ""], dtype=object),
        np.array([b"a", b"", b"\0"], dtype=object),
        np.array(["2020-01-01", "2020-01-02", "2020-01-03"], "datetime64[ns]"),
    ],
)
def test_columns_come_back_from_a_table(array):
    back = to_columns(to_table({"x": array}).slice(1))["x"]
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array[1:])
    assert back.flags.writeable


def test_columns_that_are_no_plain_array():
    table = pa.table(
        {
            "missing": [1, None],
            "nan": [1.5, None],
            "ragged": [[1, 2], [3]],
            "deep": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]],
            "word": pa.array(["a", "b"]).dictionary_encode(),
            "gone": [[1], None],
        }
    )
    found = to_columns(table)
    assert found["missing"].tolist() == [1, None]
    assert np.isnan(found["nan"][1])
    assert [row.tolist() for row in found["ragged"]] == [[1, 2], [3]]
    assert found["deep"].shape == (2, 2, 2)
    assert found["word"].tolist() == ["a", "b"]
    assert found["gone"].tolist() == [[1], None]
