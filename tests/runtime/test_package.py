"""Nodes whose processes run other sources of this project than the driver."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import ray

import actors
import orchestrator
from orchestrator.runtime.cluster.connect import Connection
from tests.models import write_mlp
from tests.runtime.deployments import WIDTH, model, planned

DRIVER = """
import json, sys
from pathlib import Path
import numpy as np
import ray
from orchestrator import DeploymentPlan, Orchestrator, PackageDiffersError

address, plan, sources = sys.argv[1:]
ray.init(address, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": sources}})
try:
    with Orchestrator(DeploymentPlan.from_json(Path(plan).read_text())) as orc:
        told = list(orc.model("one").predict({"x": np.ones((1, 16), np.float32)})["y"].shape)
except PackageDiffersError as error:
    told = str(error)
print(json.dumps(told))
"""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """This project's sources as a job may bring them along."""
    for package in (actors, orchestrator):
        home = Path(next(iter(package.__path__)))
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(home, tmp_path / "sent" / home.name, ignore=ignore)
    return tmp_path / "sent"


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    file = tmp_path / "plan.json"
    path = write_mlp(tmp_path, "one", width=WIDTH, rows=1)
    file.write_text(planned(model("one", path), count=1).to_json())
    return file


def driven(plan: Path, sources: Path) -> object:
    """What a driver tells whose actors import from elsewhere than it does itself."""
    address = ray.get_runtime_context().gcs_address
    run = subprocess.run(
        [sys.executable, "-c", DRIVER, address, plan, sources],
        env={**os.environ, "RAY_ADDRESS": ""},
        cwd=plan.parent,  # Ray puts a driver's folder before all else that its workers import from
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_the_same_sources_from_elsewhere_are_as_good_and_others_are_named(
    cluster: Connection, plan: Path, copied: Path
) -> None:
    assert driven(plan, copied) == [1, WIDTH]
    with (copied / "actors" / "card.py").open("a", encoding="utf-8") as file:
        file.write("\n# a difference\n")
    told = driven(plan, copied)
    assert isinstance(told, str)
    assert told.startswith("card local/0: its node ")
    assert "ascend-orchestrator 0.1.0+" in told


def test_a_node_that_cannot_import_them_is_named(
    cluster: Connection, plan: Path, copied: Path
) -> None:
    with (copied / "actors" / "card.py").open("a", encoding="utf-8") as file:
        file.write("\nimport nothing_of_that_name\n")
    told = driven(plan, copied)
    assert isinstance(told, str)
    assert told.startswith("card local/0 has ascend-orchestrator that cannot be imported (")
    assert "No module named 'nothing_of_that_name'" in told
