"""What a batch job costs beside its cards' own time, and how it stands kills and few cards.

``python -m benchmarks.jobs [--only NAME ...] [--batches 1000] [--records 1000000] [--rounds 3]
[--json FILE]``. Each has a Ray of its own:

- ``batches``: batches of 5 ms of device time on two emulated cards, from a NumPy file through one
  model to Parquet, manifest and summary included, against the ideal (batches x 5 ms / 2 cards);
  beside it a bare loop over the batches of a Ray Data dataset, Ray Data that forwards to the same
  cards, and the fastest of some layouts of ``map_batches`` with actors of its own, start included,
  against which the job's cards are started anew, too;
- ``killed``: small records through two cards, the driver killed three times and resumed: the output
  must be that of an undisturbed run; what part files and manifest cost, against one single part;
- ``elastic``: none to four cards and none again, with Ray's own autoscaler, against the same job on
  four cards that are there (about two minutes);
- ``start``: from the command to the first answer of a card.

Without ``ray[data]`` what needs Ray Data is left out. ``python -m benchmarks.ocr --pages 200`` is
the job with real models.
"""

import argparse
import contextlib
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
from rich.console import Console

from benchmarks import elastic, killed, start
from benchmarks.comparison import Row, table
from benchmarks.double import write_double
from orchestrator import Deployment, Orchestrator
from orchestrator.runtime.cluster.connect import connect
from orchestrator.runtime.deployments.named import take_down
from orchestrator.runtime.deployments.up import up
from orchestrator.runtime.options import Options

Array = npt.NDArray[np.float32]

BUSY_SECONDS = 0.005
CARDS = 2
ROWS = 8
WIDTH = 16
#: How busy a machine is on which a way begins; it is not waited for longer than that.
IDLE_PERCENT, SETTLE_SECONDS = 10.0, 10.0
#: Against the ideal, by the number of batches.
TARGETS = {1000: 1.12, 10000: 1.06}
#: Native Ray Data against the job, both with their starts, by the number of batches.
NATIVE_TARGETS = {1000: 1.3, 10000: 1.0}

