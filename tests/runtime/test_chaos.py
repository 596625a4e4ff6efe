"""Small schedules of strikes, seeded: twenty, on two deployments; ``make chaos`` has long ones."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator import Orchestrator
from orchestrator.runtime.cluster.connect import Connection
from orchestrator.runtime.deployments.named import status_of
from orchestrator.runtime.deployments.status import ModelStatus
from orchestrator.runtime.options import RestartRules, WatchRules
from tests.chaos import schedules
from tests.chaos.schedules import Strikes, Victims
from tests.runtime.deployments import Truth, rows, standing
from tests.runtime.nodes import RESOURCE, NodeProcess, further_node

RECORDS = 300
#: Cards of one deployment are struck many times within a minute, and are to come back at once.
RESTARTS = RestartRules(
    first_delay=0.1,
    max_delay=0.5,
    most_failures=20,
    most_unfit=100,
    watch=WatchRules(every=0.2, least=3.0, silent=8.0),
)
CALLERS, CALLS = 8, 40
NAME = "chaos-npu"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chaos")


@pytest.fixture(scope="module")
def named(cluster: Connection, folder: Path, faults_file: Path) -> Iterator[Victims]:
    """A named deployment on two cards of this Ray's own node."""
    with standing(schedules.chaos_deployment(folder, 2)):
        yield Victims(lambda: status_of(NAME, 250.0), faults_file)


@pytest.fixture(scope="module")
def driver(named: Victims) -> Iterator[Orchestrator]:
    with Orchestrator.connect(NAME) as connected:
        yield connected


@pytest.fixture(scope="module")
def lost(cluster: Connection) -> Iterator[NodeProcess]:
    """A node with one card, beside one with two that stays."""
    with further_node(2), further_node() as one:
        yield one


@pytest.fixture(scope="module")
def owner(folder: Path, lost: NodeProcess) -> Iterator[Orchestrator]:
    """A deployment of this process's on the cards of these nodes."""
    made = Orchestrator(schedules.chaos_deployment(folder, 3, RESOURCE))
    made._options = replace(made._options, restarts=RESTARTS)
    with made:
        yield made


@pytest.fixture(scope="module")
def owned(owner: Orchestrator, lost: NodeProcess, faults_file: Path) -> Victims:
    return Victims(owner.status, faults_file, lost)


@dataclass(frozen=True)
class Case:
    """A job with its input and its schedule."""

    source: Path
    out: Path
    strikes: Strikes


@pytest.fixture
def case(tmp_path: Path) -> Callable[[Victims, int, Sequence[str]], Case]:
    def made(victims: Victims, seed: int, targets: Sequence[str]) -> Case:
        source, struck = tmp_path / "rows.jsonl", tmp_path / "struck"
        parts = schedules.write_lines(source, RECORDS, struck)
        strikes = Strikes(schedules.schedule(seed, parts, targets), victims, struck)
        return Case(source, tmp_path / "out", strikes)

    return made


@pytest.fixture(scope="module")
def truth(folder: Path) -> Truth:
    return Truth(folder / "both.mindir")


@pytest.mark.parametrize(
    ("seed", "targets"),
    [
        (0, ["card", "hang"]),
        (1, ["cards"]),
        (2, ["card", "card"]),
        (3, ["cards", "card"]),
        (4, ["worker"]),
        (5, ["card"]),
        (6, ["worker", "cards"]),
        (7, ["hang"]),
        (8, ["card", "cards", "card"]),
        (9, ["cards", "cards"]),
        (10, ["hang", "card"]),
        (11, ["node", "card"]),
    ],
)
def test_cards_nodes_and_workers_die(
    owner: Orchestrator, owned: Victims, case, truth: Truth, seed: int, targets: list[str]
) -> None:
    job = case(owned, seed, targets)
    schedules.run_here(owner, job.source, job.out, job.strikes, workers="worker" in targets)
    schedules.check(job.out, RECORDS, truth)


@pytest.mark.parametrize(
    ("seed", "targets"),
    [
        (12, ["controller", "card"]),
        (13, ["cards", "controller"]),
        (14, ["controller", "worker"]),
        (15, ["card", "cards", "controller"]),
    ],
)
def test_the_controller_dies_too(
    driver: Orchestrator, named: Victims, case, truth: Truth, seed: int, targets: list[str]
) -> None:
    job = case(named, seed, targets)
    schedules.run_here(driver, job.source, job.out, job.strikes, workers="worker" in targets)
    schedules.check(job.out, RECORDS, truth)


@pytest.mark.parametrize(
    ("seed", "targets"),
    [(16, ["driver"]), (17, ["driver", "card"]), (18, ["controller", "driver"])],
)
def test_the_driver_dies_too(
    named: Victims, case, truth: Truth, seed: int, targets: list[str]
) -> None:
    job = case(named, seed, targets)
    starts = schedules.run_to_the_end(NAME, job.source, job.out, job.strikes, workers=0)
    assert starts > 1
    schedules.check(job.out, RECORDS, truth)


def test_every_caller_gets_its_own_answer_once(
    owner: Orchestrator, owned: Victims, truth: Truth, tmp_path: Path
) -> None:
    """As many callers at once as a driver may have, with requests that all differ."""
    targets = ["card", "cards", "hang", "card"]
    strikes = Strikes(schedules.schedule(19, CALLERS * CALLS, targets), owned, tmp_path / "struck")
    model = owner.model("both")
    before = counts(owner)
    wrong, over = [], []

    def call(caller: int) -> None:
        mine = 0
        while mine < CALLS or not strikes.path.exists():
            mine += 1
            x = rows(1 + mine % 6, seed=1000 * caller + mine)
            got = model.predict({"x": x})["y"]
            if got.shape != x.shape or not np.allclose(got, truth(x), atol=1e-5):
                wrong.append((caller, mine))
        over.append(mine)

    callers = [threading.Thread(target=call, args=(caller,)) for caller in range(CALLERS)]
    for caller in callers:
        caller.start()
    while any(caller.is_alive() for caller in callers):
        strikes.look(counts(owner).answered - before.answered)
        callers[0].join(0.02)
    strikes.check()
    after = counts(owner)
    assert not wrong
    assert len(over) == CALLERS
    assert (after.answered - before.answered, after.failed - before.failed) == (sum(over), 0)


def counts(running: Orchestrator) -> ModelStatus:
    return next(model for model in running.status().models if model.model == "both")


def test_a_seed_always_makes_the_same_schedule() -> None:
    targets = schedules.random_targets(7, 5)
    assert targets == schedules.random_targets(7, 5)
    assert schedules.schedule(7, 20, targets) == schedules.schedule(7, 20, targets)
    assert set(schedules.random_targets(0, 60)) == set(schedules.TARGETS)
    assert schedules.random_targets(0, 60).count("node") == 1
