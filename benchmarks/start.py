"""From the command to the first answer of a card, against a start of Ray alone."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from actors.messages import Array
from benchmarks.comparison import Row
from benchmarks.double import write_double
from orchestrator.handle import Models

WIDTH = 16
#: Seconds that may come on top of a start of Ray and the load of the model.
ALLOWED = 2.0
#: Plain Ray on one machine, until an actor that holds a card has answered.
_RAY = """
import sys, time
import ray
ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR",
    object_store_memory=100 << 20, resources={"NPU": 1}, _temp_dir=sys.argv[1])

@ray.remote(num_cpus=0, resources={"NPU": 1})
class Card:
    def answer(self):
        return time.time()

print(ray.get(Card.remote().answer.remote()))
"""
#: What a card's process does to load the deployment's model, in a process of its own.
_LOAD = """
import sys
from actors.card import CardActor
from orchestrator import Inventory, load_deployment, plan_deployment
from orchestrator.profiles import ProfileCache, collect

wanted = load_deployment(sys.argv[1])
plan = plan_deployment(wanted, collect(wanted, ProfileCache()), Inventory.declared(wanted.cards))
card = CardActor()
card.identify("node", "0", 0)
print(card.load(plan.orders("local/0")).seconds)
"""


async def stamp(batch: dict[str, Array], models: Models) -> dict[str, Array]:
    """The pipeline of the job: when each answer came, in seconds since the epoch."""
    answer = await models.one.predict_async({"x": batch["data"]})
    return {"at": np.full(len(answer["y"]), time.time())}


def measure(folder: Path, rounds: int) -> list[Row]:
    """The row of the table."""
    sizes = {"weights": "1MiB", "workspace": "1MiB", "io": "1MiB", "objects": "0B"}
    model = {"name": "one", "path": write_double(folder, "one", 1, WIDTH), "sizes": sizes}
    cards = {"kind": "emulated", "count": 1, "capacity": "256MiB"}
    deployment = folder / "deployment.yaml"
    deployment.write_text(json.dumps({"name": "start", "cards": cards, "models": [model]}))
    np.save(folder / "rows.npy", np.ones((1, WIDTH), np.float32))
    load = float(_told(_LOAD, deployment))
    pairs = []
    for turn in range(rounds + 1):
        pair = _command(folder, deployment, turn), _plain()
        if turn:  # the first compiles what is imported
            pairs.append(pair)
    ours, theirs = (statistics.median(found) for found in zip(*pairs, strict=True))
    ratio = statistics.median(a / (b + load + ALLOWED) for a, b in pairs)
    what = "command to first answer"
    other = f"Ray {theirs:.2f} s + load {load:.2f} s + {ALLOWED:g} s"
    return [Row(what, f"{ours:.2f} s", other, ratio, 1.0, True)]


def _command(folder: Path, deployment: Path, turn: int) -> float:
    out = folder / f"out-{turn}"
    words = ["run", str(deployment), "--pipeline", "benchmarks.start:stamp", "--address", "local"]
    words += ["--input", str(folder / "rows.npy"), "--output", str(out)]
    started = time.time()
    subprocess.run(
        [sys.executable, "-m", "orchestrator", *words], check=True, stdout=subprocess.DEVNULL
    )
    first: float = pq.read_table(out)["at"][0].as_py()
    return first - started


def _plain() -> float:
    started = time.time()
    with tempfile.TemporaryDirectory(prefix="r") as folder:
        return float(_told(_RAY, folder)) - started


def _told(code: str, *words: object) -> str:
    """The last line of a program's output."""
    found = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], check=True, capture_output=True, text=True
    )
    return found.stdout.splitlines()[-1]
