"""Deployments of tiny models with declared sizes, so that nothing has to be measured first."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from orchestrator import Deployment, DeploymentPlan, Inventory, plan_deployment
from orchestrator.profiles import ProfileCache, collect
from orchestrator.runtime.cards.record import kept
from orchestrator.runtime.deployments.named import status_of, take_down
from orchestrator.runtime.deployments.status import CardStatus, Status
from orchestrator.runtime.deployments.up import up
from orchestrator.runtime.options import Options
from tests.models import write_mlp, write_pair

SIZES = {"weights": "1MiB", "workspace": "1MiB", "io": "1MiB", "objects": "0B"}
WIDTH = 16
GEARS = {"gears": [{"x": [1, WIDTH]}, {"x": [4, WIDTH]}]}
#: Of the package's deployment: few, so that a test can reach it.
MAX_IN_FLIGHT = 12
#: An input that ends the process of every card that gets it, while the fixture is there.
POISON = 666.0


def model(name: str, path: Path, **fields: Any) -> dict[str, Any]:
    return {"name": name, "path": str(path), "sizes": SIZES, "service_time": "1ms", **fields}


def geared(name: str, folder: Path, **fields: Any) -> dict[str, Any]:
    """A new model with gears 1 and 4."""
    path = write_mlp(folder, name, width=WIDTH, gears=[1, 4])
    return model(name, path, shapes=GEARS, **fields)


def both_and_slow(
    folder: Path, name: str, *more: dict[str, Any], execute: str = "300ms"
) -> DeploymentPlan:
    """``both`` on two cards, ``slow`` on the second of them, and what else there is to be."""
    slow = write_mlp(folder, "slow", width=WIDTH, rows=1, seed=1)
    return planned(
        geared("both", folder, replicas=2),
        *more,
        model("slow", slow, emulated={"execute": execute}, cards=["local/1"]),
        name=name,
    )


def deployment(*models: dict[str, Any], count: int = 2, name: str = "tiny") -> Deployment:
    cards = {"kind": "emulated", "count": count, "capacity": "64MiB", "allocation": "exact"}
    return Deployment.model_validate({"name": name, "cards": cards, "models": models})


def planned(*models: dict[str, Any], count: int = 2, name: str = "tiny") -> DeploymentPlan:
    wanted = deployment(*models, count=count, name=name)
    profiles = collect(wanted, ProfileCache())
    return plan_deployment(wanted, profiles, Inventory.declared(wanted.cards))


def three_models(folder: Path) -> DeploymentPlan:
    """``both`` on two cards, gears 1 and 4; ``pair`` on one; ``slow`` on one, 1 s a batch."""
    slow = write_mlp(folder, "slow", width=WIDTH, rows=1, seed=1)
    return planned(
        geared("both", folder, threads=2, replicas=2),
        model("pair", write_pair(folder, "pair", rows=4)),
        model("slow", slow, emulated={"execute": "1s"}, cards=["local/1"]),
    )


@contextlib.contextmanager
def standing(wanted: Deployment | DeploymentPlan) -> Iterator[str]:
    """A named deployment, by its name; down afterwards, if it is still up."""
    name = up(wanted, Options()).plan.deployment.name
    yield name
    if name in kept():
        take_down(name)


def card_of(status: Status, slot: str) -> CardStatus:
    return next(card for card in status.cards if card.slot == slot)


def all_ready(status: Status) -> bool:
    return all(card.state == "ready" for card in status.cards)


def until(name: str, seen: Callable[[Status], bool]) -> Status:
    """Look at a named deployment until it is as wanted."""
    while not seen(status := status_of(name, 250.0)):
        time.sleep(0.1)
    return status


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, WIDTH)).astype(np.float32)


class Truth:
    """What ONNX Runtime itself answers, row by row."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            path.with_suffix(".onnx"), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [self._session.run(None, {"x": x[i : i + 1]})[0] for i in range(len(x))]
        )