#: Seconds of one way in this round.
_Way = Callable[[int], float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table; 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    names = ("batches", "killed", "elastic", "start")
    parser.add_argument("--only", action="append", choices=names)
    parser.add_argument("--batches", type=int, default=1000)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        measures: dict[str, Callable[[Path], list[Row]]] = {
            "batches": lambda folder: _batches(folder, options.batches, options.rounds),
            "killed": lambda folder: killed.measure(folder, options.records, options.rounds),
            "elastic": elastic.measure,
            "start": lambda folder: start.measure(folder, options.rounds),
        }
        for name in options.only or names:
            folder = Path(scratch, name)
            folder.mkdir()
            rows += measures[name](folder)
    title = f"Batch jobs; medians of {options.rounds} rounds"
    Console(soft_wrap=True).print(table(title, "other", rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return int(any(row.missed for row in rows))


def _batches(folder: Path, batches: int, rounds: int) -> list[Row]:
    data = np.zeros((batches * ROWS, WIDTH), np.float32)
    data[:, 0] = np.arange(len(data)) % 1000
    np.save(folder / "rows.npy", data)
    with _ray():
        up(_deployment(folder, "up"), Options(batch=True))
        with Orchestrator.connect("up") as running:
            ways = _on_cards(folder, running, data)
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            for turn in range(rounds):
                for name, way in ways.items():
                    _settle()
                    seconds[name].append(way(turn))
        take_down("up")
    starting = _starting(folder, data)
    seconds |= {name: [] for name in starting}
    for turn in range(rounds):
        for name, way in starting.items():
            with _ray():
                _settle()
                seconds[name].append(way(turn))
    return _compared(seconds, batches)


@contextlib.contextmanager
def _ray() -> Iterator[None]:
    connection = connect("local", resources={"NPU": float(CARDS)}, object_store_bytes=200 << 20)
    try:
        yield
    finally:
        connection.close()


def _on_cards(folder: Path, running: Orchestrator, data: Array) -> dict[str, _Way]:
    """The ways that use cards which serve already."""
    ways: dict[str, _Way] = {
        "here": lambda turn: _job(running, folder, f"here-{turn}", 0),
        "workers": lambda turn: _job(running, folder, f"workers-{turn}", 2),
    }
    if _has_ray_data():
        from benchmarks.raydata import forwarded, looped

        model = running.model("busy")
        ways["iter_batches"] = lambda turn: looped(data, ROWS, model)
        ways["forwarded"] = lambda turn: forwarded(data, ROWS, model)
    return ways


def _starting(folder: Path, data: Array) -> dict[str, _Way]:
    """The ways that start what answers, each in a Ray that has just started.

    So none finds idle workers that another left. Ray gives an actor none that has run a task, nor
    the other way round: what is left of one way would be of use to some of the others alone.
    """
    ways: dict[str, _Way] = {"started": lambda turn: _started(folder, f"started-{turn}")}
    if _has_ray_data():
        from benchmarks.raydata import LAYOUTS, native

        for number, layout in enumerate(LAYOUTS):
            ways[f"native {number}"] = lambda turn, layout=layout: native(  # type: ignore[misc]
                data, ROWS, CARDS, BUSY_SECONDS, layout
            )
    return ways


def _has_ray_data() -> bool:
    return importlib.util.find_spec("pandas") is not None


def _settle() -> None:
    """Begin alike: what has just begun, or was left to end, takes no CPU any more."""
    late = time.monotonic() + SETTLE_SECONDS
    while psutil.cpu_percent(interval=0.5) > IDLE_PERCENT and time.monotonic() < late:
        pass


def _compared(seconds: dict[str, list[float]], batches: int) -> list[Row]:
    ideal = batches * BUSY_SECONDS / CARDS
    times = {name: statistics.median(found) for name, found in seconds.items()}
    shown = f"{ideal:.2f} s ideal"

    def against_ideal(told: str, name: str, target: float | None = None) -> Row:
        what = f"{batches} batches of 5 ms, {told}"
        return Row(what, f"{times[name]:.2f} s", shown, times[name] / ideal, target, True)

    rows = [
        against_ideal("job", "here", TARGETS.get(batches)),
        against_ideal("job with two workers", "workers"),
        against_ideal("job that starts its cards", "started"),
    ]
    if "forwarded" in times:
        rows.append(against_ideal("bare iter_batches loop", "iter_batches"))
        rows.append(against_ideal("Ray Data forwards", "forwarded"))
        best = min(value for name, value in times.items() if name.startswith("native"))
        what = f"{batches} batches, next to native Ray Data, starts included"
        ours, target = times["started"], NATIVE_TARGETS.get(batches)
        rows.append(Row(what, f"{ours:.2f} s", f"{best:.2f} s", best / ours, target, False))
    return rows


def _deployment(folder: Path, name: str) -> Deployment:
    """One model of ``ROWS`` rows, 5 ms a batch."""
    model = {
        "name": "busy",
        "path": write_double(folder, "busy", ROWS, WIDTH),
        "replicas": CARDS,
        "threads": 2,  # the next batch is prepared while one executes
        "emulated": {"execute": f"{BUSY_SECONDS * 1000:g}ms"},
    }
    cards = {"kind": "emulated", "count": CARDS, "capacity": "256MiB"}
    return Deployment.model_validate({"name": name, "cards": cards, "models": [model]})


def _started(folder: Path, out: str) -> float:
    """Seconds of the job on cards that are started for it, and ended after it."""
    started = time.perf_counter()
    with Orchestrator(_deployment(folder, "own"), batch=True) as running:
        _job(running, folder, out, 0)
    return time.perf_counter() - started


def _job(running: Orchestrator, folder: Path, out: str, workers: int) -> float:
    """Seconds of the job, workers' start included."""
    started = time.perf_counter()
    options: dict[str, Any] = {"batch_size": ROWS, "in_flight": 16, "part_size": 1000}
    summary = running.run(
        folder / "rows.npy",
        folder / out,
        model="busy",
        columns={"x": "data"},
        workers=workers,
        **options,
    ).wait()
    if summary.rejects:
        raise RuntimeError(f"{summary.set_aside} records: {summary.rejects[0].reason}")
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
