"""Small records through two cards, with a driver that is killed and resumed, or is not."""

import random
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import ray

from benchmarks.comparison import Row
from benchmarks.double import write_double
from orchestrator import Deployment, Orchestrator
from orchestrator.runtime.cluster.connect import connect
from orchestrator.runtime.deployments.named import take_down
from orchestrator.runtime.deployments.up import up
from orchestrator.runtime.io.store import MANIFEST, SUCCESS
from orchestrator.runtime.options import Options

NAME = "killed"
KILLS = 3
WIDTH, ROWS = 16, 1024
#: Records behind one part file where a job is killed, and where parts are compared with one.
PART = 16384


def measure(folder: Path, records: int, rounds: int) -> list[Row]:
    """The rows of the table."""
    data = np.arange(records, dtype=np.float32)[:, None] * np.ones(WIDTH, np.float32)
    np.save(folder / "rows.npy", data)
    model = {"name": "fast", "path": write_double(folder, "fast", ROWS, WIDTH), "replicas": 2}
    cards = {"kind": "emulated", "count": 2, "capacity": "256MiB"}
    wanted = Deployment.model_validate({"name": NAME, "cards": cards, "models": [model]})
    connection = connect("local", resources={"NPU": 2.0}, object_store_bytes=200 << 20)
    try:
        up(wanted, Options(batch=True))
        with Orchestrator.connect(NAME) as running:
            pairs = [
                (_run(running, folder, f"parts-{n}", PART), _run(running, folder, f"one-{n}", None))
                for n in range(rounds + 1)
            ][1:]
        kills = _killed(folder, records)
        take_down(NAME)
    finally:
        connection.close()
    same = _equal(folder / f"parts-{rounds}", folder / "killed")
    many, one = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    parts = -(-records // PART)
    what = f"{records:,} records"
    return [
        Row(f"{what} in {parts} parts", f"{many:.2f} s", f"{one:.2f} s in one", ratio, 1.05, True),
        Row(f"{what}, driver killed", f"{kills} times", "equal output", float(same), 1.0, False),
    ]


def _run(running: Orchestrator, folder: Path, out: str, part_size: int | None) -> float:
    """Seconds of an undisturbed run, all records in one part where no size is given."""
    started = time.perf_counter()
    source = folder / "rows.npy"
    size = part_size or len(np.load(source, mmap_mode="r"))
    running.run(
        source, folder / out, model="fast", columns={"x": "data"}, batch_size=ROWS, part_size=size
    ).wait()
    return time.perf_counter() - started


def _killed(folder: Path, records: int) -> int:
    """Run the command line, kill it after some parts, resume; how often it was killed."""
    out, parts = folder / "killed", -(-records // PART)
    words = ["run", NAME, "--model", "fast", "--input", str(folder / "rows.npy")]
    words += ["--output", str(out), "--column", "x=data", "--batch-size", str(ROWS), "--resume"]
    words += ["--part-size", str(PART), "--address", ray.get_runtime_context().gcs_address]
    after = sorted(random.Random(7).sample(range(1, parts), KILLS))
    killed = 0
    while not (out / SUCCESS).exists():
        driver = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        while driver.poll() is None:
            if killed < KILLS and _done(out) >= after[killed]:
                driver.kill()
                killed += 1
                driver.wait()
            with suppress(subprocess.TimeoutExpired):
                driver.wait(0.01)
        assert driver.stderr is not None
        told = driver.stderr.read().decode()
        driver.stderr.close()
        if driver.returncode not in (0, -9):
            raise RuntimeError(told)
    return killed


def _done(out: Path) -> int:
    """Finished parts: lines of the manifest but the first two."""
    with suppress(FileNotFoundError):
        return max((out / MANIFEST).read_bytes().count(b"\n") - 2, 0)
    return 0


def _equal(one: Path, other: Path) -> bool:
    """Whether two outputs hold the same rows in the same order."""
    return bool(pq.read_table(one).equals(pq.read_table(other)))
