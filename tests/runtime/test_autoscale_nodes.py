"""Ray's own autoscaler, with nodes that are processes here: none, two for work, none again.

A job is done on the way; requests that never end beside it keep the first card busy, for as long as
this machine takes to bring the second. A second job is held back, with requests that never end
either, until one of its workers runs on another node than the driver's.

Nodes come for a request alone, without anybody who waits for a card, and go with those who wanted
them: one that is killed, and one that wants none any more.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.models import write_mlp
from tests.runtime.deployments import SIZES, WIDTH, Truth, rows
from tests.runtime.elastic import SETTINGS, elastic_cluster

DRIVER = """
import json, sys, time
from pathlib import Path
import numpy as np
import ray
from orchestrator import Orchestrator, load_deployment

folder = Path(sys.argv[2])
seen = []

def nodes():
    alive = [n for n in ray.nodes() if n["Alive"] and n["Resources"].get("NPU")]
    if not seen or seen[-1] != len(alive):
        seen.append(len(alive))
    return len(alive)

def until_two_serve():
    while nodes() < 2 or [card.state for card in orc.status().cards].count("ready") < 2:
        yield {"x": x[len(sent) % len(x)][None]}
        sent.append(time.monotonic())

ray.init(sys.argv[1], log_to_driver=False)
home, elsewhere = ray.get_runtime_context().get_node_id(), folder / "elsewhere"

async def one(batch, models):
    return {"y": (await models.one.predict_async({"x": batch["data"]}))["y"]}

async def spread(batch, models):
    where = ray.get_runtime_context().get_node_id()
    if where != home:
        elsewhere.touch()
    while True:
        answer = await models.one.predict_async({"x": batch["data"]})
        if elsewhere.exists():
            return {"y": answer["y"], "node": np.array([where])}

nodes()
x, sent = np.load(folder / "in.npy"), []
with Orchestrator(load_deployment(folder / "deployment.yaml")) as orc:
    nodes()
    options = {"batch_size": 1, "part_size": 20}
    job = orc.run(folder / "in.npy", folder / "out", pipeline=one, **options)
    answers = [one["y"][0].tolist() for one in orc.model("one").map(until_two_serve())]
    orc.run(folder / "in.npy", folder / "more", pipeline=spread, **options).wait()
    done = job.wait().rows
    while nodes():
        time.sleep(0.2)
    events = [(event.before, event.cards) for event in orc.status().scaling.events]
told = {"nodes": seen, "rows": done, "answers": answers, "events": events, "home": home}
print(json.dumps(told))
"""


#: The second of two claims is that of a process which is killed in the midst of it.
CLAIMS = """
import json, subprocess, sys, time
import ray
from ray.util import list_named_actors
from orchestrator.runtime.cluster.requested import Claim

address, who, script = sys.argv[1:]
seen = []

def nodes():
    alive = sum(n["Alive"] and n["Resources"].get("NPU", 0) > 0 for n in ray.nodes())
    if seen[-1:] != [alive]:
        seen.append(alive)
    return alive

def hold(until):
    while not until():
        claim.want(1)
        time.sleep(0.1)

ray.init(address, log_to_driver=False)
claim = Claim(who, "NPU", lease_seconds=2.0)
if who == "other":
    hold(lambda: False)
nodes()
hold(lambda: nodes() == 1)
other = subprocess.Popen([sys.executable, "-c", script, address, "other", script])
try:
    hold(lambda: nodes() == 2 or other.poll() is not None)
finally:
    other.kill()
    other.wait()
hold(lambda: nodes() == 1)
claim.close()
while nodes() or list_named_actors(all_namespaces=True):
    time.sleep(0.1)
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def elastic() -> Iterator[str]:
    with elastic_cluster(most=2) as address:
        yield address


def _driven(script: str, *arguments: str | Path) -> str:
    """The last line of what a process of its own says, which joins that cluster."""
    env = {**os.environ, **SETTINGS}
    env.pop("RAY_ADDRESS", None)
    driver = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert driver.returncode == 0, driver.stderr
    return driver.stdout.splitlines()[-1]


@pytest.mark.timeout(600)
def test_nodes_come_for_work_and_go(elastic: str, tmp_path: Path) -> None:
    path = write_mlp(tmp_path, "one", width=WIDTH, rows=1)
    (tmp_path / "deployment.yaml").write_text(
        json.dumps(
            {
                "name": "elastic",
                "cards": {"kind": "emulated", "count": 2, "capacity": "64MiB"},
                "autoscale": {"min_cards": 0, "idle": "2s"},
                "models": [
                    {
                        "name": "one",
                        "path": "one.mindir",
                        "sizes": SIZES,
                        "service_time": "50ms",
                        "emulated": {"execute": "50ms"},
                    }
                ],
            }
        )
    )
    x = rows(100)
    np.save(tmp_path / "in.npy", x)
    told = json.loads(_driven(DRIVER, elastic, tmp_path))
    assert told["rows"] == 100
    y, truth = np.array(told["answers"]), Truth(path)(x)
    assert np.allclose(y, truth[np.arange(len(y)) % len(x)], atol=1e-5)
    where = set(pq.read_table(tmp_path / "more")["node"].to_pylist())
    assert where - {told["home"]}, "workers ran beside the driver alone"
    assert told["nodes"][0] == 0
    assert max(told["nodes"]) == 2
    assert told["nodes"][-1] == 0
    cards = [told["events"][0][0], *(after for _, after in told["events"])]
    assert max(cards) == 2
    assert cards[-1] == 0
    assert [before for before, _ in told["events"][1:]] == cards[1:-1]


@pytest.mark.timeout(300)
def test_nodes_that_are_requested_come_and_go_with_who_wants_them(elastic: str) -> None:
    assert json.loads(_driven(CLAIMS, elastic, "first", CLAIMS)) == [0, 1, 2, 1, 0]
