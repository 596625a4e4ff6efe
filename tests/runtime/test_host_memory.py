"""Memory of hosts: who may load when, and what a process that Ray killed for it is said to be."""

import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import OutOfMemoryError, RayActorError

from actors.machine.hostmemory import HostMemory, HostWatch, estimate, resident_bytes, together
from actors.messages import CardIdentity
from orchestrator.errors import CardLostError, PackageDiffersError
from orchestrator.runtime.cards.fleet import ours
from orchestrator.runtime.cards.turns import Load, Turn, may_begin
from orchestrator.runtime.cluster.package import package_version, require_same, sources_digest

HOST_FULL = (
    "card local/0: Ray killed its process because the memory of its host, not of the card, ran "
    "out: other processes there, the object store, or inputs and outputs in flight took it"
)


def test_a_peak_that_has_gone_again_is_seen():
    watch = HostWatch()
    much = bytearray(64 << 20)
    del much
    found = watch.found()
    assert found.process > 1 << 20
    assert found.peak >= 60 << 20
    assert found.steady < 60 << 20


def test_models_load_one_after_the_other():
    models = [(HostMemory(100, 50, 10), 0), (HostMemory(90, 40, 30), 5)]
    assert together(models) == HostMemory(process=100, peak=85, steady=45)


def test_the_load_of_a_model_that_nobody_measured_is_estimated():
    """Three reads for two threads, each a buffer and a graph. What stays is not told to Ray."""
    guess = estimate(1000, threads=2)
    assert guess == HostMemory(peak=6000, steady=6000, estimated=True)
    found = together([(HostMemory(100, 50, 10), 0), (guess, 7)])
    assert (found.peak, found.estimated, found.lasting) == (10 + 6000 + 7 + 40, True, 0)
    assert together([(HostMemory(100, 50, 10), 0)]).lasting == 110


@given(st.lists(st.integers(1, 90), min_size=1, max_size=12), st.integers(0, 100))
def test_peaks_fit_and_everybody_has_his_turn(peaks, room):
    waiting = [elsewhere(number, peak) for number, peak in enumerate(peaks)]
    begun, done = [], []
    while waiting or begun:
        for one in reversed(waiting):  # whoever looks first does not overtake
            if may_begin(one, [other for other in (*waiting, *begun) if other != one], room):
                assert one == waiting.pop(0)
                begun.append(replace(one, begun=True))
        assert begun
        assert len(begun) == 1 or sum(one.peak for one in begun) <= room
        done.append(begun.pop(0).number)
    assert done == list(range(len(peaks)))


def elsewhere(number: int, peak: int) -> Load:
    """Of another container, whose processes cannot be seen from here."""
    return Load(number, peak, before=0, pid=1, pids="other")


def test_what_a_load_has_taken_already_it_does_not_take_again():
    before = resident_bytes(os.getpid())
    begun = Load(1, 64 << 20, before, os.getpid(), "here", begun=True)
    taken = bytearray(48 << 20)
    assert begun.to_come("here") < 32 << 20
    assert begun.to_come("there") == 64 << 20
    del taken


KILLED = """
import sys, threading
from pathlib import Path
from orchestrator.runtime.cards.turns import Turn
turn = Turn(int(sys.argv[1]), Path(sys.argv[2]))
turn.wait(threading.Event())
print("begun", flush=True)
sys.stdin.read()
"""


def test_whoever_is_killed_while_it_loads_takes_no_room(tmp_path):
    """Of two others the first waits for the killed one, and the second for the first."""
    command = [sys.executable, "-c", KILLED, str(1 << 60), str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as killed:
        assert killed.stdout.readline() == "begun\n"
        first, second = Turn(1, tmp_path), Turn(1, tmp_path)
        assert [one.begun for one in first.others()] == [True, False]
        killed.kill()
        first.wait(threading.Event())
        over = threading.Event()
        over.set()
        second.wait(over)
        assert [one.begun for one in second.others()] == [True]
        first.end()
        second.wait(threading.Event())
        assert second.others() == []
        second.end()


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("Task was killed due to the node running low on memory."),
        RayActorError(error_msg="The actor died: killed by the memory monitor of the node."),
    ],
)
def test_a_kill_for_the_host_is_told_as_such(error):
    told = ours(error, "local/0")
    assert isinstance(told, CardLostError)
    assert str(told) == HOST_FULL


def test_sources_are_compared_and_not_how_they_got_there(tmp_path):
    roots = {name: tmp_path / name for name in ("orchestrator", "actors")}
    for root in roots.values():
        (root / "part").mkdir(parents=True)
        (root / "part" / "one.py").write_text("a = 1\n")
    first = sources_digest(roots)
    (roots["actors"] / "part" / "one.pyc").write_bytes(b"compiled")
    assert sources_digest(roots) == first
    digest = package_version().rpartition("+")[2]
    sent = CardIdentity("abcdef0123456789", "0", 0, 1, package=f"sources+{digest}")
    assert require_same("card local/0", sent) is sent
    (roots["actors"] / "part" / "one.py").write_text("a = 2\n")
    assert sources_digest(roots) != first
    changed = CardIdentity("abcdef0123456789", "0", 0, 1, package="0.1.0+0123456789ab")
    with pytest.raises(PackageDiffersError, match=r"has ascend-orchestrator 0\.1\.0\+0123456789ab"):
        require_same("card local/0", changed)


def test_a_node_with_another_version_is_named():
    here = package_version()
    same = CardIdentity("abcdef0123456789", "0", 0, 1, package=here)
    assert require_same("card local/0", same) is same
    with pytest.raises(PackageDiffersError) as told:
        require_same("card n/0", CardIdentity("abcdef0123456789", "0", 0, 1, package="0.0.9"))
    assert str(told.value).startswith(
        f"card n/0: its node abcdef012345 has ascend-orchestrator 0.0.9, and {here} runs here: "
    )
