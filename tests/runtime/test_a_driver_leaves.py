"""A driver that leaves, however it does, leaves no process and no folder behind.

Those that are ended from outside are processes of their own, each with a Ray of its own.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator import Orchestrator
from orchestrator.runtime.cluster.connect import Connection
from tests.models import write_mlp
from tests.runtime.deployments import WIDTH, model, planned

DRIVER = """
import signal, sys
from pathlib import Path
from orchestrator import Orchestrator
from tests.runtime.deployments import model, planned, rows

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
path = Path(sys.argv[1])
plan = planned(model("slow", path, emulated={"execute": "400ms"}), count=1)
with Orchestrator(plan, address="local") as running:
    futures = [running.model("slow").submit({"x": rows(1)}) for _ in range(20)]
    futures[0].result()
    print("working", flush=True)
    futures[-1].result()
"""


def test_an_exception_gives_the_cards_back(cluster: Connection, tmp_path: Path) -> None:
    wanted = planned(model("small", write_mlp(tmp_path, "small", width=WIDTH, rows=1)), count=1)
    with (
        pytest.raises(RuntimeError, match="something of the user's own"),
        Orchestrator(wanted) as running,
    ):
        cards = [psutil.Process(card.pid) for card in running.status().cards]
        raise RuntimeError("something of the user's own")
    assert len(cards) == 1
    assert psutil.wait_procs(cards, timeout=250)[1] == []


@pytest.fixture
def temp_root() -> Iterator[Path]:
    """A short folder for the driver's Ray: socket paths have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="l", dir="/tmp") as root:
        yield Path(root)


def start(path: Path, temp_root: Path) -> "subprocess.Popen[str]":
    """Start a driver in a process group of its own, as a terminal does."""
    env = {**os.environ, "TMPDIR": str(temp_root)}
    env.pop("RAY_ADDRESS", None)
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(path)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        ("SIGINT", -signal.SIGINT, "KeyboardInterrupt"),
        ("SIGTERM", 128 + signal.SIGTERM, ""),
        ("SIGKILL", -signal.SIGKILL, ""),
    ],
)
def test_nothing_stays(ending: str, code: int, said: str, tmp_path: Path, temp_root: Path) -> None:
    driver = start(write_mlp(tmp_path, "slow", width=WIDTH, rows=1), temp_root)
    try:
        family, err = leave(driver, ending)
        assert (driver.returncode, said in err) == (code, True), err
        _, alive = psutil.wait_procs(family, timeout=250)
        assert alive == []
        assert ending == "SIGKILL" or list(temp_root.glob("ao-*")) == [], err
    finally:
        if driver.poll() is None:  # the test failed: it must not leave what it tests for either
            os.killpg(driver.pid, signal.SIGKILL)
        driver.communicate()


def leave(driver: "subprocess.Popen[str]", ending: str) -> tuple[list[psutil.Process], str]:
    """Let the driver work, end it, and return what it had started and what it said of errors."""
    assert driver.stdout is not None
    first = driver.stdout.readline()
    family = psutil.Process(driver.pid).children(recursive=True) if first else []
    if ending == "SIGKILL":  # Ray's agents notice by themselves, within a minute
        family = [process for process in family if "Agent" not in process.name()]
    if ending == "SIGINT":  # Ctrl-C reaches every process of the terminal
        os.killpg(driver.pid, signal.SIGINT)
    else:
        driver.send_signal(getattr(signal, ending))
    out, err = driver.communicate(timeout=250)
    assert first == "working\n", err
    assert out == ""
    return family, err
