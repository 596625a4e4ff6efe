"""What ends a start early, and that it leaves nothing behind."""

import contextlib
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from orchestrator import (
    CardsUnavailableError,
    ClusterError,
    LoadError,
    Orchestrator,
)
from orchestrator.config import Cards
from orchestrator.runtime.cluster.connect import Connection, connect
from orchestrator.runtime.cluster.discover import Node, bind_nodes, find_nodes, inventory_of, named
from tests.models import write_garbage, write_mlp
from tests.runtime.deployments import model, planned


def cards_alive() -> set[psutil.Process]:
    """Card processes among this process's descendants: our Ray's workers."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        try:
            if "CardHost" in " ".join(process.cmdline()):
                found.add(process)
        except psutil.NoSuchProcess:
            continue
    return found


def test_a_model_that_does_not_build_ends_the_start(cluster: Connection, tmp_path: Path) -> None:
    good = write_mlp(tmp_path, "good", width=16, rows=2)
    bad = write_garbage(tmp_path, "bad")
    alive = cards_alive()
    wanted = planned(model("good", good), model("bad", bad), count=1)
    with pytest.raises(
        LoadError, match=r"card local/0: .*bad\.mindir.* did not load: .*not an ONNX model"
    ):
        Orchestrator(wanted).start()
    assert psutil.wait_procs(cards_alive() - alive, timeout=250)[1] == []


def test_a_ray_of_our_own_runs_no_process_that_it_does_not_need(cluster: Connection) -> None:
    told = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            told.append(" ".join(process.cmdline()))
    assert any("raylet" in line for line in told)
    assert not [line for line in told if "monitor.py" in line or "dashboard.py" in line]


def test_more_cards_than_there_are(cluster: Connection) -> None:
    cards = Cards(kind="emulated", count=9, capacity=1 << 30)
    for free, hint in [(4, "of 5 in the cluster some are in use"), (5, "it has 5 in all: set")]:
        with pytest.raises(CardsUnavailableError) as told:
            inventory_of(cards, (Node("local", "id", free),), started=False)
        assert str(told.value).startswith(
            f"the deployment wants 9 cards and the cluster has {free} free of resource NPU: {hint}"
        )


def test_a_resource_that_no_node_offers(cluster: Connection) -> None:
    cards = Cards(kind="emulated", capacity=1 << 30, resource="DAVINCI")
    with pytest.raises(CardsUnavailableError, match=r"--resources='\{\"DAVINCI\": 8\}'"):
        inventory_of(cards, (), started=False)
    with pytest.raises(CardsUnavailableError, match="kind: emulated needs none"):
        inventory_of(cards, (), started=True)


def test_cards_that_a_cluster_calls_gpu(cluster: Connection, tmp_path: Path) -> None:
    """Ray takes their number as an option of its own, and refuses it among other resources."""
    plan = planned(model("good", write_mlp(tmp_path, "good", width=16, rows=2)), count=1)
    cards = plan.deployment.cards.model_copy(update={"resource": "GPU"})
    wanted = replace(plan, deployment=plan.deployment.model_copy(update={"cards": cards}))
    assert [node.cards for node in find_nodes("GPU")] == [1]
    with Orchestrator(wanted) as started:
        answer = started.model("good").predict({"x": np.zeros((2, 16), np.float32)})
        assert answer["y"].shape == (2, 16)
        (card,) = started.status().cards
        assert card.npu_id == "0"


def test_one_ray_at_a_time(cluster: Connection) -> None:
    with pytest.raises(
        ClusterError, match=r"connected to Ray at .* already: leave the address out"
    ):
        connect("local")
    joined = connect(None)
    joined.close()
    assert find_nodes("NPU") is not None  # still connected: it was not ours to end


_LEFT_TOO_EARLY = """
import logging, sys, threading, time
import numpy as np
import ray
from ray import cloudpickle
from orchestrator import DeploymentPlan, NotServingError, Orchestrator, log_events

log_events()
logging.getLogger("ray._private.accelerators.npu").setLevel(logging.CRITICAL)
ray.init("local", resources={"NPU": 1}, include_dashboard=False, log_to_driver=False,
         object_store_memory=100 << 20, _temp_dir=sys.argv[1])
