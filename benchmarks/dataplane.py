"""What a call through the driver costs, next to a bare call to a Ray actor with the same model.

``python -m benchmarks.dataplane [--rounds 5] [--json FILE]``. Both ways run in one Ray on this
machine, in turns, and only ratios count: the median over the rounds of the ratio within each.

- ``one caller``: ``predict`` and wait, one request after the other; tiny, 1 MB and 10 MB each way;
- ``tiny, many``: requests per second of ``map``, ``map_unordered``, 200 threads and 200 asyncio
  callers against pipelined bare calls to one actor, 10 under way;
- ``busy``: batches of 5 ms of card time on two cards: the share of the time in which they compute.
"""

import argparse
import asyncio
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

import onnx
from onnx import TensorProto, helper
from rich.console import Console
from rich.table import Table

from benchmarks.bare import BareActor, ones
from orchestrator import Deployment, ModelHandle, Orchestrator

TINY, MB = 16, 1 << 18
#: Batches of the tiny model: the card joins requests up to the largest.
_GEARS = (1, 8, 64)
_CALLERS = 200
_DEPTH = 10
_BUSY_MS = 5.0


@dataclass(frozen=True)
class Row:
    """One comparison. ``ratio`` is what ``target`` bounds, from above or from below."""

    name: str
    ours: str
    bare: str
    ratio: float
    target: float | None
    at_most: bool

    @property
    def missed(self) -> bool:
        """Whether there is a target that was not reached."""
        if self.target is None:
            return False
        return self.ratio > self.target if self.at_most else self.ratio < self.target


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table; 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        rows = _measure(Path(folder), options.rounds)
    Console(soft_wrap=True).print(_table(rows, options.rounds))
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
        {"name": "tiny", "path": _write(folder, "tiny", None, TINY), "shapes": gears},
        {"name": "single", "path": _write(folder, "single", 1, TINY)},
        *({"name": n, "path": _write(folder, n, 1, width)} for n, width in sizes.items()),
    ]
    for model in models:
        model["cards"] = ["local/0"]
    busy = {
        "replicas": 2,
        "emulated": {"execute": f"{_BUSY_MS}ms"},
        "cards": ["local/1", "local/2"],
    }
    models.append({"name": "busy", "path": _write(folder, "busy", 1, TINY), **busy})
    cards = {"kind": "emulated", "count": 3, "capacity": "1GiB"}
    return Deployment.model_validate({"name": "dataplane", "cards": cards, "models": models})


def _write(folder: Path, name: str, rows: int | None, width: int) -> str:
    """``x [rows, width] -> y = 2 x``: next to no work, as much out as in."""
    shape = ["n" if rows is None else rows, width]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [helper.make_tensor("w", TensorProto.FLOAT, [1], [2.0])],  # the library wants weights
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(
        helper.make_model(graph, opset_imports=[opset], ir_version=9), folder / f"{name}.onnx"
    )
    return str(folder / f"{name}.mindir")


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


def _many(handle: ModelHandle, folder: Path, rounds: int) -> list[Row]:
    bare = BareActor(folder / "single.mindir")
    request, count = ones((1, TINY)), 6_000
    requests = [request] * count
    fewer = requests[: count // 10]

    def threads() -> None:
        with ThreadPoolExecutor(_CALLERS) as pool:
            _drop(pool.map(handle.predict, fewer))

    ways: dict[str, tuple[Callable[[], None], int, float | None]] = {
        "map": (lambda: _drop(handle.map(requests)), count, 10.0),
        "map_unordered": (lambda: _drop(handle.map_unordered(requests)), count, 10.0),
        f"{_CALLERS} threads": (threads, len(fewer), 3.0),
        f"{_CALLERS} asyncio callers": (
            lambda: asyncio.run(_callers(handle, fewer)),
            len(fewer),
            None,
        ),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    calls = count // 20
    for turn in range(rounds + 1):
        for name, (way, amount, _) in ways.items():
            ours = amount / _seconds(way)
            theirs = calls / _seconds(lambda: _drop(bare.pipelined(request, calls, _DEPTH)))
            if turn:  # the first is for warming up
                found[name].append((ours, theirs))
    bare.close()
    return [_rates(f"tiny, {name}", pairs, ways[name][2]) for name, pairs in found.items()]


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


def _table(rows: Sequence[Row], rounds: int) -> Table:
    table = Table(title=f"Through the driver, and bare; medians of {rounds} rounds")
    for title in ("what", "ours", "bare", "ratio", "target"):
        table.add_column(title, justify="left" if title == "what" else "right")
    for row in rows:
        sign = "<=" if row.at_most else ">="
        target = "" if row.target is None else f"{sign} {row.target:g}"
        mark = " missed" if row.missed else ""
        table.add_row(row.name, row.ours, row.bare, f"{row.ratio:.2f}", f"{target}{mark}")
    return table


if __name__ == "__main__":
    sys.exit(main())
