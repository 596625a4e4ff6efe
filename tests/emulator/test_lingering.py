"""Memory of a killed process comes back late, and the next process on the card sees that."""

import subprocess
import sys
from pathlib import Path

import pytest

import actors.emulator as lite
from actors.emulator.lingering import Lingering
from actors.machine.gauge import open_gauge
from tests.emulator.conftest import Zoo, build

MIB = 1 << 20


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def test_the_memory_of_a_process_that_lives_is_held_however_long(tmp_path, time):
    one, other = Lingering(tmp_path, 5, time), Lingering(tmp_path, 5, time)
    one.note(3 * MIB)
    time.now += 100
    assert other.held_by_others() == 3 * MIB
    assert one.held_by_others() == 0
    one.note(MIB)
    assert other.held_by_others() == MIB


def test_the_memory_of_an_ended_process_is_held_for_the_delay_from_when_that_is_seen(
    tmp_path, time
):
    one, other = Lingering(tmp_path, 5, time), Lingering(tmp_path, 5, time)
    one.note(3 * MIB)
    one.close()
    time.now += 100
    assert other.held_by_others() == 3 * MIB
    time.now += 4.9
    assert other.held_by_others() == 3 * MIB
    time.now += 0.2
    assert other.held_by_others() == 0
    assert len(list(tmp_path.iterdir())) == 1


def test_a_process_that_has_noted_nothing_yet_holds_nothing(tmp_path, time):
    (tmp_path / "1-1").touch()
    assert Lingering(tmp_path, 5, time).held_by_others() == 0


def test_memory_of_a_killed_process_is_given_back_late(zoo: Zoo):
    """A card's process is killed with its models; the next one finds their bytes still taken."""
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, zoo.conv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    told, problems = child.communicate(timeout=100)
    assert child.returncode == -9, problems
    taken = int(told)
    lite.configure([2 * taken - 1], names=["card-0"], return_delay=1e6)
    assert (lite.memory(0).others, lite.memory(0).free) == (taken, taken - 1)
    with pytest.raises(RuntimeError, match="Common error code"):
        build(zoo.conv)
    assert f"device 0 has {taken - 1:,} bytes free" in lite.last_native_log()
    lite.configure([taken], names=["another card"], return_delay=1e6)
    assert build(zoo.conv).get_inputs()


KILLED = """
import os, signal, sys
import actors.emulator as lite
lite.configure([64 << 20], names=["card-0"], return_delay=1e6)
context = lite.Context()
context.target = ["ascend"]
kept = lite.Model()
kept.build_from_file(sys.argv[1], lite.ModelType.MINDIR, context)
print(lite.memory(0).card_memory.total, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_without_a_delay_nothing_is_written_and_nothing_is_held(tmp_path, monkeypatch):
    monkeypatch.setenv("ASCEND_ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    lite.configure([64 << 20])
    assert lite.memory(0).others == 0
    assert list(tmp_path.iterdir()) == []


def test_leaving_a_card_in_one_process_is_like_the_end_of_one(zoo: Zoo):
    """Models that outlive a reset no longer count, and no longer write."""
    lite.configure([64 << 20], names=["left"], return_delay=1e6)
    kept = build(zoo.small)
    taken = lite.memory(0).card_memory.total
    lite.configure([64 << 20], names=["left"], return_delay=1e6)
    del kept
    assert lite.memory(0).others == taken > 0


def test_a_card_waits_until_the_memory_is_back(zoo: Zoo):
    """The defence: free memory is read until it is enough, before anything is built."""
    lite.configure([64 << 20], names=["waits"], return_delay=1e6)
    kept = build(zoo.small)
    lite.configure([64 << 20], names=["waits"], return_delay=1e6)
    taken = lite.memory(0).others
    lite.configure([64 << 20], names=["waits"], return_delay=0.2)
    gauge = open_gauge("emulated", lite, 0)
    last = gauge.wait_for(64 << 20, seconds=250)
    gauge.close()
    del kept
    assert taken > 0
    assert last is not None
    assert last.free == 64 << 20
