"""What stays steady while cards are shared, many, killed, or used for long.

``python -m benchmarks.steadiness [--requests 100000] [--json FILE]``. Each has a Ray of its own:

- ``light beside heavy``: a model of 2 ms shares a card with one of 50 ms, which two drivers keep
  busy with priority batch; the 99th percentile of its requests against two heavy executions;
- ``8 cards``: batches of 5 ms on eight cards through ``map``: the share of the time in which they
  compute;
- ``killed``: one of two cards is ended by SIGKILL under load: the longest answer to a request that
  was under way, in seconds, and the time until the card serves again beyond what it takes to load;
- ``node killed``: the same for one of two nodes, whose raylet is ended by SIGKILL;
- ``copies``: batches of 10 ms whose inputs and outputs are copied for 5 ms each, with two threads
  against one: how much more of them a card does when copies run beside executions;
- ``memory`` and ``handles``: so many requests through two cards: the driver's resident memory, its
  threads and what it holds of Ray and of answers to come, at the end against a tenth of the way.
"""

import argparse
import gc
import itertools
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray
from rich.console import Console

from benchmarks.bare import ones
from benchmarks.comparison import Row, table
from benchmarks.double import write_double
from orchestrator import Deployment, ModelHandle, Orchestrator
from orchestrator.runtime.cluster.connect import connect
from orchestrator.runtime.deployments.named import take_down
from orchestrator.runtime.deployments.up import up
from orchestrator.runtime.options import Options
from tests.runtime.nodes import RESOURCE, further_node

