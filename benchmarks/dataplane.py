"""What a call through the driver costs, next to a bare call to a Ray actor with the same model.

``python -m benchmarks.dataplane [--rounds 5] [--json FILE]``. Both ways run in one Ray on this
machine, in turns, and only ratios count: the median over the rounds of the ratio within each.

- ``one caller``: ``predict`` and wait, one request after the other; tiny, 1 MB and 10 MB each way;
- ``tiny``: requests per second of ``map``, ``map_unordered``, 200 threads and 200 asyncio callers
  against pipelined bare calls to one actor, 10 under way; with ``ray[serve]`` also against a Ray
  Serve handle, 200 under way;
- ``busy``: batches of 5 ms of card time on two cards: the share of the time in which they compute.
"""

import argparse
import asyncio
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.bare import BareActor, ones
from benchmarks.comparison import Row, table
from benchmarks.double import write_double
from orchestrator import Deployment, ModelHandle, Orchestrator

TINY, MB = 16, 1 << 18
#: Batches of the tiny model: the card joins requests up to the largest.
_GEARS = (1, 8, 64)
_CALLERS = 200
_DEPTH = 10
_BUSY_MS = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table; 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        rows = _measure(Path(folder), options.rounds)
    title = f"Through the driver, and as others do it; medians of {options.rounds} rounds"
    Console(soft_wrap=True).print(table(title, "other", rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return int(any(row.missed for row in rows))


def _measure(folder: Path, rounds: int) -> list[Row]:
    with Orchestrator(_deployment(folder), address="local") as running:
        handle = running.model
        rows = [
            _one_caller("tiny", handle("single"), folder, (1, TINY), 1.25, rounds, 200),
            _one_caller("1 MB", handle("mb1"), folder, (1, MB), 1.10, rounds, 30),
            _one_caller("10 MB", handle("mb10"), folder, (1, 10 * MB), 1.10, rounds, 8),
            *_many(handle("tiny"), folder, rounds),
        ]
        return [*rows, _busy(handle("busy"), rounds)]


def _deployment(folder: Path) -> Deployment:
    gears = {"gears": [{"x": [rows, TINY]} for rows in _GEARS]}
    sizes = {"mb1": MB, "mb10": 10 * MB}
    models: list[dict[str, Any]] = [
        {"name": "tiny", "path": write_double(folder, "tiny", None, TINY), "shapes": gears},
        {"name": "single", "path": write_double(folder, "single", 1, TINY)},
        *({"name": n, "path": write_double(folder, n, 1, width)} for n, width in sizes.items()),
    ]
    for model in models:
        model["cards"] = ["local/0"]
    busy = {
        "replicas": 2,
        "threads": 2,  # the next batch is prepared while one executes
        "emulated": {"execute": f"{_BUSY_MS}ms"},
        "cards": ["local/1", "local/2"],
    }
    models.append({"name": "busy", "path": write_double(folder, "busy", 1, TINY), **busy})
    cards = {"kind": "emulated", "count": 3, "capacity": "1GiB"}
    return Deployment.model_validate({"name": "dataplane", "cards": cards, "models": models})


def _one_caller(
    name: str,
    handle: ModelHandle,
    folder: Path,
    shape: tuple[int, ...],
    target: float,
    rounds: int,
    calls: int,
) -> Row:
    bare = BareActor(folder / f"{handle.name}.mindir")
    request = ones(shape)

    def repeat(call: Callable[[Any], Any]) -> float:
        return _seconds(lambda: deque((call(request) for _ in range(calls)), maxlen=0)) / calls

    repeat(handle.predict), repeat(bare.predict)
    pairs = [(repeat(handle.predict), repeat(bare.predict)) for _ in range(rounds)]
    bare.close()
    ours, theirs = (statistics.median(times) * 1e3 for times in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    return Row(f"one caller, {name}", f"{ours:.2f} ms", f"{theirs:.2f} ms", ratio, target, True)


@dataclass(frozen=True)
class _Way:
    """Ours and another one, each with the number of requests that it sends."""

    name: str
    ours: Callable[[], object]
    count: int
    other: Callable[[], object]
    others: int
    target: float | None


def _many(handle: ModelHandle, folder: Path, rounds: int) -> list[Row]:
    bare = BareActor(folder / "single.mindir")
    request, count = ones((1, TINY)), 6_000
    requests = [request] * count
    few, fewer = requests[: count // 10], count // 20

    def pipelined() -> None:
        _drop(bare.pipelined(request, fewer, _DEPTH))

    ways = [
        _Way("map", lambda: _drop(handle.map(requests)), count, pipelined, fewer, 10.0),
        _Way(
            "map_unordered",
            lambda: _drop(handle.map_unordered(requests)),
            count,
            pipelined,
            fewer,
            10.0,
        ),
        _Way(
            f"{_CALLERS} threads",
            lambda: _threads(handle.predict, few),
            len(few),
            pipelined,
            fewer,
            3.0,
        ),
        _Way(
            f"{_CALLERS} asyncio callers",
            lambda: asyncio.run(_callers(handle, few)),
            len(few),
            pipelined,
            fewer,
            None,
        ),
    ]
    rows = [_compared(way, rounds) for way in ways]
    bare.close()
    if importlib.util.find_spec("starlette") is None:  # ray[serve] is not there
        return rows
    return [*rows, *_next_to_serve(handle, folder, requests, rounds)]


def _next_to_serve(
    handle: ModelHandle, folder: Path, requests: Sequence[Any], rounds: int
) -> list[Row]:
    from benchmarks.serve import ServeHandle

    other = ServeHandle(folder / "single.mindir")
    few, fewer = requests[: len(requests) // 10], requests[: len(requests) // 20]
    ways = [
        _Way(
            "map, Ray Serve",
            lambda: _drop(handle.map(requests)),
            len(requests),
            lambda: _drop(other.pipelined(requests[0], len(fewer), _CALLERS)),
            len(fewer),
            15.0,
        ),
        _Way(
            f"{_CALLERS} threads, Ray Serve",
            lambda: _threads(handle.predict, few),
            len(few),
            lambda: _threads(other.predict, fewer),
            len(fewer),
            5.0,
        ),
    ]
    rows = [_compared(way, rounds) for way in ways]
    other.close()
    return rows


def _compared(way: _Way, rounds: int) -> Row:
    pairs = []
    for turn in range(rounds + 1):
        pair = way.count / _seconds(way.ours), way.others / _seconds(way.other)
        if turn:  # the first is for warming up
            pairs.append(pair)
    return _rates(f"tiny, {way.name}", pairs, way.target)


def _threads(predict: Callable[[Any], object], requests: Sequence[Any]) -> None:
    with ThreadPoolExecutor(_CALLERS) as pool:
        _drop(pool.map(predict, requests))


def _rates(name: str, pairs: Sequence[tuple[float, float]], target: float | None) -> Row:
    ours, theirs = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    return Row(name, f"{ours:,.0f}/s", f"{theirs:,.0f}/s", ratio, target, False)


def _busy(handle: ModelHandle, rounds: int) -> Row:
    count, cards = 400, 2
    requests = [ones((1, TINY))] * count
    _drop(handle.map(requests))
    walls = [_seconds(lambda: _drop(handle.map(requests))) for _ in range(rounds)]
    ideal = count * _BUSY_MS / 1e3 / cards
    wall = statistics.median(walls)
    shown = f"{wall:.2f} s", f"{ideal:.2f} s ideal"
    return Row("busy share, 2 cards, 5 ms", *shown, ideal / wall, 0.95, False)


async def _callers(handle: ModelHandle, requests: Sequence[Any]) -> None:
    left = iter(requests)

    async def caller() -> None:
        for request in left:
            await handle.predict_async(request)

    await asyncio.gather(*(caller() for _ in range(_CALLERS)))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _drop(answers: Iterable[object]) -> None:
    deque(answers, maxlen=0)


if __name__ == "__main__":
    sys.exit(main())
