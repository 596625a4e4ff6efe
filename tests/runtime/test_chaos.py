"""Small schedules of kills, seeded; ``make chaos`` has more of them, and long ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import Orchestrator
from orchestrator.runtime.connect import Connection
from orchestrator.runtime.named import take_down
from orchestrator.runtime.options import Options
from orchestrator.runtime.up import up
from tests.chaos import schedules
from tests.runtime.deployments import Truth

RECORDS = 300


def seeds(first: int, count: int, at_once: int) -> list[object]:
    """So many seeds, the first few for every run of the tests, the others for ``make chaos``."""
    later = [pytest.param(first + at, marks=pytest.mark.chaos) for at in range(at_once, count)]
    return [*range(first, first + at_once), *later]


@pytest.fixture(scope="module")
def chaos(cluster: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A named deployment; the folder of its model and of the job's input."""
    folder = tmp_path_factory.mktemp("chaos")
    up(schedules.chaos_plan(folder), Options())
    yield folder
    take_down(schedules.NAME)


@pytest.fixture(scope="module")
def parts(chaos: Path) -> int:
    return schedules.write_lines(chaos / "rows.jsonl", RECORDS)


@pytest.fixture(scope="module")
def driver(chaos: Path) -> Iterator[Orchestrator]:
    with Orchestrator.connect(schedules.NAME) as connected:
        yield connected


@pytest.mark.parametrize("seed", seeds(0, 15, at_once=5))
def test_cards_and_the_controller_die(
    chaos: Path, driver: Orchestrator, parts: int, tmp_path: Path, seed: int
) -> None:
    kills = schedules.schedule(seed, parts, 1 + (seed % 4 == 0), ("card", "card", "controller"))
    schedules.run_here(driver, chaos / "rows.jsonl", tmp_path / "out", kills, workers=0)
    schedules.check(tmp_path / "out", RECORDS, Truth(chaos / "both.mindir"))


@pytest.mark.parametrize("seed", seeds(15, 3, at_once=1))
def test_workers_die_too(
    chaos: Path, driver: Orchestrator, parts: int, tmp_path: Path, seed: int
) -> None:
    kills = schedules.schedule(seed, parts, 2, ("worker", "card", "controller"))
    schedules.run_here(driver, chaos / "rows.jsonl", tmp_path / "out", kills, workers=1)
    schedules.check(tmp_path / "out", RECORDS, Truth(chaos / "both.mindir"))


@pytest.mark.parametrize("seed", seeds(18, 2, at_once=1))
def test_the_driver_dies_too(chaos: Path, parts: int, tmp_path: Path, seed: int) -> None:
    first, *others = schedules.schedule(seed, parts, 2)
    kills = [schedules.Kill("driver", first.parts), *others]
    source, out = chaos / "rows.jsonl", tmp_path / "out"
    assert schedules.run_to_the_end(source, out, kills, workers=0) > 1
    schedules.check(out, RECORDS, Truth(chaos / "both.mindir"))


def test_a_seed_always_makes_the_same_schedule() -> None:
    assert schedules.schedule(7, 20, 5) == schedules.schedule(7, 20, 5)
    assert {kill.target for kill in schedules.schedule(0, 20, 40)} == set(schedules.TARGETS)
