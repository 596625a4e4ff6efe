"""Jobs whose cards, nodes, workers, controller and driver are killed at random points, and go on.

A schedule is made of a seed: what is struck, which one of those that there are, and after how many
finished parts. A job's last record is answered only when all of it has been carried out, so that no
job ends before its schedule. Where the driver may be killed it is the command line in a process of
its own; whenever that has ended before the job has, it is started again with ``--resume``.
``python -m tests.chaos --seeds 20`` runs long schedules.
"""

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import ray

from orchestrator import Deployment, Orchestrator
from orchestrator.runtime.deployments.status import CardStatus, Status
from orchestrator.runtime.io.store import MANIFEST, SUCCESS
from tests.rejected import rejected
from tests.runtime.deployments import WIDTH, Truth, deployment, geared, rows
from tests.runtime.nodes import NodeProcess

TARGETS = ("driver", "card", "cards", "hang", "worker", "controller", "node")
#: Records that cannot be read, and that the pipeline fails on.
BROKEN, NEGATIVE = 30, 140
PART_BYTES = 3000
_TICK = 0.02


@dataclass(frozen=True)
class Kill:
    """One strike, when so many parts are finished; ``pick``: at which of those that there are.

    ``cards`` are two of one node at once, ``hang`` is a card that answers no more, ``node`` all
    that runs on one.
    """

    target: str
    parts: int
    pick: int = 0


def schedule(seed: int, parts: int, targets: Sequence[str]) -> list[Kill]:
    """Strikes of these kinds at the points of a seed, in order."""
    rng = random.Random(seed)
    made = [Kill(target, rng.randrange(parts), rng.randrange(1000)) for target in targets]
    return sorted(made, key=lambda kill: kill.parts)


def random_targets(seed: int, kills: int, targets: Sequence[str] = TARGETS) -> list[str]:
    """So many kinds of strikes; a node is lost once at most."""
    rng, chosen = random.Random(seed), list[str]()
    for _ in range(kills):
        chosen.append(rng.choice([one for one in targets if one != "node" or one not in chosen]))
    return chosen


@dataclass
class Victims:
    """What a schedule may strike: the cards and the controller of a deployment, and a node."""

    status: Callable[[], Status]
    faults: Path
    node: NodeProcess | None = None

    def strike(self, kill: Kill, driver: int | None = None) -> list[int]:
        """The processes that are ended now, or hang from now on; none if there was none to take."""
        if kill.target == "node":
            return self.node.kill() if self.node else []
        if kill.target in ("card", "cards", "hang"):
            return self._strike_cards(kill)
        found = {
            "driver": lambda: [driver],
            "controller": lambda: [self.status().controller_pid],
            "worker": _workers,
        }[kill.target]()
        return _end(_picked(sorted(pid for pid in found if pid is not None), kill.pick, 1))

    def _strike_cards(self, kill: Kill) -> list[int]:
        ready = [one for one in self.status().cards if one.state == "ready" and one.pid is not None]
        if kill.target == "cards":
            pairs = [pair for pair in _by_node(ready) if len(pair) > 1]
            return _end(_picked(pairs[0], kill.pick, 2)) if pairs else []
        chosen = _picked([one.pid for one in ready], kill.pick, 1)
        if kill.target == "card":
            return _end(chosen)
        with self.faults.open("a") as file:
            file.writelines(f"{pid} hang\n" for pid in chosen)
        return chosen


class Strikes:
    """A schedule while it is carried out. ``path`` is there once all of it has been."""

    def __init__(self, kills: Sequence[Kill], victims: Victims, path: Path) -> None:
        self.path = path
        self.struck: list[tuple[Kill, list[int]]] = []
        self._kills, self._left, self._victims = kills, list(kills), victims

    def look(self, parts: int, driver: int | None = None) -> None:
        """So many parts are finished: what is due is struck, as soon as there is one to strike."""
        if self._left and parts >= self._left[0].parts:
            pids = self._victims.strike(self._left[0], driver)
            if pids:
                self.struck.append((self._left.pop(0), pids))
        if not self._left:
            self.path.touch()

    def check(self) -> None:
        """All of it has been carried out."""
        assert [kill for kill, _ in self.struck] == list(self._kills)
        assert self.struck


