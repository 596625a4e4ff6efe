"""Cards that die while they work: everything is answered once, and the card comes back."""

import itertools
import os
import shutil
import signal
import threading
import time
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from actors.files.modelcache import ModelCache
from orchestrator import Orchestrator, RequestFailedError
from orchestrator.dispatch import TransportRules
from orchestrator.runtime.deployments.running import Running
from orchestrator.runtime.deployments.status import CardStatus
from orchestrator.runtime.options import Options, RestartRules
from tests.models import write_mlp
from tests.runtime.deployments import WIDTH, Truth, geared, model, planned, rows


def card(running: Orchestrator, slot: str) -> CardStatus:
    return next(card for card in running.status().cards if card.slot == slot)


def kill_if_busy(running: Orchestrator, slot: str, request: Future) -> None:
    """Kill the process of the card that has the request, unless it is answered before."""
    while not request.done():
        seen = card(running, slot)
        if seen.state == "ready" and seen.in_flight:
            os.kill(seen.pid, signal.SIGKILL)
            return
        time.sleep(0.02)


def retried(running: Orchestrator, name: str) -> int:
    return next(one.retried for one in running.status().models if one.model == name)


def until_back(running: Orchestrator, slot: str) -> CardStatus:
    while (seen := card(running, slot)).state != "ready":
        time.sleep(0.1)
    return seen


def test_a_killed_card_loses_nothing_and_comes_back(running, truth: Truth) -> None:
    before = until_back(running, "local/0")
    x = rows(300)
    futures = [running.model("both").submit({"x": x[i : i + 1]}) for i in range(300)]
    os.kill(before.pid, signal.SIGKILL)
    futures += [running.model("both").submit({"x": x[i : i + 1]}) for i in range(300)]
    got = np.concatenate([future.result()["y"] for future in futures])
    assert np.allclose(got, np.concatenate([truth(x)] * 2), atol=1e-5)
    after = until_back(running, "local/0")
    assert after.pid != before.pid
    assert after.restarts == before.restarts + 1


def test_requests_of_many_callers_in_one_call_to_a_killed_card(
    cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is answered once, and elsewhere, and none with the answer to another's."""
    timing = {"service_time": "10ms", "emulated": {"execute": "40ms"}}
    plan = planned(geared("many", tmp_path, replicas=2, **timing), name="callers")
    callers, each, most_calls = 8, 40, TransportRules().most_calls
    x, sent, done = rows(1000), itertools.count(), Counter[int]()
    killed = threading.Event()
    with Orchestrator(plan) as made, ThreadPoolExecutor(callers) as threads:

        def ask() -> tuple[int, "Future[dict[str, np.ndarray]]"]:
            i = next(sent)
            future = made.model("many").submit({"x": x[i % len(x)][None]})
            future.add_done_callback(lambda _: done.update([i]))
            return i, future

        def call() -> dict[int, np.ndarray]:
            """So many at any time until the card is killed, and as many as that at least."""
            flying, got = deque(ask() for _ in range(each)), {}
            while flying:
                i, future = flying.popleft()
                got[i] = future.result()["y"]
                if not killed.is_set():
                    flying.append(ask())
            return got

        asking = [threads.submit(call) for _ in range(callers)]
        while (seen := card(made, "local/0")).in_flight < 2 * most_calls:
            time.sleep(0.01)
        os.kill(seen.pid, signal.SIGKILL)
        killed.set()
        got = {i: y for one in asking for i, y in one.result().items()}
        (counted,) = made.status().models
        assert until_back(made, "local/0").pid != seen.pid
    truth = Truth(tmp_path / "many.mindir")(x)
    assert all(np.allclose(y, truth[i % len(x)][None], atol=1e-5) for i, y in got.items())
    assert done == Counter(range(next(sent)))
    assert got.keys() == done.keys()
    told = [one for one in caplog.records if getattr(one, "event", "") == "interrupted"]
    (interrupted,) = (int(one.getMessage().split()[2]) for one in told)
    assert interrupted > most_calls  # so several were in one call
    assert (counted.answered, counted.failed, counted.retried) == (len(got), 0, interrupted)


def test_a_build_that_fails_on_a_restart_is_tried_again(cluster, tmp_path: Path) -> None:
    """The node's copy of a model is gone, and its source is not what was planned any more."""
    path = write_mlp(tmp_path, "one", width=WIDTH, rows=1)
    source, cache = path.with_suffix(".onnx"), ModelCache().folder
    planned_bytes, kept = source.read_bytes(), cache.with_name("kept")
    deployed = Running(Options(restarts=RestartRules(first_delay=0.1, most_failures=100)))
    deployed.start(planned(model("one", path), count=1))
    try:
        x = rows(2)
        wanted = deployed.submit("one", {"x": x}, None, True, "online").result()["y"]
        cache.rename(kept)
        source.write_bytes(b"another model")
        (slot,) = deployed.slots()
        os.kill(slot.identity.pid, signal.SIGKILL)
        while not any("one.mindir" in told for told in slot.story):
            time.sleep(0.1)
        future = deployed.submit("one", {"x": x}, None, True, "online")
        source.write_bytes(planned_bytes)
        assert np.array_equal(future.result()["y"], wanted)
        assert slot.restarts > 1
    finally:
        deployed.close()
        shutil.rmtree(cache, ignore_errors=True)
        kept.rename(cache)


def test_requests_of_the_only_replica_wait_for_its_restart(running, folder: Path) -> None:
    until_back(running, "local/1")
    wanted = running.model("slow").predict({"x": rows(3)})["y"]
    (folder / "slow.onnx").write_bytes(b"what comes back is what was planned")
    before = retried(running, "slow")
    while retried(running, "slow") == before:
        future = running.model("slow").submit({"x": rows(3)})
        kill_if_busy(running, "local/1", future)
        assert np.array_equal(future.result()["y"], wanted)


def test_a_request_that_kills_two_cards_alone_is_set_aside(
    running, truth: Truth, poison: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    before = until_back(running, "local/1").restarts
    caplog.clear()
    with pytest.raises(
        RequestFailedError, match="2 cards died while it was the only request"
    ) as told:
        running.model("slow").predict({"x": poison})
    assert str(told.value).count("local/1 died (its process ") == 3
    assert str(told.value).count("; it was alone on the card)") == 2
    assert "set aside" in str(running.status())
    assert until_back(running, "local/1").restarts == before + 3  # the last is told by then
    seen = [record for record in caplog.records if record.name == "orchestrator.events"]
    told = {name: [one for one in seen if one.event == name] for name in ("death", "interrupted")}
    assert [(one.card, one.levelname) for one in told["death"]] == [("local/1", "WARNING")] * 3
    (aside,) = (one for one in seen if one.event == "set-aside")
    assert [one.batch for one in told["interrupted"]] == [aside.batch] * 3
    assert aside.batch.isdigit()
    x = rows(2)
    assert np.allclose(running.model("both").predict({"x": x})["y"], truth(x), atol=1e-5)
