"""How far a job is: a bar on a terminal, a line now and then elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from orchestrator.jobs import Progress

#: Without a terminal: seconds between two lines.
EVERY = 10.0


@contextlib.contextmanager
def job_progress(
    console: Console, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[Progress], None]]:
    """Give a function that shows each progress it is told."""
    if console.is_terminal:
        with _bar(console) as tell:
            yield tell
    else:
        yield _lines(console, clock)


@contextlib.contextmanager
def _bar(console: Console) -> Iterator[Callable[[Progress], None]]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rejected]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("records", rejected="")

        def tell(progress: Progress) -> None:
            rejected = f"{progress.rejected} rejected" if progress.rejected else ""
            of_parts = f"part {progress.parts_done} of {progress.parts} "
            bar.update(
                task,
                total=progress.total,
                completed=progress.settled,
                rejected=rejected if progress.total is not None else of_parts + rejected,
            )

        yield tell


def _lines(console: Console, clock: Callable[[], float]) -> Callable[[Progress], None]:
    started = clock()
    last, shown = started, 0

    def tell(progress: Progress) -> None:
        nonlocal last, shown
        now, settled, total = clock(), progress.settled, progress.total
        if settled == shown or (now - last < EVERY and not progress.complete):
            return
        last, shown = now, settled
        rejected = f", {progress.rejected} rejected" if progress.rejected else ""
        of = f" of {total} records" if total is not None else " records"
        if total is None:
            rejected += f", {progress.parts_done} of {progress.parts} parts"
        console.print(f"{settled}{of}{rejected} after {now - started:.0f} s")

    return tell
