"""Jobs whose cards, workers, controller and driver are killed at random points, and go on.

A schedule is made of a seed: what is killed, and after how many finished parts. The deployment is a
named one. Where the driver may be killed it is the command line in a process of its own; whenever
that has ended before the job has, it is started again with ``--resume``. ``python -m tests.chaos
--seeds 20`` runs long schedules.
"""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import ray

from orchestrator import Orchestrator
from orchestrator.placement import DeploymentPlan
from orchestrator.runtime.io.store import MANIFEST, SUCCESS
from orchestrator.runtime.named import status_of
from tests.models import write_mlp
from tests.runtime.deployments import WIDTH, Truth, model, planned, rows

NAME = "chaos"
TARGETS = ("driver", "card", "worker", "controller")
#: Records that cannot be read, and that the pipeline fails on.
BROKEN, NEGATIVE = 30, 140
PART_BYTES = 3000


@dataclass(frozen=True)
class Kill:
    """One process of a kind, when so many parts are finished."""

    target: str
    parts: int


def schedule(seed: int, parts: int, kills: int, targets: tuple[str, ...] = TARGETS) -> list[Kill]:
    """The kills of a seed, in order."""
    rng = random.Random(seed)
    made = [Kill(rng.choice(targets), rng.randrange(parts)) for _ in range(kills)]
    return sorted(made, key=lambda kill: kill.parts)


def chaos_plan(folder: Path) -> DeploymentPlan:
    """One model on two cards, 4 ms a batch."""
    path = write_mlp(folder, "both", width=WIDTH, gears=[1, 4])
    gears = {"gears": [{"x": [1, WIDTH]}, {"x": [4, WIDTH]}]}
    busy = {"execute": "4ms"}
    return planned(model("both", path, shapes=gears, replicas=2, emulated=busy), name=NAME)


def write_lines(path: Path, records: int) -> int:
    """The input; how many parts it makes."""
    lines = [
        json.dumps({"key": key, "x": [round(float(value), 4) for value in row]})
        for key, row in enumerate(rows(records))
    ]
    lines[BROKEN] = "broken"
    lines[NEGATIVE] = json.dumps({"key": -1, "x": [0.0] * WIDTH})
    path.write_text("\n".join(lines))
    return -(-path.stat().st_size // PART_BYTES)


async def both(batch: Mapping[str, Any], models: Any) -> dict[str, np.ndarray]:
    """The pipeline of the job."""
    if (batch["key"] < 0).any():
        raise ValueError("a negative key")
    answer = await models.both.predict_async({"x": batch["x"].astype(np.float32)})
    return {"key": batch["key"], "y": answer["y"]}


def run_to_the_end(source: Path, out: Path, kills: list[Kill], workers: int) -> int:
    """Run the job, kill what the schedule says, resume; how often the driver was started."""
    words = ["run", NAME, "--pipeline", "tests.chaos.schedules:both", "--input", str(source)]
    words += ["--output", str(out), "--part-size", f"{PART_BYTES}B", "--batch-size", "4"]
    words += ["--workers", str(workers), "--in-flight", "4", "--resume"]
    address = ray.get_runtime_context().gcs_address
    left, starts = list(kills), 0
    while not (out / SUCCESS).exists():
        starts += 1
        driver = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *words, "--address", address],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        while driver.poll() is None:
            if left and _finished_parts(out) >= left[0].parts:
                _kill(left.pop(0).target, driver.pid)
            with suppress(subprocess.TimeoutExpired):
                driver.wait(0.02)
        assert driver.stderr is not None
        told = driver.stderr.read()
        driver.stderr.close()
        assert driver.returncode in (0, -signal.SIGKILL), told
    return starts


def run_here(orc: Orchestrator, source: Path, out: Path, kills: list[Kill], workers: int) -> None:
    """Run the job with this process as its driver, and kill what the schedule says."""
    options = {"part_size": f"{PART_BYTES}B", "batch_size": 4, "in_flight": 4, "workers": workers}
    job, left = orc.run(source, out, pipeline=both, **options), list(kills)
    while not job.done:
        if left and job.progress.parts_done >= left[0].parts:
            _kill(left.pop(0).target)
        with suppress(TimeoutError):
            job.wait(0.02)
    job.wait()


def check(out: Path, records: int, truth: Truth) -> None:
    """The output is what an undisturbed run gives: every row once, in order, by value."""
    table = pq.read_table(out)
    missing = (BROKEN, NEGATIVE)
    assert table["key"].to_pylist() == [key for key in range(records) if key not in missing]
    expected = np.delete(truth(np.round(rows(records), 4)), missing, axis=0)
    assert np.allclose(np.stack(table["y"].to_numpy()), expected, atol=1e-4)
    told = [json.loads(line) for line in (out / "_rejects.jsonl").read_text().splitlines()]
    assert sorted(one["stage"] for one in told) == ["pipeline", "read"]
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def _finished_parts(out: Path) -> int:
    with suppress(FileNotFoundError):
        return max((out / MANIFEST).read_bytes().count(b"\n") - 1, 0)
    return 0


def _kill(target: str, driver: int | None = None) -> None:
    pids = {
        "driver": lambda: [driver],
        "card": lambda: [card.pid for card in status_of(NAME, 250.0).cards],
        "controller": lambda: [status_of(NAME, 250.0).controller_pid],
        "worker": _workers,
    }[target]()
    for pid in [pid for pid in pids if pid is not None][:1]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _workers() -> list[int]:
    """The workers of this Ray's jobs, which are children of ours."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "JobWorker" in " ".join(process.cmdline()):
                found.append(process.pid)
    return found