WIDTH = 16
LIGHT_MS, HEAVY_MS, BUSY_MS = 2.0, 50.0, 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table; 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = [
            _light_beside_heavy(folder),
            _many_cards(folder, 8),
            *_killed(folder),
            _node_killed(folder),
            _copies(folder),
            *_memory(folder, options.requests),
        ]
    Console(soft_wrap=True).print(table("What stays steady", "bound", rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return int(any(row.missed for row in rows))


def _deployment(
    name: str, count: int, models: Sequence[dict[str, Any]], resource: str = "NPU"
) -> Deployment:
    cards = {"kind": "emulated", "count": count, "capacity": "256MiB", "resource": resource}
    return Deployment.model_validate({"name": name, "cards": cards, "models": models})


def _model(folder: Path, name: str, milliseconds: float, replicas: int) -> dict[str, Any]:
    return {
        "name": name,
        "path": write_double(folder, name, 1, WIDTH),
        "replicas": replicas,
        "threads": 2,
        "emulated": {"execute": f"{milliseconds:g}ms"},
    }


def _keep_busy(handle: ModelHandle, seconds: float) -> int:
    """Send batches for so long; how many were answered."""
    end = time.monotonic() + seconds
    batches = itertools.takewhile(
        lambda _: time.monotonic() < end, itertools.repeat(ones((1, WIDTH)))
    )
    return sum(1 for _ in handle.map(batches, window=32, priority="batch"))


def _light_beside_heavy(folder: Path) -> Row:
    models = [_model(folder, "light", LIGHT_MS, 1), _model(folder, "heavy", HEAVY_MS, 1)]
    connection = connect("local", resources={"NPU": 1.0}, object_store_bytes=100 << 20)
    try:
        up(_deployment("shared", 1, models), Options())
        with Orchestrator.connect("shared") as running:
            heavy, light, request = running.model("heavy"), running.model("light"), ones((1, WIDTH))
            decorate: Any = ray.remote(num_cpus=0)
            elsewhere = decorate(_keep_busy).remote(heavy, 40.0)
            here = threading.Thread(target=_keep_busy, args=(heavy, 40.0))
            here.start()
            time.sleep(10.0)  # until the other driver has come
            times = []
            while here.is_alive():
                started = time.perf_counter()
                light.predict(request)
                times.append(time.perf_counter() - started)
            ray.get(elsewhere)
        take_down("shared")
    finally:
        connection.close()
    p99, bound = float(np.percentile(times, 99)) * 1e3, 2 * HEAVY_MS
    shown = f"{p99:.0f} ms ({len(times)} calls)", f"{bound:.0f} ms"
    return Row("light beside heavy, p99", *shown, p99 / bound, 1.0, True)


def _many_cards(folder: Path, count: int) -> Row:
    batches = [ones((1, WIDTH))] * (200 * count)
    wanted = _deployment("many", count, [_model(folder, "busy", BUSY_MS, count)])
    with Orchestrator(wanted, address="local", batch=True) as running:
        handle = running.model("busy")
        walls = []
        for _ in range(4):  # the first is for warming up
            started = time.perf_counter()
            deque(handle.map(batches, window=64 * count), maxlen=0)
            walls.append(time.perf_counter() - started)
    ideal, wall = len(batches) * BUSY_MS / 1e3 / count, statistics.median(walls[1:])
    shown = f"{wall:.2f} s", f"{ideal:.2f} s"
    return Row(f"{count} cards, busy share", *shown, ideal / wall, 0.88, False)


def _killed(folder: Path) -> list[Row]:
    wanted = _deployment("killed", 2, [_model(folder, "both", BUSY_MS, 2)])
    request = ones((1, WIDTH))
    with Orchestrator(wanted, address="local") as running:
        handle, slots = running.model("both"), running._traffic().slots
        victim = slots()[0]
        assert victim.identity is not None
        deque(handle.map([request] * 400), maxlen=0)
        flying: list[Future[Any]] = [handle.submit(request) for _ in range(60)]
        life = victim.life
        os.kill(victim.identity.pid, signal.SIGKILL)
        killed = time.perf_counter()
        for future in flying:
            future.result()
        answered = time.perf_counter() - killed
        while victim.serving is None or victim.life == life:
            time.sleep(0.05)
        back = time.perf_counter() - killed
        assert victim.report is not None
        load = victim.report.seconds
    return [
        Row("killed: answered elsewhere", f"{answered:.2f} s", "3 s", answered / 3, 1.0, True),
        Row(
            "killed: serves again",
            f"{back:.2f} s, {load:.2f} s of them loading",
            "load + 3 s",
            back / (load + 3),
            1.0,
            True,
        ),
    ]


def _node_killed(folder: Path) -> Row:
    connection = connect("local", object_store_bytes=100 << 20)
    request = ones((1, WIDTH))
    try:
        with further_node() as lost, further_node():
            wanted = _deployment("nodes", 2, [_model(folder, "both", BUSY_MS, 2)], RESOURCE)
            with Orchestrator(wanted) as running:
                handle = running.model("both")
                deque(handle.map([request] * 400), maxlen=0)
                flying = [handle.submit(request) for _ in range(60)]
                lost.kill()
                killed = time.perf_counter()
                for future in flying:
                    future.result()
                answered = time.perf_counter() - killed
    finally:
        connection.close()
    shown = f"{answered:.2f} s", "4 s"
    return Row("node killed: answered elsewhere", *shown, answered / 4, 1.0, True)


def _copies(folder: Path) -> Row:
    """Ideal: 20 ms a batch with one thread, 10 ms with two."""
    batches = [ones((1, WIDTH))] * 200
    times = {"execute": "10ms", "copy_in": "5ms", "copy_out": "5ms"}
    models = [
        {**_model(folder, f"copies{threads}", 0.0, 1), "threads": threads, "emulated": times}
        for threads in (1, 2)
    ]
    walls = []
    with Orchestrator(_deployment("copies", 1, models), address="local", batch=True) as running:
        for model in models:
            handle = running.model(model["name"])
            deque(handle.map(batches[:50]), maxlen=0)
            started = time.perf_counter()
            deque(handle.map(batches), maxlen=0)
            walls.append(time.perf_counter() - started)
    alone, beside = walls
    shown = f"{beside:.2f} s", f"{alone:.2f} s"
    return Row("copies beside executions, 2 threads", *shown, alone / beside, 1.6, False)


def _held() -> int:
    """Objects of Ray that this process holds, and what waits for answers."""
    gc.collect()
    kinds = (ray.ObjectRef, ray.actor.ActorHandle, Future)
    return sum(isinstance(one, kinds) for one in gc.get_objects())


def _memory(folder: Path, count: int) -> list[Row]:
    wanted = _deployment("long", 2, [_model(folder, "quick", 0.0, 2)])
    driver, request = psutil.Process(), ones((1, WIDTH))
    with Orchestrator(wanted, address="local") as running:
        handle = running.model("quick")
        deque(handle.map([request] * (count // 10)), maxlen=0)
        early, before = driver.memory_info().rss, (driver.num_threads(), _held())
        deque(handle.map(itertools.repeat(request, count - count // 10)), maxlen=0)
        late, after = driver.memory_info().rss, (driver.num_threads(), _held())
    mib = 1 << 20
    told = [f"{threads} threads, {refs} refs" for threads, refs in (after, before)]
    shown = f"{late / mib:.0f} MiB", f"{early / mib:.0f} MiB"
    return [
        Row(f"{count:,} requests, memory", *shown, late / early, 1.05, True),
        Row(f"{count:,} requests, handles", *told, sum(after) / sum(before), 1.05, True),
    ]


if __name__ == "__main__":
    sys.exit(main())
