"""A named deployment that is ended, drained and changed while something else happens to it."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import ray
from ray.experimental import internal_kv
from ray.util import list_named_actors

from orchestrator import ClusterError, DeploymentError, NoSuchDeploymentError, Orchestrator
from orchestrator.cli import main
from orchestrator.placement import DeploymentPlan
from orchestrator.runtime.cards.inherited import namespace_of
from orchestrator.runtime.cards.record import kept
from orchestrator.runtime.cluster.connect import Connection
from orchestrator.runtime.deployments.named import ControllerClient, status_of, take_down
from orchestrator.runtime.deployments.status import Status
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

NAME = "again"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> DeploymentPlan:
    return both_and_slow(tmp_path_factory.mktemp(NAME), NAME)


@pytest.fixture
def named(cluster: Connection, plan: DeploymentPlan) -> Iterator[str]:
    with standing(plan) as name:
        yield name


def actors() -> list[str]:
    listed = list_named_actors(all_namespaces=True)
    return [one["name"] for one in listed if one["namespace"] == namespace_of(NAME)]


def test_an_end_that_nobody_sees_to_any_more_goes_on_and_another_start_may_follow(
    named: str, plan: DeploymentPlan
) -> None:
    """As when ``orchestrator down`` was killed while the cards finished what they had."""
    with Orchestrator.connect(named) as driver:
        before, flying = until(named, all_ready), []

        def on_cards(status: Status) -> bool:
            if all(one.done() for one in flying):
                flying.extend(driver.model("slow").submit({"x": rows(1)}) for _ in range(6))
            return any(card.in_flight for card in status.cards)

        until(named, on_cards)
        ControllerClient(named).call("close", 60.0)
        while kept():
            time.sleep(0.05)
        assert flying[0].result()["y"].shape == (1, WIDTH)
        up(plan, Options())
        after = until(named, all_ready)
        assert not {c.pid for c in before.cards} & {c.pid for c in after.cards}
        assert before.controller_pid != after.controller_pid
    with Orchestrator.connect(named) as driver:
        assert driver.model("slow").predict({"x": rows(1)})["y"].shape == (1, WIDTH)
    ControllerClient(named).call("close", 0.0)
    while actors():
        time.sleep(0.05)
    with pytest.raises(NoSuchDeploymentError):
        status_of(named, 250.0)


def test_down_lets_cards_finish_though_the_controller_has_just_died(named: str) -> None:
    with Orchestrator.connect(named) as driver:
        status = until(named, all_ready)
        flying = [driver.model("slow").submit({"x": rows(1)}) for _ in range(6)]
        os.kill(status.controller_pid, signal.SIGKILL)
        assert main(["down", named]) == 0
        assert [one.result()["y"].shape for one in flying] == [(1, WIDTH)] * 6
    assert actors() == []


def test_a_card_that_is_drained_while_another_one_changes_stays_empty(
    named: str, plan: DeploymentPlan, tmp_path: Path
) -> None:
    specs = [spec.model_dump(mode="json", exclude_none=True) for spec in plan.deployment.models]
    path = write_mlp(tmp_path, "more", width=WIDTH, rows=1, seed=2)
    changed = planned(*specs, model("more", path, replicas=2), name=NAME)
    until(named, all_ready)
    with Orchestrator.connect(named) as driver:
        # what the first card to be replaced has to finish
        flying = [driver.model("slow").submit({"x": rows(1)}) for _ in range(10)]
        changing = Thread(target=up, args=(changed, Options()))
        changing.start()
        seen = until(named, lambda status: not all_ready(status))
        (other,) = (card.slot for card in seen.cards if card.state == "ready")
        assert main(["drain", other]) == 0
        changing.join()
        after = status_of(named, 250.0)
        assert (card_of(after, other).state, card_of(after, other).pid) == ("drained", None)
        assert main(["drain", other, "--undo"]) == 0
        last = until(named, all_ready)
        on = {replica.slot for replica in last.replicas if replica.model == "more"}
        assert on == {card.slot for card in last.cards}
        assert [one.result()["y"].shape for one in flying] == [(1, WIDTH)] * 10
        while "more" not in driver.models:  # the driver hears of it by itself
            time.sleep(0.05)
        x = rows(8)
        got = driver.model("more").predict({"x": x})["y"]
        assert np.allclose(got, Truth(path)(x), atol=1e-5)


def test_up_while_it_is_taken_down_waits_and_stays_up(
    named: str, plan: DeploymentPlan, capsys: pytest.CaptureFixture[str]
) -> None:
    """``down`` ends what it has found, and not what has followed it under the same name."""
    with Orchestrator.connect(named) as driver:
        before = until(named, all_ready)
        flying = [driver.model("slow").submit({"x": rows(1)}) for _ in range(8)]
        until(named, lambda status: any(card.in_flight for card in status.cards))
        ending = Thread(target=main, args=(["down", named],))
        ending.start()
        while kept():
            time.sleep(0.01)
        told: list[str] = []
        up(plan, Options(progress=told.append))
        ending.join()
        assert any(line.startswith(f"waiting for {named} to end") for line in told), told
        assert [one.result()["y"].shape for one in flying] == [(1, WIDTH)] * 8
    after = until(named, all_ready)
    assert before.controller_pid != after.controller_pid
    assert [restarts for card in after.cards if (restarts := card.restarts)] == []
    assert f"{named} is down" in capsys.readouterr().out


def test_up_that_is_taken_down_before_it_serves_says_so(
    cluster: Connection, tmp_path: Path
) -> None:
    slow = write_mlp(tmp_path, "slow", width=WIDTH, rows=1, seed=1)
    plan = planned(model("slow", slow), name=NAME)
    seen: list[Exception] = []

    def start() -> None:
        try:
            up(plan, Options(progress=lambda line: None))
        except DeploymentError as error:
            seen.append(error)

    starting = Thread(target=start)
    starting.start()
    while NAME not in kept():
        time.sleep(0.001)
    take_down(NAME)
    starting.join()
    assert list(map(str, seen)) == [
        f"{NAME}: somebody has taken it down meanwhile: orchestrator up starts it anew"
    ]
    assert (kept(), actors()) == ((), [])


def test_up_waits_for_the_change_that_is_under_way(named: str, plan: DeploymentPlan) -> None:
    """Of two at the same time both are done, one after the other."""
    specs = [spec.model_dump(mode="json", exclude_none=True) for spec in plan.deployment.models]
    until(named, all_ready)
    told: list[str] = []
    with Orchestrator.connect(named) as driver:
        # what the card that is to be replaced has to finish
        flying = [driver.model("slow").submit({"x": rows(1)}) for _ in range(8)]
        other = planned(specs[0], {**specs[1], "threads": 2}, name=NAME)
        changing = Thread(target=up, args=(other, Options()))
        changing.start()
        until(named, lambda status: not all_ready(status))
        outcome = up(plan, Options(progress=told.append))
        changing.join()
        assert [one.result()["y"].shape for one in flying] == [(1, WIDTH)] * 8
    assert f"waiting for the change of {named} that is under way" in told
    assert outcome.done
    assert outcome.diff is not None
    assert outcome.diff.steps, "it was compared with what the other one made of it"
    assert ControllerClient(named).ask("view").generation == 3


def test_commands_say_which_cluster_they_are_in(
    named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = f"in the cluster at {ray.get_runtime_context().gcs_address}\n"
    for words in (["status", named], ["drain", "local/0"], ["drain", "local/0", "--undo"]):
        assert main(words) == 0
        assert capsys.readouterr().err == where
    assert main(["status", named, "--json"]) == 0
    assert capsys.readouterr().err == ""


def test_what_another_version_has_kept(cluster: Connection, plan: DeploymentPlan) -> None:
    store = b"ascend-orchestrator"
    internal_kv._internal_kv_put(NAME.encode(), b'{"plan": {}}', namespace=store)
    told = "what is kept of it cannot be read, as of another version .*: orchestrator down ends it"
    try:
        with pytest.raises(DeploymentError, match=told):
            up(plan, Options())
        with pytest.raises(ClusterError, match=told):
            status_of(NAME, 250.0)
        take_down(NAME)
        assert kept() == ()
    finally:
        with contextlib.suppress(NoSuchDeploymentError):
            take_down(NAME)
