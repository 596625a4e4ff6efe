"""A driver that leaves, however it does, leaves no process and no folder behind.

Each driver is a process of its own with a Ray of its own.
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

from tests.models import write_mlp
from tests.runtime.deployments import WIDTH

DRIVER = """
import signal, sys
from pathlib import Path
from orchestrator import Orchestrator
from tests.runtime.deployments import model, planned, rows

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
path = Path(sys.argv[1])
plan = planned(model("slow", path, emulated={"execute": "400ms"}), count=1)
with Orchestrator(plan, address="local") as running:
    futures = [running.model("slow").submit({"x": rows(1)}) for _ in range(100)]
    futures[0].result()
    print("working", flush=True)
    if sys.argv[2] == "exception":
        raise RuntimeError("something of the user's own")
    futures[-1].result()
"""


@pytest.fixture
def temp_root() -> Iterator[Path]:
    """A short folder for the driver's Ray: socket paths have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="l", dir="/tmp") as root:
        yield Path(root)


def start(path: Path, temp_root: Path, ending: str) -> "subprocess.Popen[str]":
    """Start a driver in a process group of its own, as a terminal does."""
    env = {**os.environ, "TMPDIR": str(temp_root)}
    env.pop("RAY_ADDRESS", None)
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(path), ending],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("exception", "RuntimeError: something of the user's own"),
        ("SIGINT", "KeyboardInterrupt"),
        ("SIGTERM", ""),
        ("SIGKILL", ""),
    ],
)
def test_nothing_stays(ending: str, said: str, tmp_path: Path, temp_root: Path) -> None:
    driver = start(write_mlp(tmp_path, "slow", width=WIDTH, rows=1), temp_root, ending)
    try:
        family = leave(driver, ending, said)
        _, alive = psutil.wait_procs(family, timeout=100)
        assert alive == []
        assert ending == "SIGKILL" or list(temp_root.glob("ao-*")) == []
    finally:
        if driver.poll() is None:  # the test failed: it must not leave what it tests for either
            os.killpg(driver.pid, signal.SIGKILL)
        driver.communicate()


def leave(driver: "subprocess.Popen[str]", ending: str, said: str) -> list[psutil.Process]:
    """Let the driver work, end it, check what it says, and return what it had started."""
    assert driver.stdout is not None
    first = driver.stdout.readline()
    family = psutil.Process(driver.pid).children(recursive=True) if first else []
    if ending == "SIGKILL":  # Ray's agents notice by themselves, within a minute
        family = [process for process in family if "Agent" not in process.name()]
    if ending == "SIGINT":  # Ctrl-C reaches every process of the terminal
        os.killpg(driver.pid, signal.SIGINT)
    elif ending != "exception":
        driver.send_signal(getattr(signal, ending))
    out, err = driver.communicate(timeout=150)
    assert first == "working\n", err
    assert driver.returncode != 0
    assert said in err
    assert out == ""
    return family
