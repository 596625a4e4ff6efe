"""A named deployment that leaves a card out: whatever crashes or changes, until ``undo``."""

import os
import pickle
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from orchestrator import Orchestrator, RequestFailedError, elsewhere
from orchestrator.cli import main
from orchestrator.placement import DeploymentPlan
from orchestrator.runtime.cluster.connect import Connection
from orchestrator.runtime.deployments.named import drain, status_of, take_down
from orchestrator.runtime.deployments.status import CardStatus
from orchestrator.runtime.deployments.up import up
from orchestrator.runtime.options import Options
from tests.models import write_mlp
from tests.runtime.deployments import (
    WIDTH,
    Truth,
    all_ready,
    both_and_slow,
    card_of,
    model,
    planned,
    rows,
    standing,
    until,
)

NAME = "ward"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> DeploymentPlan:
    """Beside the others ``only``, on the first card alone."""
    folder = tmp_path_factory.mktemp("ward")
    only = write_mlp(folder, "only", width=WIDTH, rows=1, seed=2)
    return both_and_slow(folder, NAME, model("only", only, cards=["local/0"]), execute="1s")


@pytest.fixture(scope="module")
def driver(cluster: Connection, plan: DeploymentPlan) -> Iterator[Orchestrator]:
    with standing(plan), Orchestrator.connect(NAME) as joined:
        yield joined


def all_answered(driver: Orchestrator, truth: Truth, count: int = 20) -> None:
    x = rows(count)
    sent = [driver.model("both").submit({"x": x[i : i + 1]}) for i in range(count)]
    got = np.concatenate([future.result()["y"] for future in sent])
    assert np.allclose(got, truth(x), atol=1e-5)


def until_quarantined(
    driver: Orchestrator, truth: Truth, faults: Path
) -> tuple[CardStatus, set[int | None]]:
    """Every process of the first card fails; what it is then, and those that it had."""
    struck: set[int | None] = set()
    while (seen := card_of(status_of(NAME, 250.0), "local/0")).state != "quarantined":
        if seen.state == "ready" and seen.pid not in (None, *struck):
            struck.add(seen.pid)
            faults.write_text("".join(f"{pid} fail\n" for pid in struck))
        all_answered(driver, truth)
        time.sleep(0.05)
    return seen, struck


def test_requests_that_kill_cards_do_not_cost_the_card_its_place(
    driver: Orchestrator, poison: np.ndarray
) -> None:
    until(NAME, all_ready)
    for _ in range(2):  # six deaths in a row: five of its own would have a card given up
        with pytest.raises(RequestFailedError, match="2 cards died while it was the only request"):
            driver.model("slow").predict({"x": poison})
    assert driver.model("slow").predict({"x": rows(1)})["y"].shape == (1, WIDTH)
    assert card_of(until(NAME, all_ready), "local/1").restarts == 6


def undone_while(driver: Orchestrator) -> str:
    """Drain the second card while it has requests, and undo that; what it did when seen last."""
    until(NAME, all_ready)
    future = driver.model("slow").submit({"x": rows(4)})  # four batches
    until(NAME, lambda status: card_of(status, "local/1").in_flight > 0 or future.done())
    draining = Thread(target=drain, args=(NAME, "local/1"))
    draining.start()
    seen = until(NAME, lambda one: card_of(one, "local/1").state in ("draining", "drained"))
    drain(NAME, "local/1", undo=True)
    draining.join()
    assert future.result()["y"].shape == (4, WIDTH)
    return card_of(seen, "local/1").state


def test_undo_while_a_card_still_finishes_what_it_has(driver: Orchestrator) -> None:
    while undone_while(driver) != "draining":  # it had finished before that was seen: once more
        pass
    until(NAME, all_ready)


def test_a_quarantine_outlives_controller_and_change_and_ends_with_undo(
    driver: Orchestrator, plan: DeploymentPlan, faults: Path, tmp_path: Path, capsys
) -> None:
    truth = Truth(Path(plan.deployment.model("both").path))
    seen, struck = until_quarantined(driver, truth, faults)
    assert len(struck) == 4
    assert seen.why.startswith("was unfit 4 times, last: model ")
    pid = status_of(NAME, 250.0).controller_pid
    os.kill(pid, signal.SIGKILL)  # whether the others have taken over or not

    note = "planned without local/0: every model is still served"
    only = planned_without_only(plan)
    after = until(NAME, lambda status: status.controller_pid != pid and bool(status.notes))
    assert after.notes == ("planned without local/0: no longer served: only",)
    found = card_of(after, "local/0")
    assert (found.state, found.why, found.pid) == ("quarantined", seen.why, None)
    assert found.restarts == 3
    all_answered(driver, truth)

    file = tmp_path / "changed.json"
    file.write_text(only.to_json())
    assert main(["up", str(file), "--yes"]) == 0
    changed = status_of(NAME, 250.0)
    assert changed.notes == (note,)
    assert (card_of(changed, "local/0").state, card_of(changed, "local/0").why) == (
        "quarantined",
        seen.why,
    )
    assert {one.slot for one in changed.replicas if one.model == "extra"} == {"local/1"}
    all_answered(driver, truth)

    capsys.readouterr()
    assert main(["drain", "local/0", "--undo"]) == 0
    assert capsys.readouterr().out == "starting again: local/0\n"
    back = status_of(NAME, 250.0)
    assert all_ready(back)
    assert back.notes == ()
    assert {one.slot for one in back.replicas if one.model == "extra"} == {"local/0"}
    all_answered(driver, truth)


def test_threads_find_the_next_deployment_of_the_name_together(
    driver: Orchestrator, plan: DeploymentPlan
) -> None:
    handle = pickle.loads(pickle.dumps(driver.model("both")))
    truth, x = Truth(Path(plan.deployment.model("both").path)), rows(8)
    assert np.allclose(handle.predict({"x": x})["y"], truth(x), atol=1e-5)
    take_down(NAME)
    while not elsewhere._attachments[NAME]._running.over:
        time.sleep(0.1)
    up(plan, Options())
    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(lambda i: handle.predict({"x": x[i : i + 1]})["y"], range(8)))
    assert np.allclose(np.concatenate(got), truth(x), atol=1e-5)
    elsewhere._attachments.pop(NAME).close()


def planned_without_only(plan: DeploymentPlan) -> DeploymentPlan:
    """Another model, which prefers the first card, instead of the one that must be there."""
    specs = [spec.model_dump(mode="json", exclude_none=True) for spec in plan.deployment.models]
    both, only, slow = specs
    extra = model("extra", Path(only["path"]))
    changed = planned(both, extra, slow, name=NAME)
    (where,) = changed.plan.replicas("extra")
    assert where == "local/0"
    return changed
