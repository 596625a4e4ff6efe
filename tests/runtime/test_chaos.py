"""Two small schedules of kills; ``make chaos`` has long ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.runtime.connect import Connection
from orchestrator.runtime.named import take_down
from orchestrator.runtime.options import Options
from orchestrator.runtime.up import up
from tests.chaos import schedules
from tests.runtime.deployments import Truth

RECORDS = 400


@pytest.fixture(scope="module")
def chaos(cluster: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A named deployment; the folder of its model."""
    folder = tmp_path_factory.mktemp("chaos")
    up(schedules.chaos_plan(folder), Options())
    yield folder
    take_down(schedules.NAME)


@pytest.mark.parametrize(
    ("seed", "workers", "targets"),
    [(1, 0, ("driver", "card")), (2, 1, ("worker", "controller"))],
)
def test_the_output_is_that_of_an_undisturbed_run(
    chaos: Path, tmp_path: Path, seed: int, workers: int, targets: tuple[str, ...]
) -> None:
    source, out = tmp_path / "rows.jsonl", tmp_path / "out"
    parts = schedules.write_lines(source, RECORDS)
    kills = schedules.schedule(seed, parts, 2, targets)
    starts = schedules.run_to_the_end(source, out, kills, workers)
    assert starts >= 1
    schedules.check(out, RECORDS, Truth(chaos / "both.mindir"))


def test_a_seed_always_makes_the_same_schedule() -> None:
    assert schedules.schedule(7, 20, 5) == schedules.schedule(7, 20, 5)
    assert {kill.target for kill in schedules.schedule(0, 20, 40)} == set(schedules.TARGETS)
