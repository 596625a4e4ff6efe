"""Starts on one host: loads of all deployments take turns where they do not fit at once."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from actors.machine.hostmemory import HostMemory
from actors.messages import Measurement
from orchestrator import DeploymentPlan
from orchestrator.runtime.cards.turns import Turn
from orchestrator.runtime.cluster.connect import Connection
from orchestrator.runtime.deployments.running import Running
from orchestrator.runtime.options import Options, RestartRules
from tests.models import write_mlp
from tests.runtime.deployments import WIDTH, Truth, model, planned, rows

#: More than any host has: one such load may run, but no two at once.
HUGE = 1 << 60


def heavy(path: Path, name: str, count: int) -> DeploymentPlan:
    """One model, which takes next to nothing and is known to take more than any host has."""
    plan = planned(model("one", path, replicas=count), count=count, name=name)
    seen = Measurement(
        0, 0, 0, False, (), (), (), library="", host=HostMemory(process=1 << 20, peak=HUGE)
    )
    profile = replace(plan.profiles["one"], measurement=seen)
    return replace(plan, profiles={"one": profile})


@contextlib.contextmanager
def turn() -> Iterator[tuple[Turn, contextlib.ExitStack]]:
    """A load of this process, which leaves no room for others until the second of these closes."""
    mine = Turn(HUGE)
    with contextlib.ExitStack() as held:
        held.callback(mine.end)
        mine.wait(threading.Event())
        yield mine, held


def test_loads_of_two_deployments_take_turns(cluster: Connection, tmp_path: Path) -> None:
    path = write_mlp(tmp_path, "one", width=WIDTH, rows=1)
    plans = [heavy(path, "two-cards", 2), heavy(path, "one-card", 1)]
    deployed = [Running(Options()) for _ in plans]
    begun = []
    pairs = zip(deployed, plans, strict=True)
    try:
        with ThreadPoolExecutor(2) as threads, turn() as (mine, held):
            started = [threads.submit(one.start, plan) for one, plan in pairs]
            while len(mine.others()) < 3 and not any(one.done() for one in started):
                time.sleep(0.05)
            waiting = mine.others()
            states = [slot.state.value for one in deployed for slot in one.slots()]
            held.close()
            while not all(one.done() for one in started):
                begun.append([one for one in mine.others() if one.begun])
                time.sleep(0.01)
            for one in started:
                one.result()
        x = rows(2)
        for one in deployed:
            y = one.submit("one", {"x": x}, None, True, "online").result()["y"]
            assert np.allclose(y, Truth(path)(x), atol=1e-5)
    finally:
        for one in deployed:
            one.close()
    assert states == ["loading"] * 3
    assert [one.begun for one in waiting] == [False] * 3
    assert max(map(len, begun), default=0) <= 1


def test_a_process_that_hangs_before_its_turn_is_replaced(
    cluster: Connection, tmp_path: Path
) -> None:
    path = write_mlp(tmp_path, "one", width=WIDTH, rows=1)
    running = Running(Options(restarts=RestartRules(first_delay=0.1, load=6.0)))
    try:
        with ThreadPoolExecutor(1) as threads, turn() as (mine, held):
            started = threads.submit(running.start, heavy(path, "frozen", 1))
            while not (waiting := mine.others()) and not started.done():
                time.sleep(0.05)
            first = waiting[0].pid
            os.kill(first, signal.SIGSTOP)
            while first in {one.pid for one in mine.others()} or not mine.others():
                assert not started.done()
                time.sleep(0.05)
            held.close()
            started.result()
        story = running._controller.slots["local/0"].story
        assert "it hangs: no sign of life for 6 s, before its turn to load" in story
        y = running.submit("one", {"x": rows(2)}, None, True, "online").result()["y"]
        assert np.allclose(y, Truth(path)(rows(2)), atol=1e-5)
    finally:
        running.close()


def test_a_load_that_nobody_has_measured_waits_as_well(cluster: Connection, tmp_path: Path) -> None:
    """Its peak is estimated from the bytes of its file; what another one takes leaves no room."""
    path = write_mlp(tmp_path, "one", width=WIDTH, rows=1)
    plan = planned(model("one", path, threads=2, replicas=2), name="unmeasured")
    files = plan.profiles["one"].files
    assert files is not None
    assert plan.profiles["one"].measurement is None
    deployed = Running(Options())
    try:
        with ThreadPoolExecutor(1) as threads, turn() as (mine, held):
            started = threads.submit(deployed.start, plan)
            while len(waiting := mine.others()) < 2 and not started.done():
                time.sleep(0.05)
            states = [slot.state.value for slot in deployed.slots()]
            held.close()
            started.result()
        x = rows(2)
        y = deployed.submit("one", {"x": x}, None, True, "online").result()["y"]
        assert np.allclose(y, Truth(path)(x), atol=1e-5)
    finally:
        deployed.close()
    io = 2 * (1 << 20)
    peak = sum(file.nbytes for file in files.files) * 2 * 3 + io
    assert [(one.peak, one.begun) for one in waiting] == [(peak, False)] * 2
    assert states == ["loading"] * 2