plan = DeploymentPlan.from_json(open(sys.argv[2]).read(), "plan")
x = {"x": np.zeros((2, 16), np.float32)}
with Orchestrator(plan) as started:
    model = started.model("slow")
    assert model.predict(x)["y"].shape == (2, 16)
    cloudpickle.dumps(model)  # others may have it from here
    flying = model.submit(x)
    ray.shutdown()
    for call in (model.predict, model.submit, lambda x: next(model.map([x]))):
        try:
            call(x)
        except NotServingError as error:
            assert "this process has left the Ray that its cards are in" in str(error)
        else:
            raise AssertionError("it was answered")
    cards = started._require()._controller  # what Ray told last may still have to be handled
    cards.lost("local/0", cards.slots["local/0"].life, "it died just then")
    until = time.monotonic() + 60
    while started.status().cards[0].restarts < 2 and time.monotonic() < until:
        time.sleep(0.01)
assert flying.exception() is not None
assert not ray.is_initialized(), "another Ray was started"
ours = [one.name for one in threading.enumerate() if one.name.startswith("orchestrator")]
assert ours == [], ours

ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False,
         object_store_memory=100 << 20, _temp_dir=sys.argv[1])
assert ray.get(ray.put(1)) == 1
ray.shutdown()
ray.init = lambda *told, **options: print("by itself")  # what comes now is the user's own doing
try:
    ray.put(1)
except Exception:
    pass
"""


def test_a_ray_that_its_user_ends_first_is_told_and_not_started_again(tmp_path: Path) -> None:
    slow = write_mlp(tmp_path, "slow", width=16, rows=2)
    plan = planned(model("slow", slow, emulated={"execute": "200ms"}), count=1)
    (tmp_path / "plan.json").write_text(plan.to_json())
    with tempfile.TemporaryDirectory(prefix="ao-", dir="/tmp") as folder:  # short, for its sockets
        words = [sys.executable, "-c", _LEFT_TOO_EARLY, folder, str(tmp_path / "plan.json")]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "by itself\n"), done.stderr
    assert "Traceback" not in done.stderr
    assert "death tiny local/0: System error: this process has left its Ray" in done.stderr


_TWO_AT_ONCE = """
import sys
import ray
from orchestrator import CardsUnavailableError, ClusterError, DeploymentPlan, Orchestrator

plan = DeploymentPlan.from_json(open(sys.argv[1]).read(), "plan")
for _ in range(2):  # one after the other
    with Orchestrator(plan, address="local") as first:
        for address, error, told in (
            ("local", ClusterError, "is connected to Ray at"),
            (None, CardsUnavailableError, "wants 1 cards and the cluster has 0 free of resource"),
        ):
            try:
                Orchestrator(plan, address=address).start()
            except error as problem:
                assert told in str(problem), str(problem)
                told = "it was started by another Orchestrator of this process, for its own cards: "
                assert told + "close that one first" in str(problem), str(problem)
            else:
                raise AssertionError("there was a card for it")
        assert first.status().cards[0].state == "ready"
    assert not ray.is_initialized()
"""


def test_two_with_a_ray_of_their_own_one_after_the_other_and_at_once(tmp_path: Path) -> None:
    plan = planned(model("good", write_mlp(tmp_path, "good", width=16, rows=2)), count=1)
    (tmp_path / "plan.json").write_text(plan.to_json())
    words = [sys.executable, "-c", _TWO_AT_ONCE, str(tmp_path / "plan.json")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


NODES = (Node("a", "id-a", 2), Node("b", "id-b", 4))


def test_nodes_get_names_of_their_own() -> None:
    assert [n.name for n in named([Node("vm", "1", 2)])] == ["local"]
    three = [Node("vm", "2", 2), Node("vm", "1", 2), Node("other", "3", 1)]
    assert [(n.name, n.id) for n in named(three)] == [("other", "3"), ("vm", "1"), ("vm-2", "2")]


@pytest.mark.parametrize(
    ("planned_cards", "bound"),
    [
        ({"a": 2, "b": 4}, {"a": "id-a", "b": "id-b"}),
        ({"local": 3}, {"local": "id-b"}),
        ({"local": 2}, {"local": "id-a"}),
        ({"x": 1, "y": 4}, {"x": "id-a", "y": "id-b"}),
        ({"a": 3, "x": 1}, {"a": "id-b", "x": "id-a"}),
    ],
)
def test_nodes_of_a_plan_find_nodes_of_the_cluster(planned_cards, bound) -> None:
    assert bind_nodes(planned_cards, NODES, "NPU") == bound


def test_a_plan_for_larger_nodes_is_refused() -> None:
    with pytest.raises(CardsUnavailableError, match="node big of the plan uses 5, and the largest"):
        bind_nodes({"big": 5}, NODES, "NPU")
