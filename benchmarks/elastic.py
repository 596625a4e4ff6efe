"""A job on cards that come and go with Ray's own autoscaler, and on cards that are all there.

``python -m benchmarks.elastic ADDRESS FILE`` is the driver of one run: a process of its own, since
a driver's way to authenticate is settled when it imports Ray.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.comparison import Row
from benchmarks.double import write_double
from orchestrator import Orchestrator, load_deployment
from tests.runtime.elastic import SETTINGS, elastic_cluster

CARDS, WIDTH = 4, 16
ROWS, MILLISECONDS = 16_000, 10.0
#: After so many seconds without work a card is given back; so is, by Ray, its empty node.
IDLE_SECONDS = 3.0
#: What the look once a second, and the end of a process, may take on top.
LEAVE_SECONDS = 3.0
TARGET = 1.3
#: What takes longer never ends.
PATIENCE_SECONDS = 180.0


def measure(folder: Path) -> list[Row]:
    """The rows of the table."""
    np.save(folder / "rows.npy", np.ones((ROWS, WIDTH), np.float32))
    ready = _run(folder, "ready", {}, least=CARDS)
    autoscale = {"min_cards": 0, "idle": f"{IDLE_SECONDS:g}s"}
    grown = _run(folder, "grown", {"autoscale": autoscale}, least=0)
    bound = TARGET * ready["seconds"] + grown["node_seconds"]
    allowed = IDLE_SECONDS + LEAVE_SECONDS
    path = " ".join(map(str, grown["cards"]))
    return [
        Row(
            f"0 to {CARDS} cards and back: {path}",
            f"{grown['seconds']:.1f} s",
            f"{TARGET:g} x {ready['seconds']:.1f} s + node {grown['node_seconds']:.1f} s",
            grown["seconds"] / bound,
            1.0,
            True,
        ),
        Row(
            f"last answer to no card, idle {IDLE_SECONDS:g} s",
            f"{grown['idle_seconds']:.1f} s",
            f"{allowed:g} s",
            grown["idle_seconds"] / allowed,
            1.0,
            True,
        ),
    ]


def _run(folder: Path, name: str, section: dict[str, Any], least: int) -> dict[str, Any]:
    """What the driver of one run tells, on a cluster that keeps at least so many nodes."""
    sizes = {"weights": "1MiB", "workspace": "1MiB", "io": "1MiB", "objects": "0B"}
    model = {
        "name": "one",
        "path": write_double(folder, "one", 1, WIDTH),
        "sizes": sizes,
        "service_time": f"{MILLISECONDS:g}ms",
        "emulated": {"execute": f"{MILLISECONDS:g}ms"},
        "threads": 2,
        "replicas": {"min": 1, "max": CARDS},
    }
    cards = {"kind": "emulated", "count": CARDS, "capacity": "64MiB"}
    wanted = {"name": name, "cards": cards, "models": [model], **section}
    (folder / f"{name}.yaml").write_text(json.dumps(wanted))
    with elastic_cluster(CARDS, IDLE_SECONDS, least) as address:
        found = subprocess.run(
            [sys.executable, "-m", "benchmarks.elastic", address, folder / f"{name}.yaml"],
            env={k: v for k, v in {**os.environ, **SETTINGS}.items() if k != "RAY_ADDRESS"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    told: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return told


def drive(address: str, deployment: Path) -> dict[str, Any]:
    """Seconds from the start to the job's end, to the first node, and from the end to no card."""
    import ray

    wanted = load_deployment(deployment)
    ray.init(address, log_to_driver=False)

    def nodes() -> int:
        return sum(n["Alive"] and bool(n["Resources"].get("NPU")) for n in ray.nodes())

    if wanted.autoscale is None:
        _until(lambda: nodes() == CARDS, "four nodes are there")
    seen, node_seconds, started = [nodes()], 0.0, time.perf_counter()
    with Orchestrator(wanted, batch=True) as running:
        node_seconds = time.perf_counter() - started if seen == [0] else 0.0
        job = running.run(
            deployment.parent / "rows.npy",
            deployment.with_suffix(""),
            model="one",
            columns={"x": "data"},
            batch_size=1,
            workers=0,
        )
        while not job.done:
            cards = len(running.status().cards)
            if cards != seen[-1]:
                seen.append(cards)
            time.sleep(0.2)
        job.report()
        seconds, ended = time.perf_counter() - started, time.perf_counter()
        if wanted.autoscale is not None:
            _until(lambda: not running.status().cards, "no card is kept")
            seen.append(0)
        idle = time.perf_counter() - ended
        if wanted.autoscale is not None:
            _until(lambda: not nodes(), "no node is left")
    return {
        "seconds": seconds,
        "node_seconds": node_seconds,
        "idle_seconds": idle,
        "cards": seen,
    }


def _until(true: Callable[[], bool], what: str) -> None:
    late = time.monotonic() + PATIENCE_SECONDS
    while not true():
        if time.monotonic() > late:
            raise TimeoutError(f"after {PATIENCE_SECONDS:g} s it is not so that {what}")
        time.sleep(0.1)


if __name__ == "__main__":
    print(json.dumps(drive(sys.argv[1], Path(sys.argv[2]))))
