"""Jobs whose work other processes of the cluster do: no record passes through the driver."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray

from actors.messages import CardOrder
from orchestrator import Orchestrator
from orchestrator.errors import JobError
from orchestrator.jobs import JobSummary, Outcome
from orchestrator.runtime.cards.slots import Slot, SlotState
from orchestrator.runtime.io.draft import Place
from orchestrator.runtime.io.formats import Parquet
from orchestrator.runtime.io.inputs import open_source
from orchestrator.runtime.io.local import LocalStore
from orchestrator.runtime.jobs.staffing import Staffing
from orchestrator.runtime.jobs.work import Task
from orchestrator.runtime.jobs.worker import JobWorker, WorkOrder
from orchestrator.runtime.options import Options
from tests.models import write_mlp
from tests.rejected import rejected
from tests.runtime.deployments import WIDTH, Truth, model, planned, rows
from tests.runtime.nodes import further_node

RECORDS = 300
BAD = (30, 140)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of rows of x; one line is no JSON, one is negative."""
    folder = tmp_path_factory.mktemp("lines")
    data = rows(RECORDS)
    texts = [json.dumps({"key": key, "x": row.tolist()}) for key, row in enumerate(data)]
    texts[BAD[0]] = "broken"
    texts[BAD[1]] = json.dumps({"key": -1, "x": [0.0] * WIDTH})
    (folder / "a.jsonl").write_text("\n".join(texts[:120]))
    (folder / "b.jsonl").write_text("\n".join(texts[120:]))
    return folder


async def both(batch: Mapping[str, Any], models: Any) -> dict[str, np.ndarray]:
    """Fails on negative keys; says which process it ran in."""
    if (batch["key"] < 0).any():
        raise ValueError("a negative key")
    answer = await models.both.predict_async({"x": batch["x"].astype(np.float32)})
    pids = np.full(len(batch["key"]), os.getpid())
    return {"key": batch["key"], "y": answer["y"], "pid": pids}


def start(
    running: Orchestrator, lines: Path, out: Path | str, pipeline: Any = both, **options: Any
):
    options = {"workers": 2, "batch_size": 10, "part_size": "4kB", **options}
    return running.run(lines, out, pipeline=pipeline, **options)


def check(summary: JobSummary, out: Path, truth: Truth) -> Any:
    """Every record but the two bad ones is there once, in order, and right."""
    assert (summary.outcome, summary.read) == (Outcome.COMPLETE, RECORDS - len(BAD))
    table = pq.read_table(out)
    assert table["key"].to_pylist() == [key for key in range(RECORDS) if key not in BAD]
    expected = np.delete(truth(rows(RECORDS)), BAD, axis=0)
    assert np.allclose(np.stack(table["y"].to_numpy()), expected, atol=1e-5)
    assert sorted(one["stage"] for one in rejected(out)) == ["pipeline", "read"]
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    return table


@pytest.mark.parametrize("scheme", ["", "local://"])
def test_the_work_is_done_by_others(
    running: Orchestrator, lines: Path, truth, tmp_path, scheme: str
) -> None:
    """In a folder, and in an object store."""
    summary = start(running, lines, f"{scheme}{tmp_path / 'out'}").wait()
    table = check(summary, tmp_path / "out", truth)
    pids = set(table["pid"].to_pylist())
    assert os.getpid() not in pids  # which of the two began first did the most, or all
    document = json.loads((tmp_path / "out" / "_summary.json").read_text())
    assert document["answered"]["both"] >= len(pids)


