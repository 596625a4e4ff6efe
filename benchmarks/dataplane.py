"""What a call through the driver costs, next to a bare call to a Ray actor with the same model.

``python -m benchmarks.dataplane [--rounds 5] [--only NAME] [--json FILE]``. Both ways run in one
Ray on this machine, in turns, and only ratios count: the median over the rounds of the ratio within
each. ``--only map`` measures the rows whose names have ``map`` in them.

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
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from actors.messages import Arrays
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

#: Measures a row, given its name and the rounds.
Measure = Callable[[str, int], Row]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table; 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="a part of the names of the rows to measure")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        rows = _measure(Path(folder), options.rounds, options.only)
    title = f"Through the driver, and as others do it; medians of {options.rounds} rounds"
    Console(soft_wrap=True).print(table(title, "other", rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return int(any(row.missed for row in rows))


def _measure(folder: Path, rounds: int, only: str) -> list[Row]:
    with Orchestrator(_deployment(folder), address="local") as running:
        model = running.model
        measures: dict[str, Measure] = {
            **_one_caller(model, folder),
            **_many(model("tiny"), folder / "single.mindir"),
            "busy share, 2 cards, 5 ms": partial(_busy, model("busy")),
        }
        return [measure(name, rounds) for name, measure in measures.items() if only in name]


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


def _one_caller(model: Callable[[str], ModelHandle], folder: Path) -> dict[str, Measure]:
    kinds = (
        ("tiny", "single", TINY, 1.25, 200),
        ("1 MB", "mb1", MB, 1.10, 100),
        ("10 MB", "mb10", 10 * MB, 1.10, 30),
    )
    return {
        f"one caller, {name}": partial(
            _alone, model(served), folder / f"{served}.mindir", ones((1, width)), target, calls
        )
        for name, served, width, target, calls in kinds
    }


def _alone(
    handle: ModelHandle,
    path: Path,
    request: Arrays,
    target: float,
    calls: int,
    name: str,
    rounds: int,
) -> Row:
    def repeat(call: Callable[[Any], Any]) -> float:
        return _seconds(lambda: _drop(call(request) for _ in range(calls))) / calls

    with closing(BareActor(path)) as bare:
        repeat(handle.predict), repeat(bare.predict)
        pairs = [(repeat(handle.predict), repeat(bare.predict)) for _ in range(rounds)]
    ours, theirs = (statistics.median(times) * 1e3 for times in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    return Row(name, f"{ours:.2f} ms", f"{theirs:.2f} ms", ratio, target, True)


class _Other(Protocol):
    """How others call a model."""

    def predict(self, inputs: Arrays) -> object:
        """One call, waited for."""
        ...

    def pipelined(self, inputs: Arrays, count: int, depth: int) -> Iterable[object]:
        """Many calls of which ``depth`` are under way."""
        ...

    def close(self) -> None:
        """End it."""
        ...


@dataclass(frozen=True)
class _Way:
    """Ours and another one, each with the number of requests that it sends."""

    ours: Callable[[], object]
    count: int
    open: Callable[[], _Other]
    other: Callable[[_Other], object]
    others: int
    target: float | None

    def compared(self, name: str, rounds: int) -> Row:
        """Requests per second of both, in turns."""
        pairs = []
        with closing(self.open()) as other:
            for turn in range(rounds + 1):
                seconds = _seconds(self.ours), _seconds(lambda: self.other(other))
                if turn:  # the first is for warming up
                    pairs.append((self.count / seconds[0], self.others / seconds[1]))
        ours, theirs = (statistics.median(rates) for rates in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        return Row(name, f"{ours:,.0f}/s", f"{theirs:,.0f}/s", ratio, self.target, False)


def _many(handle: ModelHandle, single: Path) -> dict[str, Measure]:
    requests = [ones((1, TINY))] * 6_000
    few = requests[: len(requests) // 10]
    fewer = few[: len(few) // 2]

    def mapped() -> None:
        _drop(handle.map(requests))

    def threads() -> None:
        _threads(handle.predict, few)

    def pipelined(other: _Other) -> None:
        _drop(other.pipelined(fewer[0], len(fewer), _DEPTH))

    def next_to_bare(ours: Callable[[], object], count: int, target: float | None) -> Measure:
        other = partial(BareActor, single)
        return _Way(ours, count, other, pipelined, len(fewer), target).compared

    found = {
        "tiny, map": next_to_bare(mapped, len(requests), 10.0),
        "tiny, map_unordered": next_to_bare(
            lambda: _drop(handle.map_unordered(requests)), len(requests), 10.0
        ),
        f"tiny, {_CALLERS} threads": next_to_bare(threads, len(few), 3.0),
        f"tiny, {_CALLERS} asyncio callers": next_to_bare(
            lambda: asyncio.run(_callers(handle, few)), len(few), None
        ),
    }
    if importlib.util.find_spec("starlette") is None:  # ray[serve] is not there
        return found
    from benchmarks.serve import ServeHandle

    def many_at_once(other: _Other) -> None:
        _drop(other.pipelined(fewer[0], len(fewer), _CALLERS))

    def their_threads(other: _Other) -> None:
        _threads(other.predict, fewer)

    serve, count = partial(ServeHandle, single), len(fewer)
    return {
        **found,
        "tiny, map, Ray Serve": _Way(
            mapped, len(requests), serve, many_at_once, count, 15.0
        ).compared,
        f"tiny, {_CALLERS} threads, Ray Serve": _Way(
            threads, len(few), serve, their_threads, count, 5.0
        ).compared,
    }


def _threads(predict: Callable[[Any], object], requests: Sequence[Any]) -> None:
    with ThreadPoolExecutor(_CALLERS) as pool:
        _drop(pool.map(predict, requests))


def _busy(handle: ModelHandle, name: str, rounds: int) -> Row:
    count, cards = 400, 2
    requests = [ones((1, TINY))] * count
    _drop(handle.map(requests))
    walls = [_seconds(lambda: _drop(handle.map(requests))) for _ in range(rounds)]
    ideal = count * _BUSY_MS / 1e3 / cards
    wall = statistics.median(walls)
    shown = f"{wall:.2f} s", f"{ideal:.2f} s ideal"
    return Row(name, *shown, ideal / wall, 0.95, False)


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
