"""What sharing saves on one card, measured by the operating system on the card's own process.

Seven real models (see ``benchmarks.real_models`` for the wheels and their licences), each at its
largest shape and with three threads, on one emulated card, for four ways of sharing. Every case is
a CardActor with a CardOrder in a process of its own, as the runtime starts it; sizes come from the
probe, the plan from ``actors.memory``, the ledger from the card.

    python -m benchmarks.memory [--json FILE] [--rounds 3]

Held to, within one run of this program; the exit code is 1 when one is broken:

1. With a shared workspace a card grows, from the last build to rest after the last run, by at most
   1.05 times (the largest workspace + the planned io bytes).
2. Without sharing it grows at least three times as much.
3. Five threads of one model with 410 MB of weights hold at most 1.10 times one copy.
4. The ledger agrees with the plan to the byte.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from actors import memory, probe
from actors.accounts import planned
from actors.messages import CardOrder, ModelOrder
from actors.shapes import Gear, Shape
from benchmarks.card_process import CardRun, run_card
from benchmarks.real_models import SEVEN, MissingModelError, order_at, shared_as
from tests.models import write_mlp

THREADS = 3
SHARING = {
    "none": (False, False),
    "weights": (True, False),
    "workspace": (False, True),
    "both": (True, True),
}

MATRIX_SHAPE: Shape = (1, 3200)
MATRIX_LAYERS = 10
MATRIX_THREADS = 5

GROWTH_LIMIT = 1.05
SEVERAL = 3.0
WEIGHTS_LIMIT = 1.10


@dataclass(frozen=True)
class Bound:
    """One promise: ``value`` is at most (or at least) ``limit``."""

    text: str
    value: float
    limit: float
    at_most: bool = True

    @property
    def kept(self) -> bool:
        """Whether the promise holds."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every case, print the tables, and return the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    parser.add_argument("--rounds", type=int, default=3, help="runs of every Model object")
    options = parser.parse_args(arguments)
    console, progress = Console(), Console(stderr=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            progress.print("measuring the models' sizes")
            seven = [sized(model.place(Path(folder))) for model in SEVEN]
            matrix = sized(matrix_model(Path(folder)))
            runs = {}
            for name, order in cases(seven, matrix):
                progress.print(f"card process: {name}")
                runs[name] = run_card(name, order, options.rounds)
    except MissingModelError as error:
        console.print(f"error: {error}", markup=False)
        return 1
    found = bounds(runs)
    for table in (sharing_table(runs), engine_table(runs), bounds_table(found)):
        console.print(table)
    if options.json:
        options.json.write_text(json.dumps(as_json(runs, found), indent=2) + "\n")
    return 0 if all(bound.kept for bound in found) else 1


def matrix_model(folder: Path) -> ModelOrder:
    """Ten 3200 x 3200 matrix products: 410 MB of weights and next to no work memory."""
    rows, width = MATRIX_SHAPE
    path = write_mlp(folder, "matrix", rows=rows, width=width, layers=MATRIX_LAYERS)
    return order_at(Gear((("x", MATRIX_SHAPE),)), path)


def sized(order: ModelOrder) -> ModelOrder:
    """The order with the footprint that the plan charges, from a probe of the model."""
    found = probe.measure(order, kind="emulated")
    sizes = memory.Sizes(
        weights=found.weight_bytes,
        workspace=found.workspace_bytes,
        tensors=found.largest.tensor_bytes,
        object_bytes=found.object_bytes,
        streams=found.streams,
        dynamic=found.dynamic,
    )
    return replace(order, footprint=memory.footprint(order.name, sizes, memory.ASCEND))


def cases(seven: Sequence[ModelOrder], matrix: ModelOrder) -> Iterator[tuple[str, CardOrder]]:
    """Every card: the seven models by sharing, five threads of one, and each model alone."""
    for name, (weights, workspace) in SHARING.items():
        yield (
            name,
            card(
                [shared_as(m, weights=weights, workspace=workspace, threads=THREADS) for m in seven]
            ),
        )
    yield "matrix", card([replace(matrix, threads=MATRIX_THREADS)])
    for model in seven:
        yield model.name, card([model])


def card(models: Sequence[ModelOrder]) -> CardOrder:
    """A card with room for exactly what is planned: one byte more would be refused."""
    order = CardOrder("local/0", "emulated", 0, tuple(models))
    return replace(order, capacity_bytes=memory.card_memory(planned(order)).total)


def bounds(runs: Mapping[str, CardRun]) -> list[Bound]:
    """What this run is held to."""
    found = []
    for name in ("workspace", "both"):
        plan = runs[name].memory.planned
        ratio = runs[name].growth / (plan.workspace + plan.io)
        text = f"growth, sharing {name} / (workspace + io)"
        found.append(Bound(text, ratio, GROWTH_LIMIT))
    several = runs["none"].growth / runs["both"].growth
    found.append(
        Bound("growth without sharing / growth with both", several, SEVERAL, at_most=False)
    )
    matrix = runs["matrix"]
    held = (matrix.rested.anonymous - matrix.imported.anonymous) / matrix.memory.planned.weights
    text = f"held by {MATRIX_THREADS} threads of one model / its weights"
    found.append(Bound(text, held, WEIGHTS_LIMIT))
    apart = sum(run.memory.measured != run.memory.planned for run in runs.values())
    found.append(Bound("cards whose ledger differs from the plan", apart, 0))
    return found


def sharing_table(runs: Mapping[str, CardRun]) -> Table:
    """A column for each way of sharing, and one for the threads of the matrix model."""
    names = [*SHARING, "matrix"]
    table = Table(
        title="Memory of one card's process by what is shared, MB", box=box.SIMPLE, pad_edge=False
    )
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right")
    lines: dict[str, Callable[[CardRun], int]] = {
        "plan: weights": lambda run: run.memory.planned.weights,
        "plan: shared workspace": lambda run: run.memory.planned.workspace,
        "plan: private workspaces": lambda run: run.memory.planned.private,
        "plan: io": lambda run: run.memory.planned.io,
        "plan: in all": lambda run: run.memory.planned.total,
        "ledger minus plan, bytes": ledger_difference,
        "held after import": lambda run: run.imported.anonymous,
        "held once built": lambda run: run.built.anonymous,
        "held at rest": lambda run: run.rested.anonymous,
        "growth, built to rest": lambda run: run.growth,
        "  with pages of files": lambda run: run.total_growth,
        "  high-water mark": lambda run: run.peak_growth,
        "engine's own beyond weights": lambda run: run.engine,
    }
    for title, value in lines.items():
        unit = 1 if "bytes" in title else 1e6
        cells = [f"{value(runs[name]) / unit:,.{0 if unit == 1 else 1}f}" for name in names]
        table.add_row(title, *cells)
    table.caption = (
        f"none to both: seven models, {THREADS} threads each. matrix: {MATRIX_THREADS} threads of "
        "one model. Growth: from the last build, before the first run, to rest after the last."
    )
    return table


def engine_table(runs: Mapping[str, CardRun]) -> Table:
    """What the engine adds to each model alone on a card, on one thread: not the plan's to pay."""
    title = "The engine's own cost of each model (session, re-laid-out weights), MB"
    table = Table(title=title, box=box.SIMPLE)
    table.add_column("model", no_wrap=True)
    for title in ("weights", "workspace", "io", "engine's own", "growth"):
        table.add_column(title, justify="right")
    for name in (model.name for model in SEVEN):
        run = runs[name]
        plan = run.memory.planned
        sizes = (plan.weights, plan.workspace, plan.io, run.engine, run.growth)
        table.add_row(name, *(f"{nbytes / 1e6:,.1f}" for nbytes in sizes))
    return table


def bounds_table(found: Sequence[Bound]) -> Table:
    """Each promise, and whether it is kept."""
    table = Table(title="Bounds", box=box.SIMPLE)
    for title in ("bound", "measured", "limit", ""):
        table.add_column(title, justify="left" if title == "bound" else "right")
    for bound in found:
        sign = "<=" if bound.at_most else ">="
        verdict = "kept" if bound.kept else "BROKEN"
        table.add_row(bound.text, f"{bound.value:.3f}", f"{sign} {bound.limit:.2f}", verdict)
    return table


def ledger_difference(run: CardRun) -> int:
    """Bytes of the ledger above the plan."""
    assert run.memory.measured
    return run.memory.measured.total - run.memory.planned.total


def as_json(runs: Mapping[str, CardRun], found: Sequence[Bound]) -> dict[str, object]:
    """The tables' numbers, in bytes."""
    return {
        "cards": {
            name: {
                "planned": asdict(run.memory.planned),
                "ledger": asdict(run.memory.measured) if run.memory.measured else None,
                "imported": asdict(run.imported),
                "built": asdict(run.built),
                "rested": asdict(run.rested),
                "growth": run.growth,
                "total_growth": run.total_growth,
                "peak_growth": run.peak_growth,
                "engine": run.engine,
                "runs": run.runs,
            }
            for name, run in runs.items()
        },
        "bounds": [{**asdict(bound), "kept": bound.kept} for bound in found],
    }


if __name__ == "__main__":
    sys.exit(main())
