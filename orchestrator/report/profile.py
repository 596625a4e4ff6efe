"""What was measured of each model, gear by gear, and progress while it is."""

import contextlib
from collections.abc import Callable, Iterator, Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from actors.gears import format_shapes
from actors.messages import GearMeasurement, Measurement, ModelOrder
from actors.shapes import gear_rows
from orchestrator.units import format_bytes


def profile_table(
    measured: Mapping[str, tuple[ModelOrder, Measurement]], origins: Mapping[str, str]
) -> Table:
    """Bytes before rounding and milliseconds on the card that was measured, a row for each gear.

    ``origins``: where the plan takes each model's numbers from; declared ones go before these.
    Drift and the overhead of a process have columns where a card was seen to have them.
    """
    seen = [found for _, found in measured.values()]
    drifts = any(found.drift_bytes > 0 for found in seen)
    overhead = any(found.overhead_bytes is not None for found in seen)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", no_wrap=True)
    heads = ["weights", "objects", *["drift"] * drifts, *["overhead"] * overhead]
    for name in heads:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("gear", overflow="fold")
    for name in ("workspace", "io", "ms", "ms/item"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("the plan uses", no_wrap=True)
    for name, (order, found) in measured.items():
        head = [name, format_bytes(found.weight_bytes), format_bytes(found.object_bytes)]
        head += [format_bytes(max(found.drift_bytes, 0))] * drifts
        own = found.overhead_bytes
        head += ["not seen" if own is None else format_bytes(own)] * overhead
        for number, gear in enumerate(found.gears):
            first = number == 0
            table.add_row(
                *(head if first else [""] * len(head)),
                *_gear(gear, gear_rows(gear.gear, order.batching)),
                origins[name] if first else "",
            )
    return table


@contextlib.contextmanager
def measuring_shown(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """Give a function that takes a line for each model begun; shown on a terminal only."""
    if not console.is_terminal:
        yield lambda line: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("measuring", total=total)
        begun = 0

        def tell(line: str) -> None:
            nonlocal begun
            bar.update(task, description=line, completed=begun)
            begun += 1

        yield tell


def _gear(gear: GearMeasurement, rows: int) -> tuple[str, ...]:
    return (
        format_shapes(gear.gear),
        format_bytes(gear.workspace_bytes),
        format_bytes(sum(gear.tensor_bytes)),
        f"{gear.execute_ms:.3g}",
        f"{gear.execute_ms / rows:.3g}",
    )