def test_a_worker_that_does_not_see_the_output_does_not_begin(lines: Path, tmp_path) -> None:
    source = open_source(lines)
    task = Task(source, both, 10, 2)
    place = Place(LocalStore.at(tmp_path / "nowhere"), Parquet())
    order = WorkOrder(task, place, "process 1 on head", str, None, Options())
    assert not JobWorker().open(order)
    shutil.copytree(lines, tmp_path / "moved")
    gone = open_source(tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved")
    assert (source.seen_from_here(), gone.seen_from_here()) == (True, False)


def test_what_dead_workers_and_cards_had_is_done_again_and_nothing_twice(
    running: Orchestrator, lines: Path, truth, tmp_path
) -> None:
    victim = next(card.pid for card in running.status().cards if card.slot == "local/0")
    marks = {200: tmp_path / "worker", 100: tmp_path / "card"}

    async def deadly(batch, models):
        for key, mark in marks.items():
            if key in batch["key"] and not mark.exists():
                mark.touch()
                os.kill(os.getpid() if key == 200 else victim, signal.SIGKILL)
        return await both(batch, models)

    summary = start(running, lines, tmp_path / "out", deadly).wait()
    assert all(mark.exists() for mark in marks.values())
    check(summary, tmp_path / "out", truth)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_cancelled_job_saves_what_is_in_flight_and_goes_on_behind_that(
    running: Orchestrator, lines: Path, truth, tmp_path, workers: int
) -> None:
    out, seen, go, done = (tmp_path / name for name in ("out", "seen", "go", "done"))
    resumed = tmp_path / "resumed"

    async def slow_after_half(batch, models):
        if 150 in batch["key"]:
            seen.touch()
        while (batch["key"] > 150).any() and not go.exists():
            await asyncio.sleep(0.05)
        if (batch["key"] > 180).any() and not resumed.exists():  # none that was in flight by then
            await asyncio.sleep(2)  # the word to stop comes before the end
        answer = await both(batch, models)
        with done.open("a") as file:
            file.writelines(f"{key}\n" for key in batch["key"])
        return answer

    def started(resume: bool):
        options = {"workers": workers, "part_size": "1MB", "in_flight": 2, "resume": resume}
        return start(running, lines, out, slow_after_half, **options)

    job = started(resume=False)
    while not seen.exists():
        time.sleep(0.05)
    job.cancel()
    go.touch()
    summary = job.wait()
    assert summary.outcome is Outcome.INTERRUPTED
    assert 151 - len(BAD) <= summary.read < RECORDS - len(BAD)
    assert not list(out.glob("part-*")), "there is one part, and it is open"
    resumed.touch()
    again = started(resume=True).wait()
    assert again.resumed == summary.read + summary.set_aside
    check(again, out, truth)
    assert not list(out.glob("_begun-*"))
    keys = sorted(map(int, done.read_text().split()))
    assert keys == [key for key in range(RECORDS) if key not in BAD], "each of them once"


def test_after_a_run_that_ended_without_a_word_a_worker_touches_the_records(
    running: Orchestrator, lines: Path, truth, tmp_path
) -> None:
    async def failing(batch, models):
        raise ValueError("at once")

    out = tmp_path / "out"
    with pytest.raises(JobError, match="at once"):
        start(running, lines, out, failing, workers=None, on_error="fail").wait()
    (out / "_summary.json").unlink()  # as a driver leaves it that is killed
    again = start(running, lines, out, workers=None, resume=True, accept_changes=True)
    assert os.getpid() not in check(again.wait(), out, truth)["pid"].to_pylist()


def test_a_node_that_comes_during_a_job_gets_a_worker_and_one_that_goes_is_not_missed(
    running: Orchestrator, lines: Path, truth, tmp_path
) -> None:
    go = tmp_path / "go"

    async def noted(batch, models):
        (tmp_path / ray.get_runtime_context().get_node_id()).touch()
        while not go.exists():
            await asyncio.sleep(0.1)  # each of many batches
        return await both(batch, models)

    with further_node() as first:
        job = start(running, lines, tmp_path / "out", noted, workers=None, part_size="1kB")
        while not (tmp_path / first.node_id).exists():
            assert not job.done
            time.sleep(0.05)
        with further_node() as second:
            while not (tmp_path / second.node_id).exists():
                assert not job.done
                time.sleep(0.05)
            first.kill()
            go.touch()
            summary = job.wait()
    check(summary, tmp_path / "out", truth)


def test_workers_leave_when_cards_have_been_fewer_for_some_time() -> None:
    order = CardOrder("", "emulated", 0, ())
    slots = [Slot(f"{node}/0", node, order, SlotState.READY) for node in "abc"]
    staffing = Staffing(lambda: slots, None)
    assert [staffing.too_many(6) for _ in range(10)] == [0] * 10
    del slots[1:]
    assert [staffing.too_many(6) for _ in range(5)] == [0, 0, 0, 0, 4]
    assert staffing.nodes() == {"a"}
    assert [staffing.too_many(count) for count in (3, 3, 3, 2, 3, 3, 3, 3)] == [0] * 8
    slots.clear()
    assert [staffing.too_many(2) for _ in range(3)] == [1, 0, 0]  # it was so four times before
    assert Staffing(lambda: slots, 7).too_many(7) == 0


_SMALL = """
import os, sys
import numpy as np
import ray
from orchestrator import DeploymentPlan, Orchestrator

async def where(batch, models):
    await models.good.predict_async({"x": np.zeros((1, 16), np.float32)})
    return {"pid": np.full(len(batch["data"]), os.getpid())}

folder, ray_folder = sys.argv[1:]
ray.init("local", num_cpus=2, resources={"NPU": 1}, include_dashboard=False, log_to_driver=False,
         object_store_memory=100 << 20, _temp_dir=ray_folder)
np.save(f"{folder}/rows.npy", np.arange(400))
plan = DeploymentPlan.from_json(open(f"{folder}/plan.json").read(), "plan")
with Orchestrator(plan) as started:
    job = started.run(f"{folder}/rows.npy", f"{folder}/out", pipeline=where, part_size=100)
    assert job.wait().read == 400
print(os.getpid())
"""


def test_a_small_cluster_that_was_there_has_one_worker(tmp_path: Path) -> None:
    """No record passes through the driver, though it is on the same machine."""
    plan = planned(model("good", write_mlp(tmp_path, "good", width=16, rows=1)), count=1)
    (tmp_path / "plan.json").write_text(plan.to_json())
    with tempfile.TemporaryDirectory(prefix="ao-", dir="/tmp") as folder:  # short, for its sockets
        words = [sys.executable, "-c", _SMALL, str(tmp_path), folder]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (worker,) = set(pq.read_table(tmp_path / "out")["pid"].to_pylist())
    assert worker != int(done.stdout)
