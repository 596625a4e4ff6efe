"""Processes that outlive a Ray of ours are found by the files that they write, and by no others."""

import signal
import subprocess
import sys
from pathlib import Path

from orchestrator.runtime.cluster.leftovers import end_leftovers

#: Opens and closes other files all the time, as Ray's agents do: what is found open is closed when
#: it is looked at, and what comes after it is looked at all the same.
BUSY = """
import os, sys
with open(sys.argv[1], sys.argv[2]) as file:
    os.dup2(file.fileno(), 900)
print("working", flush=True)
while True:
    for number in [os.open("/proc/self/stat", os.O_RDONLY) for _ in range(400)]:
        os.close(number)
"""


def busy(path: Path, mode: str) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", BUSY, str(path), mode]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.stdout.close()
    return process


def test_whoever_writes_there_is_ended_and_who_reads_is_not(tmp_path: Path) -> None:
    log = tmp_path / "ray" / "logs" / "agent.log"
    log.parent.mkdir(parents=True)
    others = [busy(log, "a"), busy(log, "r"), busy(tmp_path / "log", "a")]
    try:
        for _ in range(10):
            end_leftovers(tmp_path / "ray")
            assert others[0].wait(timeout=250) == -signal.SIGKILL
            others[0] = busy(log, "a")
        assert [other.poll() for other in others] == [None, None, None]
    finally:
        for other in others:
            other.kill()
            other.wait()
