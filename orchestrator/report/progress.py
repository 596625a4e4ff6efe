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
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rejected]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("records", rejected="")

        def tell(progress: Progress) -> None:
            rejected = f"{progress.rejected} rejected" if progress.rejected else ""
            settled = progress.read + progress.rejected
            bar.update(task, total=progress.total, completed=settled, rejected=rejected)

        yield tell


def _lines(console: Console, clock: Callable[[], float]) -> Callable[[Progress], None]:
    started = clock()
    last, shown = started, 0

    def tell(progress: Progress) -> None:
        nonlocal last, shown
        now, settled = clock(), progress.read + progress.rejected
        if settled == shown or (now - last < EVERY and settled < progress.total):
            return
        last, shown = now, settled
        rejected = f", {progress.rejected} rejected" if progress.rejected else ""
        console.print(
            f"{settled} of {progress.total} records{rejected} after {now - started:.0f} s"
        )

    return tell
