"""Columns whose type not every part knows: missing values alone, empty lists."""

import contextlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import CardsUnavailableError
from orchestrator.jobs import Outcome
from orchestrator.runtime.io.schemas import as_schema, unified
from tests.jobs.test_runner import pages, run  # noqa: F401 - a fixture

RESUME = {"resume": True}


def objects(*values):
    found = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        found[row] = value
    return found


def boxes_from(page):
    """Pages before have neither boxes nor a title."""

    async def boxes(batch, models):
        (name,) = batch["path"].tolist()
        if name < page:
            return {"page": batch["path"], "title": objects(None), "boxes": objects([])}
        return {"page": batch["path"], "title": objects(name), "boxes": objects([[1.5], [2.5]])}

    return boxes


@pytest.mark.parametrize("in_flight", [1, 8])
@pytest.mark.parametrize("output_format", ["parquet", "jsonl"])
def test_the_first_part_with_values_says_the_type(pages, tmp_path, output_format, in_flight):  # noqa: F811
    out = tmp_path / "out"
    options = {"part_size": 4, "in_flight": in_flight, "output_format": output_format}
    summary = run(pages, out, boxes_from("10.png"), **options)
    assert summary.outcome is Outcome.COMPLETE
    if output_format == "parquet":
        table = pq.read_table(out)
        assert table["title"].to_pylist() == [None] * 10 + [f"{n}.png" for n in range(10, 20)]
        assert table["boxes"].to_pylist() == [[]] * 10 + [[[1.5], [2.5]]] * 10
        schemas = {str(pq.read_schema(path)) for path in out.glob("part-*")}
        assert len(schemas) == 1
    assert len(list(out.glob("part-*"))) == 5
    summary = run(pages, out, boxes_from("10.png"), prepared=RESUME, **options)
    assert summary.resumed == 20


def test_a_job_that_stopped_before_the_type_was_known_goes_on(pages, tmp_path):  # noqa: F811
    out = tmp_path / "out"

    async def stops(batch, models):
        if batch["path"][0] == "06.png":
            raise CardsUnavailableError(2, 0, "NPU", "restart them")
        return await boxes_from("99")(batch, models)

    with contextlib.suppress(CardsUnavailableError):
        run(pages, out, stops, part_size=4, in_flight=1)
    run(pages, out, boxes_from("10.png"), part_size=4, prepared=RESUME)
    assert pq.read_table(out)["title"].to_pylist()[9:11] == [None, "10.png"]


def test_missing_values_alone_stay_as_they_are(pages, tmp_path):  # noqa: F811
    run(pages, tmp_path / "out", boxes_from("99"), part_size=4)
    assert pq.read_table(tmp_path / "out")["title"].null_count == 20


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (pa.null(), pa.int64(), pa.int64()),
        (pa.int64(), pa.null(), pa.int64()),
        (pa.list_(pa.null()), pa.list_(pa.list_(pa.null())), pa.list_(pa.list_(pa.null()))),
        (pa.list_(pa.null()), pa.list_(pa.float32(), 2), pa.list_(pa.float32())),
        (pa.list_(pa.null(), 2), pa.list_(pa.float32(), 2), pa.list_(pa.float32(), 2)),
        (pa.int64(), pa.float64(), pa.int64()),
    ],
)
def test_of_two_types_the_one_that_says_more(first, second, expected):
    found = unified([pa.schema({"x": first}), pa.schema({"x": second})])
    assert found == pa.schema({"x": expected})


def test_other_names_are_other_columns_and_another_order_is_none():
    schema = pa.schema({"x": pa.int64(), "y": pa.int64()})
    table = pa.table({"y": [1], "x": [2]})
    assert as_schema(table, unified([schema, table.schema])).column_names == ["x", "y"]
    with pytest.raises(ValueError, match=r"\['x'\] instead of \['x', 'y'\]"):
        unified([schema, pa.schema({"x": pa.int64()})])
