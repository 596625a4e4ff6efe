"""Ray Data: a dataset as the input of a job, and the two bridges for pipelines that stay there."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestrator import JobError, Orchestrator, ToCards
from orchestrator.bridges import stream
from orchestrator.jobs import Outcome
from orchestrator.runtime.deployments.named import take_down
from orchestrator.runtime.deployments.up import up
from orchestrator.runtime.io.columns import to_columns
from orchestrator.runtime.io.dataset import DatasetRows
from orchestrator.runtime.options import Options
from tests.runtime.deployments import WIDTH, Truth, model, planned, rows

RECORDS = 200


@pytest.fixture(scope="module")
def data(running: Orchestrator) -> Iterator[Any]:
    pytest.importorskip("pandas", reason="needs ray[data]")
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    yield ray.data


@pytest.fixture
def dataset(data: Any) -> Any:
    """Rows of key and pixels in four blocks."""
    records = zip(range(RECORDS), rows(RECORDS), strict=True)
    return data.from_items([{"key": key, "pixels": row} for key, row in records]).repartition(4)


def test_a_dataset_through_a_model(
    running: Orchestrator, data: Any, dataset: Any, truth: Truth, tmp_path: Path
) -> None:
    options = {"model": "both", "columns": {"x": "pixels"}, "ids": ["key", "record_id"]}
    options |= {"part_size": 50, "batch_size": 16}
    out = tmp_path / "out"
    summary = running.run(dataset, out, id_column="key", **options).wait()
    assert (summary.outcome, summary.read) == (Outcome.COMPLETE, RECORDS)
    table = to_columns(pq.read_table(out))
    assert sorted(table["key"].tolist()) == list(range(RECORDS))
    assert table["record_id"].tolist() == [str(key) for key in table["key"]]
    assert np.allclose(table["y"], truth(rows(RECORDS)[table["key"]]), atol=1e-5)

    written = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    next(out.glob("part-00001*")).unlink()
    again = running.run(
        shuffled(data, dataset), out, id_column="key", resume=True, **options
    ).wait()
    assert (again.outcome, again.read) == (Outcome.COMPLETE, RECORDS)
    assert again.resumed == RECORDS - 50, "only the rows of the part that was lost"
    assert sorted(to_columns(pq.read_table(out))["key"].tolist()) == list(range(RECORDS))
    now = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert [name for name in written if now[name] != written[name]] == ["part-00001.parquet"]


def shuffled(data: Any, dataset: Any) -> Any:
    """The same rows in other blocks and another order."""
    return data.from_items(dataset.take_all()[::-1]).repartition(7)


def test_a_row_that_changed_is_done_anew_with_its_part(
    running: Orchestrator, data: Any, dataset: Any, tmp_path: Path
) -> None:
    options = {"model": "both", "columns": {"x": "pixels"}, "ids": ["key"], "part_size": 50}
    out = tmp_path / "out"
    running.run(dataset, out, id_column="key", **options).wait()
    records = shuffled(data, dataset).take_all()
    records[3]["pixels"] = records[3]["pixels"] + 1
    changed = data.from_items([*records[1:], {"key": 1000, "pixels": records[0]["pixels"]}])
    with pytest.raises(JobError, match="began with another state of the input: "):
        running.run(changed, out, id_column="key", resume=True, **options)
    again = running.run(
        changed, out, id_column="key", resume=True, accept_changes=True, **options
    ).wait()
    assert (again.read, again.resumed) == (RECORDS, RECORDS - 50)
    found = to_columns(pq.read_table(out))["key"].tolist()
    assert sorted(found) == [*range(RECORDS - 1), 1000]


def test_what_cannot_be_resumed_says_why(running: Orchestrator, data: Any, tmp_path: Path) -> None:
    with pytest.raises(
        JobError, match=r"the dataset: a job over it cannot be resumed: nothing tells its rows"
    ):
        running.run(data.range(3), tmp_path / "out", model="both", resume=True)
    assert not (tmp_path / "out").exists()


def test_ids_that_are_none(data: Any) -> None:
    twice = data.from_items([{"key": key % 5, "x": key} for key in range(10)])
    with pytest.raises(JobError, match="column 'key' names rows that are not there once only"):
        DatasetRows.of(twice, "key")
    with pytest.raises(JobError, match="has no column 'kye', there are: key, x"):
        DatasetRows.of(twice, "kye")


def test_a_dataset_streams_through_a_handle(
    running: Orchestrator, dataset: Any, truth: Truth
) -> None:
    found = list(
        stream(dataset, running.models["both"], columns={"x": "pixels"}, ids=["key"], batch_size=7)
    )
    keys = np.concatenate([one["key"] for one in found])
    assert sorted(keys.tolist()) == list(range(RECORDS))
    answers = np.concatenate([one["y"] for one in found])
    assert np.allclose(answers, truth(rows(RECORDS)[keys]), atol=1e-5)


def test_ray_data_calls_a_deployment_that_is_up(
    data: Any, dataset: Any, folder: Path, truth: Truth
) -> None:
    gears = {"gears": [{"x": [1, WIDTH]}, {"x": [4, WIDTH]}]}
    plan = planned(model("both", folder / "both.mindir", shapes=gears), count=1, name="bridged")
    up(plan, Options())
    try:
        with Orchestrator.connect("bridged") as orc:
            answers = dataset.map_batches(
                ToCards,
                fn_constructor_args=(orc.model("both"), {"x": "pixels"}, ["key"]),
                batch_size=16,
                num_cpus=0.1,
                compute=data.ActorPoolStrategy(size=1),
            ).take_all()
    finally:
        take_down("bridged")
    assert sorted(row["key"] for row in answers) == list(range(RECORDS))
    expected = truth(rows(RECORDS))
    assert all(np.allclose(row["y"], expected[row["key"]], atol=1e-5) for row in answers)