def chaos_deployment(folder: Path, cards: int, resource: str = "NPU") -> Deployment:
    """One model on so many cards, 4 ms a batch."""
    both = geared("both", folder, replicas=cards, emulated={"execute": "4ms"})
    made = deployment(both, count=cards, name=f"chaos-{resource.lower()}")
    section = {**made.cards.model_dump(), "resource": resource}
    return Deployment.model_validate({**made.model_dump(), "cards": section})


def write_lines(path: Path, records: int, struck: Path) -> int:
    """The input, whose last record waits for ``struck``; how many parts it makes."""
    told = [{"key": key, "x": _floats(row), "after": ""} for key, row in enumerate(rows(records))]
    told[NEGATIVE] = {"key": -1, "x": [0.0] * WIDTH, "after": ""}
    told[-1]["after"] = str(struck)
    lines = [json.dumps(one) for one in told]
    lines[BROKEN] = "broken"
    path.write_text("\n".join(lines))
    return -(-path.stat().st_size // PART_BYTES)


async def both(batch: Mapping[str, Any], models: Any) -> dict[str, np.ndarray]:
    """The pipeline of the job."""
    if (batch["key"] < 0).any():
        raise ValueError("a negative key")
    for path in filter(None, batch["after"]):
        while not Path(path).exists():
            await asyncio.sleep(_TICK)
    answer = await models.both.predict_async({"x": batch["x"].astype(np.float32)})
    return {"key": batch["key"], "y": answer["y"]}


def run_to_the_end(name: str, source: Path, out: Path, strikes: Strikes, workers: int) -> int:
    """Run the job, strike as the schedule says, resume; how often the driver was started."""
    words = ["run", name, "--pipeline", "tests.chaos.schedules:both", "--input", str(source)]
    words += ["--output", str(out), "--part-size", f"{PART_BYTES}B", "--batch-size", "4"]
    words += ["--workers", str(workers), "--in-flight", "4", "--resume"]
    address = ray.get_runtime_context().gcs_address
    starts = 0
    while not (out / SUCCESS).exists():
        starts += 1
        driver = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *words, "--address", address],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        while driver.poll() is None:
            strikes.look(_finished_parts(out), driver.pid)
            with suppress(subprocess.TimeoutExpired):
                driver.wait(_TICK)
        assert driver.stderr is not None
        told = driver.stderr.read()
        driver.stderr.close()
        assert driver.returncode in (0, -signal.SIGKILL), told
    strikes.check()
    return starts


def run_here(orc: Orchestrator, source: Path, out: Path, strikes: Strikes, workers: int) -> None:
    """Run the job with this process as its driver, and strike as the schedule says."""
    options = {"part_size": f"{PART_BYTES}B", "batch_size": 4, "in_flight": 4, "workers": workers}
    job = orc.run(source, out, pipeline=both, **options)
    while not job.done:
        strikes.look(job.progress.parts_done)
        with suppress(TimeoutError):
            job.wait(_TICK)
    job.wait()
    strikes.check()


def check(out: Path, records: int, truth: Truth) -> None:
    """The output is what an undisturbed run gives: every row once, in order, by value."""
    table = pq.read_table(out)
    missing = (BROKEN, NEGATIVE)
    assert table["key"].to_pylist() == [key for key in range(records) if key not in missing]
    expected = np.delete(truth(np.round(rows(records), 4)), missing, axis=0)
    assert np.allclose(np.stack(table["y"].to_numpy()), expected, atol=1e-4)
    assert sorted(one["stage"] for one in rejected(out)) == ["pipeline", "read"]
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def _finished_parts(out: Path) -> int:
    with suppress(FileNotFoundError):
        return max((out / MANIFEST).read_bytes().count(b"\n") - 2, 0)
    return 0


def _floats(row: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in row]


def _by_node(cards: Iterable[CardStatus]) -> list[list[int]]:
    nodes: dict[str, list[int]] = {}
    for card in cards:
        nodes.setdefault(card.node_id, []).append(card.pid or 0)
    return list(nodes.values())


def _picked(pids: Sequence[Any], pick: int, count: int) -> list[int]:
    """So many of those that there are, beginning with one that the seed chose."""
    start = pick % max(len(pids), 1)
    return [*pids[start:], *pids[:start]][:count]


def _end(pids: Iterable[int]) -> list[int]:
    """Those that lived until now."""
    ended = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                process.kill()
                ended.append(pid)
    return ended


def _workers() -> list[int]:
    """The workers of this Ray's jobs, which are children of ours."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "JobWorker" in " ".join(process.cmdline()):
                found.append(process.pid)
    return found
