"""Cards that hang or fail every call: they are replaced, at last left out, and nothing is lost."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from orchestrator.runtime.cards.slots import SlotState
from orchestrator.runtime.cluster.connect import Connection
from orchestrator.runtime.cluster.discover import find_nodes
from orchestrator.runtime.deployments.running import Running
from orchestrator.runtime.deployments.status import CardStatus
from orchestrator.runtime.options import Options, RestartRules, WatchRules
from tests.models import write_mlp
from tests.runtime.deployments import WIDTH, Truth, model, planned, rows

#: A second is long for these models, also on a busy machine; three in a row are not an accident.
WATCH = WatchRules(every=0.2, least=3.0, silent=8.0)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unfit")
    return write_mlp(folder, "both", width=WIDTH, gears=[1, 4])


@pytest.fixture
def both(cluster: Connection, file: Path) -> Iterator[Running]:
    """One model on two cards."""
    gears = {"gears": [{"x": [1, WIDTH]}, {"x": [4, WIDTH]}]}
    restarts = RestartRules(first_delay=0.1, most_unfit=1, watch=WATCH)
    made = Running(Options(restarts=restarts))
    made.start(planned(model("both", file, shapes=gears, threads=2, replicas=2)))
    yield made
    made.close()


def card(running: Running, slot: str) -> CardStatus:
    return next(card for card in running.status(250.0).cards if card.slot == slot)


def all_answered(running: Running, truth: Truth, count: int = 40) -> None:
    x = rows(count)
    sent = [running.submit("both", {"x": x[i : i + 1]}, None, True, "online") for i in range(count)]
    got = np.concatenate([future.result()["y"] for future in sent])
    assert np.allclose(got, truth(x), atol=1e-5)


def until_replaced(running: Running, truth: Truth, before: CardStatus) -> CardStatus:
    """Send requests until another process serves, or none any more."""
    while True:
        all_answered(running, truth)
        seen = card(running, before.slot)
        if seen.state == "quarantined" or (seen.state == "ready" and seen.pid != before.pid):
            return seen
        time.sleep(0.05)


def test_a_card_that_fails_every_call_is_replaced_and_then_left_out(
    both: Running, file: Path, faults: Path
) -> None:
    truth, first = Truth(file), card(both, "local/0")
    faults.write_text(f"{first.pid} fail\n")
    second = until_replaced(both, truth, first)
    assert (second.state, second.restarts) == ("ready", 1)
    faults.write_text(f"{second.pid} fail\n")
    last = until_replaced(both, truth, second)
    assert last.state == "quarantined"
    told = "was unfit 2 times, last: model both fails on what it has answered before: "
    assert last.why.startswith(told)
    assert "a fault that was asked for" in last.why
    assert last.why in str(both.status(250.0))
    all_answered(both, truth)
    while "local/0" not in both.losses.lost or both._survivors.pending:
        time.sleep(0.1)  # the others take over
    both._controller.resume("local/0")
    while card(both, "local/0").state != "ready":
        time.sleep(0.1)
    assert card(both, "local/1").restarts == 0


@pytest.mark.usefixtures("running")  # so that three cards are free, however late others come back
def test_a_quarantined_card_is_used_by_no_other_slot(
    cluster: Connection, file: Path, faults: Path
) -> None:
    """Ray takes it for free, and would give it to a neighbour's next process."""
    count = sum(node.cards for node in find_nodes("NPU", 3))
    restarts = RestartRules(first_delay=0.1, most_unfit=0, most_failures=100)
    running = Running(Options(restarts=restarts))
    running.start(planned(model("both", file, threads=1, replicas=count), count=count))
    try:
        truth, cards = Truth(file), running.status(250.0).cards
        bad = min(cards, key=lambda one: one.npu_id)
        faults.write_text(f"{bad.pid} fail\n")
        while card(running, bad.slot).state != "quarantined":
            all_answered(running, truth)
            time.sleep(0.05)
        while not running.plugged:  # until a process has been given that card
            for pid in [slot.identity.pid for slot in running.slots() if slot.serving]:
                with contextlib.suppress(ProcessLookupError):  # it is not known to be dead yet
                    os.kill(pid, signal.SIGKILL)
            all_answered(running, truth)
            while not all(slot.serving or slot.lost for slot in running.slots()):
                time.sleep(0.1)
        assert running.plugged == [bad.node_id]
        served = {one.npu_id for one in running.status(250.0).cards if one.state == "ready"}
        assert len(served) == count - 1
        assert bad.npu_id not in served

        assert running._survivors is not None
        running._survivors.back({bad.slot}).result()
        assert running.plugged == []
        again = running.status(250.0).cards
        assert {one.npu_id for one in again if one.state == "ready"} == {c.npu_id for c in cards}
        all_answered(running, truth)
    finally:
        running.close()


def test_a_card_that_hangs_is_replaced_and_its_requests_go_elsewhere(
    both: Running, file: Path, faults: Path
) -> None:
    truth, first = Truth(file), card(both, "local/0")
    faults.write_text(f"{first.pid} hang\n")
    second = until_replaced(both, truth, first)
    story = both._controller.slots["local/0"].story
    assert any("it hangs: a batch of both has run for" in told for told in story)
    os.kill(second.pid, signal.SIGSTOP)  # a call that keeps the interpreter's lock is no better
    until_replaced(both, truth, second)
    assert any("it hangs: no sign of life for" in told for told in story)


def test_a_card_that_hangs_while_it_loads_is_replaced(cluster: Connection, file: Path) -> None:
    running = Running(Options(restarts=RestartRules(first_delay=0.1, load=8.0)))
    gears = {"gears": [{"x": [1, WIDTH]}, {"x": [4, WIDTH]}]}
    wanted = planned(model("both", file, shapes=gears), count=1)
    started = threading.Thread(target=running.start, args=(wanted,))
    started.start()
    try:
        os.kill(until_loading(running), signal.SIGSTOP)
        story = running._controller.slots["local/0"].story
        before = "it hangs: no sign of life for 8 s, before its turn to load"
        while not {before, "it hangs: its models have not loaded within 8 s"} & {*story}:
            time.sleep(0.05)
        started.join()
        all_answered(running, Truth(file), count=4)
    finally:
        started.join()
        running.close()


def until_loading(running: Running) -> int:
    """The process that loads the only card's models now; one that was too quick ends first."""
    while True:
        slots = running._controller.slots.copy().values() if hasattr(running, "_controller") else ()
        for slot in slots:
            if (identity := slot.identity) is not None:
                if slot.state is SlotState.LOADING:
                    return identity.pid
                if slot.state is SlotState.READY:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(identity.pid, signal.SIGKILL)
        time.sleep(0.02)
