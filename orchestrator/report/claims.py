"""What a card's acceptance run found, as a line for each claim and a table at the end."""

from collections.abc import Sequence

from rich.table import Table

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


def _mib(nbytes: int | None) -> str:
    return "-" if nbytes is None else f"{nbytes / (1 << 20):.1f}"
