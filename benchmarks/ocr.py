"""The OCR job through two card processes against a plain loop in one process.

``python -m benchmarks.ocr [--pages 12] [--rounds 7] [--json FILE]``. Every way reads the same pages
with the same pipeline function, the same model files and the same engine settings:

- ``cards``: the job on two emulated cards, Parquet data set and summary included;
- ``padded loop``: ONNX Runtime in this process on two Python threads, each request cut and padded
  to the same gears by the same library code;
- ``exact loop``: the same without padding rows, which a model compiled for gears cannot take.

The driver's memory is looked at with every page: from page 50 on it is flat, that is in the second
half of those pages what it was in the first; fewer than 100 pages say nothing of that.

The ways take turns for some rounds, since other load on the machine moves all of them; the ratio is
taken within each round, and the median of the rounds is what counts. Many short rounds: on a busy
machine single ones lie between half and three halves of it. A first one only warms up, with few
pages.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.plain import PlainModels
from examples.ocr.models import place_models
from examples.ocr.pages import render_pages
from examples.ocr.pipeline import read_pages
from orchestrator import Orchestrator, load_deployment
from orchestrator.jobs import IN_FLIGHT, Job, cut
from orchestrator.runtime.deployments.accounts import card_documents
from orchestrator.runtime.io.files import InputFiles
from orchestrator.runtime.io.output import OutputFolder
from orchestrator.runtime.io.whole import Images
from orchestrator.runtime.jobs.runner import Here, JobHooks, run_job
from orchestrator.runtime.jobs.work import Task

DEPLOYMENT = Path(__file__).parents[1] / "examples" / "ocr" / "deployment.yaml"
TARGET = 0.88
#: From this page on memory is looked at, and how much larger it may be later than sooner.
FLAT_FROM, FLAT = 50, 1.05
#: Pages of the round that warms up.
_WARMING = 12


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table; 1 if the target was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pages", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        pages = _pages(Path(scratch) / "pages", options.pages)
        few = _pages(Path(scratch) / "few", min(options.pages, _WARMING))
        result = _compare(pages, few, Path(scratch), options.rounds)
    Console(soft_wrap=True).print(_table(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return int(result["ratio_to_padded_loop"] < TARGET or (result["memory"] or 0) > FLAT)


def _pages(folder: Path, count: int) -> Images:
    return Images(InputFiles(render_pages(folder, count, scans=False)))


def _compare(pages: Images, few: Images, scratch: Path, rounds: int) -> dict[str, Any]:
    folder = place_models()
    plain = {
        "padded loop": PlainModels(folder, padded=True),
        "exact loop": PlainModels(folder, padded=False),
    }
    with Orchestrator(load_deployment(DEPLOYMENT), address="local", batch=True) as cards:
        memory: list[int] = []
        ways: dict[str, Callable[[Images, int], object]] = {
            "cards": lambda read, turn: _job(read, cards, scratch / f"out-{turn}", memory),
            **{
                name: lambda read, turn, models=models: asyncio.run(_loop(read, models))
                for name, models in plain.items()
            },
        }
        for way in ways.values():
            way(few, 0)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(1, 1 + rounds):
            for name, way in ways.items():
                started = time.perf_counter()
                way(pages, turn)
                seconds[name].append(time.perf_counter() - started)
        status = cards.status()
        documents = card_documents(cards.plan, status)
    times_read = rounds + len(few.names) / len(pages.names)
    batches = {
        model: sum(r.batches for r in status.replicas if r.model == model) / times_read
        for model in ("det", "cls", "rec")
    }
    return {
        "pages": len(pages.names),
        "rounds": rounds,
        "seconds": seconds,
        "pages_per_second": {
            name: len(pages.names) / statistics.median(times) for name, times in seconds.items()
        },
        "ratio_to_padded_loop": _ratio(seconds["padded loop"], seconds["cards"]),
        "ratio_to_exact_loop": _ratio(seconds["exact loop"], seconds["cards"]),
        "target": TARGET,
        "memory": _growth(memory),
        "calls": {"cards": batches}
        | {name: models.calls(times_read) for name, models in plain.items()},
        "cards": documents,
    }


def _ratio(plain: Sequence[float], cards: Sequence[float]) -> float:
    return statistics.median(p / c for p, c in zip(plain, cards, strict=True))


def _growth(memory: Sequence[int]) -> float | None:
    """Of the bytes after each page: the later ones against the sooner ones, from page 50 on."""
    seen = memory[FLAT_FROM:]
    if len(seen) < FLAT_FROM:
        return None
    half = len(seen) // 2
    return statistics.median(seen[half:]) / statistics.median(seen[:half])


def _anonymous() -> int:
    """Bytes of this process that lie in no file."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


def _job(pages: Images, cards: Orchestrator, out: Path, memory: list[int]) -> None:
    """``memory``: the driver's, after each page of this run."""
    memory.clear()
    hooks = JobHooks(on_progress=lambda _: memory.append(_anonymous()))
    sink = OutputFolder(out)
    with contextlib.closing(sink):
        sink.prepare(Job.of(pages.pieces(1), pages.stamp, pages.part_size))
        task = Task(pages, read_pages, pages.batch_size, IN_FLIGHT)
        summary = run_job(Here(task, cards.models), sink, hooks)
    if summary.read != len(pages.names):
        raise RuntimeError(f"{summary.set_aside} pages were set aside: {summary.rejects[0]}")


async def _loop(pages: Images, models: PlainModels) -> None:
    (everything,) = cut(pages.pieces(1), len(pages.names))
    loads = pages.read(everything, 1)

    async def work() -> None:
        for load in loads:
            record = await asyncio.to_thread(load)
            await read_pages(record.columns, models)

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))


def _table(result: dict[str, Any]) -> Table:
    table = Table(title=f"{result['pages']} pages, median of {result['rounds']} rounds")
    for title in ("way", "pages/s", "cards / way", "calls det, cls, rec"):
        table.add_column(title, justify="left" if title == "way" else "right")
    ratios = {
        "cards": "",
        "padded loop": f"{result['ratio_to_padded_loop']:.2f} (target {TARGET})",
        "exact loop": f"{result['ratio_to_exact_loop']:.2f}",
    }
    for name, rate in result["pages_per_second"].items():
        calls = ", ".join(f"{result['calls'][name][model]:.0f}" for model in ("det", "cls", "rec"))
        table.add_row(name, f"{rate:.2f}", ratios[name], calls)
    grown = result["memory"]
    told = (
        "" if grown is None else f"The driver's memory after page 50: x {grown:.3f} (<= {FLAT}). "
    )
    table.caption = told + (
        "The exact loop computes no padded rows; it stands for what compiled shapes cost, "
        "not for what the cards add."
    )
    return table


if __name__ == "__main__":
    sys.exit(main())
