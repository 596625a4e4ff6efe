"""What one plan of the benchmark took and reached, and many of them in files."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.placement.instances import Cell


@dataclass(frozen=True)
class Run:
    """One plan. ``peak_mib``: the largest size of its process; ``broken``: rules it breaks."""

    cell: str
    seed: int
    models: int
    cards: int
    value: float
    bound: float
    gap: float
    bound_name: str
    stop_reason: str
    seconds: float
    peak_mib: float
    baselines: dict[str, float | None]
    broken: tuple[str, ...]

    @property
    def kind(self) -> Cell:
        """The cell that it is of."""
        return Cell.parse(self.cell)

    @property
    def few(self) -> bool:
        """Whether the fewest cards were wanted, and not the largest alpha."""
        return self.kind.goal in ("memory", "load")

    @property
    def has_plan(self) -> bool:
        """Whether the planner did not refuse."""
        return not math.isnan(self.value)

    @property
    def beaten(self) -> bool:
        """Whether a baseline's plan is better."""
        values = [value for value in self.baselines.values() if value is not None]
        return any(v < self.value if self.few else v > self.value * (1 + 1e-6) for v in values)

    def ahead(self, baseline: str) -> float | None:
        """How many times better than a baseline's plan: fewer cards, or a larger alpha."""
        other = self.baselines.get(baseline)
        if not other or not self.value:
            return None
        return other / self.value if self.few else self.value / other


def write(file: Path, runs: Sequence[Run]) -> None:
    """Write all of them as JSON."""
    file.write_text(json.dumps([asdict(one) for one in runs], indent=1) + "\n", encoding="utf-8")


def read(files: Iterable[Path]) -> list[Run]:
    """Those of all files, in the order of their cells; of one that is there twice, the last."""
    found: dict[tuple[str, int], Run] = {}
    for file in files:
        for record in json.loads(file.read_text(encoding="utf-8")):
            one = Run(**{**record, "broken": tuple(record["broken"])})
            found[one.cell, one.seed] = one
    return sorted(found.values(), key=lambda one: (*_order(one.kind), one.seed))


def by_cell(runs: Sequence[Run]) -> Iterator[tuple[Cell, list[Run]]]:
    """The runs of each cell, in the order of their first appearance."""
    for cell in dict.fromkeys(run.cell for run in runs):
        yield Cell.parse(cell), [run for run in runs if run.cell == cell]


def _order(cell: Cell) -> tuple[int, str, str, bool]:
    return cell.models, cell.goal, cell.mix, cell.mixed
