"""Named deployments on the package's Ray: drivers come and go, and the controller may die."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import ray

from orchestrator import (
    DeploymentError,
    LoadError,
    NoSuchDeploymentError,
    NotServingError,
    Orchestrator,
    OverloadedError,
    RequestFailedError,
)
from orchestrator.cli import main
from orchestrator.placement import DeploymentPlan
from orchestrator.runtime.cards.inherited import namespace_of
from orchestrator.runtime.cards.record import kept
from orchestrator.runtime.cluster.connect import Connection
from orchestrator.runtime.deployments.joined import Joined
from orchestrator.runtime.deployments.named import drain, status_of
from orchestrator.runtime.deployments.up import up
from orchestrator.runtime.options import Options
from tests.models import write_garbage, write_mlp
from tests.runtime.connections import cut
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

NAME = "reader"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> DeploymentPlan:
    return both_and_slow(tmp_path_factory.mktemp("named"), NAME)


@pytest.fixture(scope="module")
def truth(plan: DeploymentPlan) -> Truth:
    return Truth(Path(plan.deployment.model("both").path))


@pytest.fixture(scope="module")
def named(cluster: Connection, plan: DeploymentPlan) -> Iterator[str]:
    with standing(plan) as name:
        yield name


@pytest.fixture(scope="module")
def driver(named: str) -> Iterator[Orchestrator]:
    with Orchestrator.connect(named) as joined:
        yield joined


def test_two_drivers_at_once_share_the_cards(named: str, driver: Orchestrator, truth) -> None:
    x, z = rows(40), rows(40, seed=1)
    with Orchestrator.connect(named) as second:
        mine = [driver.model("both").submit({"x": x[i : i + 1]}) for i in range(40)]
        theirs = list(second.model("both").map({"x": z[i : i + 1]} for i in range(40)))
        assert second.plan.deployment.name == NAME
        assert {card.pid for card in second.status().cards} == {
            card.pid for card in driver.status().cards
        }
    assert np.allclose(np.concatenate([f.result()["y"] for f in mine]), truth(x), atol=1e-5)
    assert np.allclose(np.concatenate([one["y"] for one in theirs]), truth(z), atol=1e-5)
    assert driver.model("both").predict({"x": x})["y"].shape == (40, WIDTH)  # the other has left


def test_a_driver_of_a_named_deployment_has_limits_of_its_own(named: str) -> None:
    x = {"x": rows(1)}
    with Orchestrator.connect(named, max_in_flight=5, max_bytes_in_flight=1) as tight:
        handle = tight.model("both")
        with pytest.raises(OverloadedError) as refused:
            while True:  # until one comes while another is under way
                handle.submit(x)
                handle.submit(x, wait=False)
    assert (refused.value.inside, refused.value.limit, refused.value.most_bytes) == (1, 5, 1)


def test_a_handle_works_in_a_ray_task_and_in_an_actor(driver: Orchestrator, truth) -> None:
    @ray.remote(num_cpus=0)
    class Reader:
        def __init__(self, handle) -> None:
            self.handle = handle

        def read(self, x):
            got = [self.handle.predict({"x": x})["y"] for _ in range(2)]
            return os.getpid(), np.concatenate(got)

    x = rows(3)
    handle = driver.model("both")
    reader = Reader.remote(handle)
    pid, got = ray.get(reader.read.remote(x))
    assert pid != os.getpid()
    assert np.allclose(got, np.concatenate([truth(x)] * 2), atol=1e-5)
    task = ray.remote(num_cpus=0)(lambda handle, x: handle.predict({"x": x})["y"])
    assert np.allclose(ray.get(task.remote(handle, x)), truth(x), atol=1e-5)
    ray.kill(reader)


def test_a_killed_controller_comes_back_and_nobody_notices(driver: Orchestrator, truth) -> None:
    before = until(NAME, all_ready)
    pid = before.controller_pid
    x = rows(200)
    slow = driver.model("slow").submit({"x": rows(2)})
    os.kill(pid, signal.SIGKILL)
    answers = driver.model("both").map({"x": x[i : i + 1]} for i in range(200))
    assert np.allclose(np.concatenate([one["y"] for one in answers]), truth(x), atol=1e-5)
    slow.result()
    after = until(NAME, lambda status: status.controller_pid != pid and all_ready(status))
    assert [card.pid for card in after.cards] == [card.pid for card in before.cards]
    assert all(m.retried == m.failed == 0 for m in driver.status().models)

    os.kill(card_of(after, "local/0").pid, signal.SIGKILL)  # the new one looks after the cards too
    answers = driver.model("both").map({"x": x[i : i + 1]} for i in range(200))
    assert np.allclose(np.concatenate([one["y"] for one in answers]), truth(x), atol=1e-5)
    last = until(
        NAME, lambda s: card_of(s, "local/0").pid not in (None, card_of(after, "local/0").pid)
    )
    assert card_of(last, "local/1").pid == card_of(after, "local/1").pid


def test_cards_that_lose_a_driver_while_the_controller_is_dead_are_used_again(
    driver: Orchestrator, truth
) -> None:
    before, x = until(NAME, all_ready), rows(200)
    os.kill(before.controller_pid, signal.SIGKILL)
    answers = driver.model("both").map({"x": x[i : i + 1]} for i in range(200))
    first = next(answers)["y"]
    assert all(cut(card.pid) for card in before.cards)
    rest = [one["y"] for one in answers]
    assert np.allclose(np.concatenate([first, *rest]), truth(x), atol=1e-5)
    after = until(NAME, all_ready)
    assert [card.pid for card in after.cards] == [card.pid for card in before.cards]


def test_a_drained_card_stays_empty_until_undo(
    named: str, driver: Orchestrator, truth, capsys
) -> None:
    until(NAME, all_ready)
    x = rows(30)
    futures = [driver.model("both").submit({"x": x[i : i + 1]}) for i in range(30)]
    capsys.readouterr()
    assert main(["drain", "local/0"]) == 0
    assert main(["drain", "local/0"]) == 0
    assert capsys.readouterr().out == "drained: local/0\ndrained before: local/0\n"
    assert np.allclose(np.concatenate([f.result()["y"] for f in futures]), truth(x), atol=1e-5)
    drained = card_of(status_of(named, 250.0), "local/0")
    assert (drained.state, drained.pid, drained.why) == ("drained", None, "it was drained")
    assert np.allclose(driver.model("both").predict({"x": x})["y"], truth(x), atol=1e-5)
    with pytest.raises(DeploymentError, match="no card or node 'local/7': its cards are local/0, "):
        drain(named, "local/7")
    assert main(["drain", "local/1"]) == 0
    waiting = "drained: local/1\non no other card, so they wait for --undo: both, slow\n"
    assert capsys.readouterr().out == waiting
    future = driver.model("slow").submit({"x": x[:1]})
    assert main(["drain", "local", "--undo"]) == 0
    assert future.result()["y"].shape == (1, WIDTH)
    until(NAME, all_ready)
    capsys.readouterr()
    assert main(["drain", "local", "--undo"]) == 0
    assert capsys.readouterr().out == "not drained: local/0, local/1\n"


def test_a_job_runs_on_a_deployment_that_is_up(named: str, truth, tmp_path: Path, capsys) -> None:
    x = rows(50)
    np.save(tmp_path / "rows.npy", x)
    words = ["--model", "both", "--column", "x=data", "--input", str(tmp_path / "rows.npy")]
    words += ["--batch-size", "8", "--part-size", "20", "--address", "auto"]
    for workers in ("0", "1"):
        out = tmp_path / workers
        assert main(["run", named, *words, "--output", str(out), "--workers", workers]) == 0
        assert "50 of 50 records read" in capsys.readouterr().err
        assert np.allclose(np.stack(pq.read_table(out)["y"].to_numpy()), truth(x), atol=1e-5)
    assert main(["run", named, *words, "--output", str(out), "--resume"]) == 0
    assert "nothing left to do" in capsys.readouterr().err
    assert main(["run", "raeder", *words, "--output", str(tmp_path / "none")]) == 1
    assert "no deployment 'raeder' runs in this cluster" in capsys.readouterr().err
    assert all_ready(status_of(named, 250.0))


def test_the_status_on_the_command_line(named: str, capsys) -> None:
    until(NAME, all_ready)
    assert main(["status", named, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["deployment"], len(shown["cards"])) == (NAME, 2)
    assert main(["status", "raeder"]) == 1
    assert capsys.readouterr().err == (
        f"in the cluster at {ray.get_runtime_context().gcs_address}\n"
        "error: no deployment 'raeder' runs in this cluster, there are: reader: "
        "orchestrator up starts one from its file\n"
    )


def watching(named: str, *words: str) -> "subprocess.Popen[str]":
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-m", "orchestrator", "status", named, "--watch", *words]
    return subprocess.Popen([*command, "--address", address], stdout=subprocess.PIPE, text=True)


def test_watching_the_status_in_a_pipe_until_ctrl_c(named: str) -> None:
    """For people one below the other, for programs a line each time."""
    with watching(named) as plain, watching(named, "--json") as for_programs:
        shown = [json.loads(for_programs.stdout.readline()) for _ in range(2)]
        titles = (line for line in plain.stdout if line.startswith("deployment"))
        assert [next(titles) for _ in range(2)] == [f"deployment {NAME}\n"] * 2
        for one in (plain, for_programs):
            one.send_signal(signal.SIGINT)
            assert one.wait() == 130
    assert [one["deployment"] for one in shown] == [NAME] * 2
    before, after = (one["cards"][0]["uptime_seconds"] for one in shown)
    assert before < after


def test_up_again_replaces_what_differs_though_the_controller_dies_meanwhile(
    named: str, driver: Orchestrator, plan: DeploymentPlan, truth, tmp_path: Path, capsys
) -> None:
    before = until(NAME, all_ready)
    specs = [spec.model_dump(mode="json", exclude_none=True) for spec in plan.deployment.models]
    more = write_mlp(tmp_path, "more", width=WIDTH, rows=1, seed=2)
    changed = planned(*specs, model("more", more, cards=["local/1"]), name=NAME)
    file = tmp_path / "changed.json"
    file.write_text(plan.to_json())
    assert main(["up", str(file)]) == 0
    assert "no card changes: they do what the plan wants" in capsys.readouterr().err
    file.write_text(changed.to_json())
    assert main(["up", str(file)]) == 1
    told = capsys.readouterr()
    assert "1. drain local/1: both, slow" in told.out
    assert "slow cannot be served for about" in told.out
    assert "error: reader runs and was not changed: --yes does these steps" in told.err
    assert [c.pid for c in status_of(named, 250.0).cards] == [c.pid for c in before.cards]

    x = rows(60)
    both = [driver.model("both").submit({"x": x[i : i + 1]}) for i in range(60)]
    slow = [driver.model("slow").submit({"x": x[i : i + 1]}) for i in range(6)]
    killed = Thread(target=kill_the_controller_while_local_1_changes)
    killed.start()
    assert main(["up", str(file), "--yes"]) == 0
    killed.join()
    assert np.allclose(np.concatenate([f.result()["y"] for f in both]), truth(x), atol=1e-5)
    assert [f.result()["y"].shape for f in slow] == [(1, WIDTH)] * 6
    after = status_of(named, 250.0)
    assert all_ready(after)
    assert after.controller_pid != before.controller_pid
    assert card_of(after, "local/0").pid == card_of(before, "local/0").pid
    assert card_of(after, "local/1").pid != card_of(before, "local/1").pid
    while "more" not in driver.models:  # the driver hears of it by itself
        time.sleep(0.02)
    wanted = Truth(more)(x[:2])
    assert np.allclose(driver.model("more").predict({"x": x[:2]})["y"], wanted, atol=1e-5)
    with Orchestrator.connect(named) as other:
        assert np.allclose(other.model("both").predict({"x": x})["y"], truth(x), atol=1e-5)


def kill_the_controller_while_local_1_changes() -> None:
    status = until(NAME, lambda status: card_of(status, "local/1").state != "ready")
    os.kill(status.controller_pid, signal.SIGKILL)


def test_down_leaves_nothing(named: str, driver: Orchestrator) -> None:
    status = until(NAME, all_ready)
    pids = [status.controller_pid, *(card.pid for card in status.cards)]
    family = [psutil.Process(pid) for pid in pids]
    assert main(["down", named]) == 0
    assert psutil.wait_procs(family, timeout=250)[1] == []
    assert [a for a in ray.util.list_named_actors(all_namespaces=True) if "reader" in str(a)] == []
    assert kept() == ()
    with pytest.raises(NoSuchDeploymentError, match="no deployment 'reader' runs in this cluster"):
        call_until_the_driver_has_heard(driver)
    with pytest.raises(NoSuchDeploymentError):
        Orchestrator.connect(named)


def call_until_the_driver_has_heard(driver: Orchestrator) -> None:
    while True:
        with contextlib.suppress(RequestFailedError, NotServingError):
            driver.model("both").predict({"x": rows(1)}, timeout=60)


def on_the_one_gpu(plan: DeploymentPlan) -> DeploymentPlan:
    cards = plan.deployment.cards.model_copy(update={"resource": "GPU"})
    return replace(plan, deployment=plan.deployment.model_copy(update={"cards": cards}))


def test_who_waits_for_a_deployment_that_is_taken_down_is_told(
    cluster: Connection, tmp_path: Path
) -> None:
    """Its card cannot come back, and a new controller does not know what its model takes."""
    path = write_mlp(tmp_path, "lone", width=WIDTH, rows=1)
    with standing(on_the_one_gpu(planned(model("lone", path), count=1, name="lone"))) as name:
        other = ray.remote(num_cpus=0, num_gpus=1)(Other).remote()
        before = status_of(name, 250.0)
        os.kill(before.cards[0].pid, signal.SIGKILL)
        ray.get(other.there.remote())  # it has the card now
        os.kill(before.controller_pid, signal.SIGKILL)
        until(name, lambda status: status.controller_pid != before.controller_pid)
        joined = Joined(name, Options())
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(joined.start)
            while not (waiting.done() or hasattr(joined, "_view")):
                pass
            assert not waiting.done()
            assert main(["down", name, "--drain", "0"]) == 0
            with pytest.raises(NoSuchDeploymentError, match="no deployment 'lone' runs in this"):
                waiting.result()
        ray.kill(other)


class Other:
    def there(self) -> None: ...


def test_a_first_start_that_fails_is_taken_back(cluster: Connection, tmp_path: Path) -> None:
    bad = planned(model("bad", write_garbage(tmp_path, "bad")), count=1, name="broken")
    with pytest.raises(LoadError, match=r"card local/0: .*bad\.mindir.* did not load"):
        up(bad, Options())
    assert kept() == ()
    listed = ray.util.list_named_actors(all_namespaces=True)
    assert [one for one in listed if one["namespace"] == namespace_of("broken")] == []
