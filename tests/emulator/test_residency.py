"""Sharing saves memory of the process that the operating system confirms."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import models

ROOT = Path(__file__).parents[2]
MIB = 1 << 20


@functools.cache
def run(flag: str, threads: int, paths: tuple[Path, ...], rounds: int = 3) -> dict[str, int]:
    child = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.emulator.residency",
            flag,
            str(threads),
            str(rounds),
            *map(str, paths),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=250,
        check=True,
    )
    found: dict[str, int] = json.loads(child.stdout)
    return {**found, "growth": found["rest"] - found["built"]}


@pytest.fixture(scope="module")
def convolutions(tmp_path_factory) -> tuple[Path, ...]:
    """Four models of small weights and peaks of about 10, 6, 4 and 2 MiB."""
    folder = tmp_path_factory.mktemp("convolutions")
    return tuple(
        models.write_conv(folder, f"c{size}", rows=1, size=(size, size), maps=32, seed=size)
        for size in (200, 160, 120, 90)
    )


def test_a_shared_workspace_grows_the_process_by_the_largest_only(convolutions):
    found = run("SHARE_WEIGHT_WORKSPACE", 2, convolutions)
    assert found["workspace"] > 9 * MIB
    assert found["growth"] <= 1.05 * (found["workspace"] + found["io"])


def test_the_same_models_alone_grow_it_several_times_as_much(convolutions):
    shared = run("SHARE_WEIGHT_WORKSPACE", 2, convolutions)
    alone = run("none", 2, convolutions)
    assert alone["workspace"] == 0
    assert alone["growth"] > 2.5 * shared["growth"]
    assert alone["growth"] <= 1.1 * (alone["private"] + alone["io"])


def test_the_order_of_runs_does_not_matter(convolutions):
    found = run("SHARE_WORKSPACE", 1, convolutions[::-1], rounds=2)
    assert found["growth"] <= 1.05 * (found["workspace"] + found["io"])


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Path:
    """A model of 32 MiB of MatMul weights and next to no work memory."""
    folder = tmp_path_factory.mktemp("wide")
    return models.write_mlp(folder, "wide", rows=1, width=2048, layers=2)


def test_five_objects_of_one_file_hold_one_copy_of_the_weights(wide):
    one = run("none", 1, (wide,), rounds=1)
    five = run("SHARE_WEIGHT", 5, (wide,), rounds=1)
    assert five["weights"] == one["weights"] > 30 * MIB
    assert five["rest"] - one["rest"] <= 0.10 * one["weights"]


def test_five_objects_without_sharing_hold_five_copies(wide):
    one = run("none", 1, (wide,), rounds=1)
    five = run("SHARE_WORKSPACE", 5, (wide,), rounds=1)
    assert five["rest"] - one["rest"] >= 3.5 * one["weights"]
