"""Cards that follow the work, on the package's Ray: none, some, none, and one again.

One of two deployments has its cards requested of Ray beside, the other must not.
"""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from orchestrator import Deployment, Orchestrator
from orchestrator.cli import main
from orchestrator.runtime.cluster.connect import Connection
from orchestrator.runtime.deployments.named import status_of, take_down
from orchestrator.runtime.deployments.status import Status
from orchestrator.runtime.deployments.up import up
from orchestrator.runtime.options import Options
from tests.models import write_mlp
from tests.runtime.deployments import WIDTH, Truth, deployment, model, rows
from tests.runtime.requested import requested, requesters

AUTOSCALE = {"min_cards": 0, "idle": 3.0}


def scaled(folder: Path, name: str, count: int = 2, request: bool = False) -> Deployment:
    """One model, 20 ms a row, on up to so many cards."""
    path = write_mlp(folder, "one", width=WIDTH, rows=1)
    fixed = deployment(
        model("one", path, service_time=0.02, emulated={"execute": 0.02}), count=count, name=name
    )
    autoscale = {**AUTOSCALE, "request_resources": request}
    return Deployment.model_validate({**fixed.model_dump(), "autoscale": autoscale})


def until(look: Callable[[], Status], seen: Callable[[Status], bool]) -> Status:
    while not seen(status := look()):
        time.sleep(0.1)
    return status


def ready(status: Status) -> int:
    return sum(card.state == "ready" for card in status.cards)


def test_work_gets_cards_which_are_given_back(cluster: Connection, tmp_path: Path) -> None:
    wanted = scaled(tmp_path, "follows", request=True)
    truth, x = Truth(tmp_path / "one.mindir"), rows(3)
    enough = threading.Event()

    def work() -> None:
        batches = iter(lambda: {"x": rows(1)} if not enough.is_set() else None, None)
        for _ in orc.model("one").map(batches):
            pass

    with Orchestrator(wanted) as orc:
        assert len(orc.status().cards) <= 1
        worker = threading.Thread(target=work)
        worker.start()
        until(orc.status, lambda status: ready(status) == 2)
        until(orc.status, lambda _: requested() == [{"NPU": 1}] * 2)
        enough.set()
        worker.join()
        asleep = until(orc.status, lambda status: not status.cards)
        until(orc.status, lambda _: not requested() and not requesters())
        events = asleep.scaling.events
        grown = [event.why for event in events if event.cards == 2]
        assert grown
        assert all(why.startswith("one: ") for why in grown)
        assert "-> 0 cards: there was nothing to do for 3 s" in str(asleep)
        assert "0 cards wanted, 0 to 2 allowed" in str(asleep)
        got = orc.model("one").predict({"x": x})["y"]  # waits for a card
        assert np.allclose(got, truth(x), atol=1e-5)
        np.save(tmp_path / "in.npy", x)
        orc.run(tmp_path / "in.npy", tmp_path / "out", model="one", columns={"x": "data"}).wait()
    while requested() or requesters():
        time.sleep(0.1)
    (summary,) = (tmp_path / "out").glob("*summary*.json")
    told = json.loads(summary.read_text())["autoscale"]["events"]
    assert [event["cards"] for event in told[: len(events)]] == [event.cards for event in events]


@pytest.fixture
def named(cluster: Connection, tmp_path: Path):
    up(scaled(tmp_path, "sleeper", count=1), Options())
    yield "sleeper"
    take_down("sleeper")


def test_a_named_deployment_sleeps_and_wakes_for_any_driver(named: str, tmp_path: Path) -> None:
    truth, x = Truth(tmp_path / "one.mindir"), rows(2)
    look = lambda: status_of(named, 250.0)  # noqa: E731
    with Orchestrator.connect(named) as driver:
        assert np.allclose(driver.model("one").predict({"x": x})["y"], truth(x), atol=1e-5)
        until(look, lambda status: not status.cards)
        assert np.allclose(driver.model("one").predict({"x": x})["y"], truth(x), atol=1e-5)
        assert not requesters()
    asleep = until(look, lambda status: not status.cards)
    cards = [event.cards for event in asleep.scaling.events]
    assert cards[-3:] == [0, 1, 0]
    assert cards == [0, 1] * (len(cards) // 2) + [0]  # a slow machine sleeps before a call comes
    with contextlib.suppress(ProcessLookupError):
        os.kill(asleep.controller_pid, signal.SIGKILL)
    with Orchestrator.connect(named) as other:  # nobody remembers what the model takes
        assert np.allclose(other.model("one").predict({"x": x})["y"], truth(x), atol=1e-5)
    assert main(["status", named]) == 0
