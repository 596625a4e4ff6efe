"""What a card's acceptance run found, as a line for each claim and a table at the end."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from actors.claims.claims import Claim
from actors.claims.judging import Verdict

_MARKS = {Verdict.HELD: "held", Verdict.FAILED: "FAILED", Verdict.UNCHECKED: "not checked"}


def claim_line(claim: Claim) -> str:
    """One claim, its verdict and its numbers."""
    return f"{claim.name}: {_MARKS[claim.verdict]}: {claim.says}"


def claim_table(claims: Sequence[Claim], title: str) -> Table:
    """A row for each claim: the card's largest use without sharing and with it, and the verdict."""
    table = Table("claim", title=title, title_justify="left", title_style="")
    for header in ("unshared MiB", "shared MiB"):
        table.add_column(header, justify="right")
    table.add_column("verdict")
    for claim in claims:
        numbers = [_mib(claim.unshared_bytes), _mib(claim.shared_bytes)]
        table.add_row(claim.name, *numbers, _MARKS[claim.verdict])
    return table


@contextlib.contextmanager
def steps_shown(console: Console, what: str) -> Iterator[Callable[[str], None]]:
    """Give a function that takes each step of ``what``; on a terminal alone, it and its time show.

    What is printed meanwhile goes its own way: standard output may be a file.
    """
    if not console.is_terminal:
        yield lambda step: None
        return
    rest = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    told = TextColumn("{task.description}", markup=False, table_column=rest)
    with Progress(
        SpinnerColumn(),
        TimeElapsedColumn(),
        told,
        console=console,
        expand=True,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as shown:
        task = shown.add_task(what, total=None)
        yield lambda step: shown.reset(task, description=f"{what}: {step}")


def _mib(nbytes: int | None) -> str:
    return "-" if nbytes is None else f"{nbytes / (1 << 20):.1f}"
