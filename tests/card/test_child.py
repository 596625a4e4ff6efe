"""A module of ours in a process of its own, and what is left of it."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from actors.machine.child import ChildError, run_module

#: Starts a process that holds a pipe open: one of its group, or one that a child of ours starts.
MODULE = """
import os, subprocess, sys
from actors.machine.child import run_module
held, how, pace = sys.argv[1:]
if how == "below":
    run_module("starts", [held, "own", "slow"], timeout_seconds=600)
with open(held, "w") as file:
    subprocess.Popen(["sleep", "600"], stdout=file)
print("answered", flush=True)
if os.path.exists(begun := os.path.join(os.path.dirname(held), "begun")):
    open(begun, "w").close()
if pace == "slow":
    subprocess.run(["sleep", "600"])
"""


def test_what_a_child_has_started_ends_with_it_when_it_is_too_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = waiting(tmp_path, monkeypatch)
    with pytest.raises(ChildError, match=r"took longer than 5 s"):
        run_module("starts", [str(tmp_path / "held"), "own", "slow"], timeout_seconds=5)
    assert select.select([reading], [], [], 60)[0], "the end of the file: nobody holds it any more"
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_what_a_child_leaves_behind_ends_when_it_has_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = waiting(tmp_path, monkeypatch)
    answer = run_module("starts", [str(tmp_path / "held"), "own", "quick"], timeout_seconds=60)
    assert answer == "answered"
    assert select.select([reading], [], [], 60)[0]
    os.close(reading)


def test_what_a_child_has_started_ends_when_nobody_waits_for_it_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waited was killed, and could end nothing itself."""
    reading = waiting(tmp_path, monkeypatch)
    os.mkfifo(tmp_path / "begun")
    asked = f"run_module('starts', [{str(tmp_path / 'held')!r}, 'below', 'slow'], "
    code = f"from actors.machine.child import run_module; {asked}timeout_seconds=600)"
    paths = os.pathsep.join(sys.path)
    waits = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths})
    with (tmp_path / "begun").open():  # opens when the last of them has begun
        waits.kill()
        waits.wait()
    assert select.select([reading], [], [], 60)[0], "the end of the file: nobody holds it any more"
    assert os.read(reading, 1) == b""
    os.close(reading)


def waiting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A pipe that the module's own child will hold, read from its other end."""
    (folder / "starts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)
    os.mkfifo(folder / "held")
    return os.open(folder / "held", os.O_RDONLY | os.O_NONBLOCK)
