"""What a batch job costs beside its cards' own time.

``python -m benchmarks.jobs [--batches 1000] [--records 0] [--rounds 3] [--json FILE]``. Batches of
5 ms of device time on two emulated cards, from a NumPy file through one model to Parquet, manifest
and summary included, against the ideal (batches x 5 ms / 2 cards). Side by side:

- ``job, here``: records are read and written in the driver; ``job, workers``: in two of Ray's;
- ``iter_batches``: a bare loop that sends the batches of a Ray Data dataset through the same
  handles, and writes nothing;
- ``Ray Data, native``: ``map_batches`` with two actors that sleep 5 ms a batch, start included.

The last two need ``ray[data]`` and are left out without it. ``--records``: so many small records
through two cards.
"""

import argparse
import importlib.util
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.double import write_double
from orchestrator import Deployment, Orchestrator
from orchestrator.bridges import stream

Array = npt.NDArray[np.float32]

BUSY_SECONDS = 0.005
CARDS = 2
ROWS = 8
WIDTH = 16
#: Against the ideal, by the number of batches; and native Ray Data against the job.
TARGETS = {1000: 1.12, 10000: 1.06}
NATIVE_TARGET = 1.3


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table; 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batches", type=int, default=1000)
    parser.add_argument("--records", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        result = _measure(Path(scratch), options.batches, options.rounds, options.records)
    Console(soft_wrap=True).print(_table(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return int(result["missed"])


def _measure(scratch: Path, batches: int, rounds: int, records: int) -> dict[str, Any]:
    ideal = batches * BUSY_SECONDS / CARDS
    data = np.zeros((batches * ROWS, WIDTH), np.float32)
    data[:, 0] = np.arange(len(data)) % 1000
    np.save(scratch / "rows.npy", data)
    seconds: dict[str, list[float]] = {}
    with Orchestrator(_deployment(scratch), address="local", batch=True) as running:
        ways: dict[str, Callable[[int], float]] = {
            "job, here": lambda turn: _job(running, scratch, turn, 0),
            "job, workers": lambda turn: _job(running, scratch, turn, 2),
        }
        if importlib.util.find_spec("pandas") is not None:
            from benchmarks.raydata import native

            ways["iter_batches"] = lambda turn: _loop(running, data)
            ways["Ray Data, native"] = lambda turn: native(data, ROWS, CARDS, BUSY_SECONDS)
        for turn in range(rounds):
            for name, way in ways.items():
                seconds.setdefault(name, []).append(way(turn))
        small = _small(running, scratch, records) if records else None
    times = {name: statistics.median(found) for name, found in seconds.items()}
    ratios = {name: found / ideal for name, found in times.items()}
    target = TARGETS.get(batches)
    missed = target is not None and ratios["job, here"] > target
    return {
        "batches": batches,
        "rounds": rounds,
        "ideal_seconds": ideal,
        "seconds": times,
        "ratio_to_ideal": ratios,
        "target": target,
        "small_records": small,
        "missed": missed,
    }


def _deployment(folder: Path) -> Deployment:
    """One model of ``ROWS`` rows, 5 ms a batch; one of many rows that takes no time."""
    busy = {"execute": f"{BUSY_SECONDS * 1000:g}ms"}
    cards = {"kind": "emulated", "count": CARDS, "capacity": "256MiB"}
    models = [
        {
            "name": "busy",
            "path": write_double(folder, "busy", ROWS, WIDTH),
            "replicas": CARDS,
            "threads": 2,  # the next batch is prepared while one executes
            "emulated": busy,
        },
        {"name": "fast", "path": write_double(folder, "fast", 1024, WIDTH), "replicas": CARDS},
    ]
    return Deployment.model_validate({"name": "jobs", "cards": cards, "models": models})


def _job(running: Orchestrator, scratch: Path, turn: int, workers: int) -> float:
    """Seconds of the job, workers' start included."""
    started = time.perf_counter()
    summary = running.run(
        scratch / "rows.npy",
        scratch / f"out-{workers}-{turn}",
        model="busy",
        columns={"x": "data"},
        batch_size=ROWS,
        in_flight=16,
        part_size=1000,
        workers=workers,
    ).wait()
    if summary.rejects:
        raise RuntimeError(f"{len(summary.rejects)} records: {summary.rejects[0].reason}")
    return time.perf_counter() - started


def _loop(running: Orchestrator, data: Array) -> float:
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    dataset = ray.data.from_numpy(data)
    started = time.perf_counter()
    answers = stream(dataset, running.models["busy"], columns={"x": "data"}, batch_size=ROWS)
    rows = sum(len(answer["y"]) for answer in answers)
    if rows != len(data):
        raise RuntimeError(f"{rows} rows of {len(data)}")
    return time.perf_counter() - started


def _small(running: Orchestrator, scratch: Path, records: int) -> dict[str, float]:
    """Small records, as fast as they go."""
    source = scratch / "small.npy"
    np.save(source, np.zeros((records, WIDTH), np.float32))
    started = time.perf_counter()
    running.run(
        source, scratch / "small", model="fast", columns={"x": "data"}, batch_size=1024
    ).wait()
    return {"records": records, "records_per_second": records / (time.perf_counter() - started)}


def _table(result: dict[str, Any]) -> Table:
    title = f"{result['batches']} batches of 5 ms on {CARDS} cards, median of {result['rounds']}"
    table = Table(title=title)
    for name in ("way", "seconds", "of the ideal"):
        table.add_column(name, justify="left" if name == "way" else "right")
    table.add_row("ideal", f"{result['ideal_seconds']:.2f}", "1.00")
    for name, seconds in result["seconds"].items():
        told = f"{result['ratio_to_ideal'][name]:.2f}"
        if name == "job, here" and result["target"]:
            told += f" (target {result['target']})"
        table.add_row(name, f"{seconds:.2f}", told)
    if result["small_records"]:
        rate = result["small_records"]["records_per_second"]
        table.caption = f"{result['small_records']['records']} small records: {rate:.0f} a second"
    return table


if __name__ == "__main__":
    sys.exit(main())
