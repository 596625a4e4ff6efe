"""One Ray for this package's tests, and one deployment on it for most of them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from actors.emulator.faults import VARIABLE
from orchestrator import Orchestrator
from orchestrator.runtime.cluster.connect import Connection, connect
from tests.leftovers import keeps, left, nothing_is_left, nothing_is_left_of_all
from tests.runtime.deployments import MAX_IN_FLIGHT, POISON, WIDTH, Truth, three_models

__all__ = ["nothing_is_left", "nothing_is_left_of_all"]


@pytest.fixture(scope="package")
def faults_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults") / "faults"


@pytest.fixture
def faults(faults_file: Path) -> Iterator[Path]:
    """Lines ``PID fail`` or ``PID hang`` here are faults of cards of the package's Ray."""
    yield faults_file
    faults_file.unlink(missing_ok=True)


@pytest.fixture
def poison(faults: Path) -> np.ndarray:
    """A row that ends the process of every card that gets it."""
    faults.write_text(f"poison {POISON}\n")
    return np.full((1, WIDTH), POISON, np.float32)


@pytest.fixture(scope="package")
def cluster(faults_file: Path) -> Iterator[Connection]:
    """Three cards more than the package's deployment takes, and one that is called GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv(VARIABLE, str(faults_file))
        connection = connect("local", resources={"NPU": 5, "GPU": 1}, object_store_bytes=100 << 20)
        yield connection
        connection.close()


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="package")
def running(cluster: Connection, folder: Path) -> Iterator[Orchestrator]:
    """On the package's Ray, which this process is connected to already."""
    before = left()
    with (
        Orchestrator(three_models(folder), max_in_flight=MAX_IN_FLIGHT) as started,
        keeps(lambda: {card.pid or 0 for card in started.status().cards}, before),
    ):
        yield started


@pytest.fixture(scope="package")
def truth(running: Orchestrator, folder: Path) -> Truth:
    return Truth(folder / "both.mindir")
