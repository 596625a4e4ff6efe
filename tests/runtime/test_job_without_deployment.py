"""Jobs whose deployment ends under them: no record is blamed, and what is missing is done later."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestrator import Orchestrator
from orchestrator.errors import OrchestratorError
from orchestrator.jobs import Outcome
from orchestrator.placement import DeploymentPlan
from orchestrator.runtime.cards.record import kept
from orchestrator.runtime.cluster.connect import Connection
from orchestrator.runtime.deployments.named import take_down
from orchestrator.runtime.deployments.up import up
from orchestrator.runtime.options import Options
from tests.models import write_mlp
from tests.rejected import rejected
from tests.runtime.deployments import WIDTH, model, planned, rows

NAME, RECORDS, BEFORE = "leaving", 200, 100


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> DeploymentPlan:
    path = write_mlp(tmp_path_factory.mktemp("leaving"), "mlp", width=WIDTH, gears=[1, 4])
    gears = {"gears": [{"x": [1, WIDTH]}, {"x": [4, WIDTH]}]}
    return planned(model("mlp", path, shapes=gears), count=1, name=NAME)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    texts = [json.dumps({"key": k, "x": row.tolist()}) for k, row in enumerate(rows(RECORDS))]
    (tmp_path / "rows.jsonl").write_text("\n".join(texts))
    return tmp_path / "rows.jsonl"


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    if NAME in kept():
        take_down(NAME)


def begun(running: Orchestrator, lines: Path, out: Path, workers: int, resume: bool = False):
    """A job that waits for the file ``gone`` in its output after the first records."""

    async def waiting(batch, models):
        while (batch["key"] >= BEFORE).any() and not (out.parent / "gone").exists():
            await asyncio.sleep(0.05)
        answer = await models.mlp.predict_async({"x": batch["x"].astype(np.float32)})
        return {"key": batch["key"], "y": answer["y"]}

    return running.run(
        lines,
        out,
        pipeline=waiting,
        workers=workers,
        batch_size=10,
        part_size="4kB",
        resume=resume,
        accept_changes=resume,
    )


def until_half(job) -> None:
    while job.progress.settled < BEFORE / 2:  # the batch with the first that waits has more
        time.sleep(0.05)


def check_stopped(out: Path) -> None:
    assert not (out / "_SUCCESS").exists()
    assert not rejected(out)
    document = json.loads((out / "_summary.json").read_text())
    assert document["outcome"] == "failed"
    assert BEFORE / 2 <= document["records"]["read"] < RECORDS


@pytest.mark.parametrize("workers", [0, 1])
def test_taken_down_under_a_job(cluster: Connection, plan, lines: Path, tmp_path, workers) -> None:
    out = tmp_path / "out"
    up(plan, Options())
    with Orchestrator.connect(NAME) as running:
        job = begun(running, lines, out, workers)
        until_half(job)
        take_down(NAME)
        (tmp_path / "gone").touch()
        with pytest.raises(OrchestratorError, match=r"leaving|taken down|no card is left"):
            job.wait()
    check_stopped(out)
    up(plan, Options())
    with Orchestrator.connect(NAME) as running:
        summary = begun(running, lines, out, workers, resume=True).wait()
    assert (summary.outcome, summary.read, summary.rejects) == (Outcome.COMPLETE, RECORDS, ())
    assert pq.read_table(out)["key"].to_pylist() == list(range(RECORDS))


@pytest.mark.parametrize("workers", [0, 1])
def test_left_under_a_job(cluster: Connection, plan, lines: Path, tmp_path, workers) -> None:
    out = tmp_path / "out"
    with Orchestrator(plan) as running:
        job = begun(running, lines, out, workers)
        until_half(job)
    (tmp_path / "gone").touch()
    with pytest.raises(OrchestratorError):
        job.wait()
    check_stopped(out)
