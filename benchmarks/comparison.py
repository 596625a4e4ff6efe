"""Rows of a benchmark: what was found, what it is compared with, and what it should be."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One comparison. ``ratio`` is what ``target`` bounds, from above or from below."""

    name: str
    ours: str
    other: str
    ratio: float
    target: float | None
    at_most: bool

    @property
    def missed(self) -> bool:
        """Whether there is a target that was not reached."""
        if self.target is None:
            return False
        return self.ratio > self.target if self.at_most else self.ratio < self.target


def table(title: str, other: str, rows: Sequence[Row]) -> Table:
    """All rows; ``other`` heads the column of what they are compared with."""
    made = Table(title=title)
    for column in ("what", "ours", other, "ratio", "target"):
        made.add_column(column, justify="left" if column == "what" else "right")
    for row in rows:
        sign = "<=" if row.at_most else ">="
        target = "" if row.target is None else f"{sign} {row.target:g}"
        mark = " missed" if row.missed else ""
        made.add_row(row.name, row.ours, row.other, f"{row.ratio:.2f}", f"{target}{mark}")
    return made
