"""Parts: the units in which a job's output appears. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A run of neighbouring records whose results make one file of the output.

    The same names and size always give the same parts, whatever order the results come in.
    """

    index: int
    records: tuple[str, ...]

    @property
    def file(self) -> str:
        """The name of its file: ``part-00007.parquet``."""
        return f"part-{self.index:05d}.parquet"


def cut(names: Sequence[str], size: int) -> tuple[Part, ...]:
    """Cut records into parts of ``size``; the last may be smaller.

    Raises:
        ValueError: the size is below 1, or a name occurs twice (results are kept by name).
    """
    if size < 1:
        raise ValueError(f"a part holds at least 1 record, not {size}")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two records are named {twice!r}")
    return tuple(
        Part(index, tuple(names[at : at + size]))
        for index, at in enumerate(range(0, len(names), size))
    )
