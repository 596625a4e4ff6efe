"""A module of ours in a process of its own, and what is left of it."""

import os
import select
from pathlib import Path

import pytest

from actors.child import ChildError, run_module

#: Starts a process that holds a pipe open, in its own group or in another.
MODULE = """
import subprocess, sys
with open(sys.argv[1], "w") as held:
    subprocess.Popen(["sleep", "600"], stdout=held, start_new_session=sys.argv[2] == "other")
print("answered", flush=True)
if sys.argv[3] == "slow":
    subprocess.run(["sleep", "600"])
"""


@pytest.mark.parametrize("group", ["own", "other"])
def test_what_a_child_has_started_ends_with_it_when_it_is_too_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    reading = waiting(tmp_path, monkeypatch)
    with pytest.raises(ChildError, match=r"took longer than 5 s"):
        run_module("starts", [str(tmp_path / "held"), group, "slow"], timeout_seconds=5)
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


def waiting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A pipe that the module's own child will hold, read from its other end."""
    (folder / "starts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)
    os.mkfifo(folder / "held")
    return os.open(folder / "held", os.O_RDONLY | os.O_NONBLOCK)
