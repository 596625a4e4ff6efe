"""``orchestrator run``: what a user sees when something is wrong, and a whole job on two cards."""

import contextlib
import json
import os
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from orchestrator import Orchestrator, load_deployment
from orchestrator.cli import main
from orchestrator.jobs import Job, Outcome
from orchestrator.runtime.connect import connect
from orchestrator.runtime.io.images import ImageFolder
from orchestrator.runtime.io.parquet import ParquetFolder
from orchestrator.runtime.runner import run_job
from tests.models import write_mlp

PIPELINE = "tests.cli.test_run:sums"
PAGES = 24


async def sums(batch, models):
    """Four requests a page, so that many are in flight: rows of the page through a small model."""
    (image,) = batch["image"]
    rows = image[:4, :, 0].astype(np.float32)
    answers = [await models.mlp.predict_async({"x": row[None]}) for row in rows]
    return {
        "page": np.repeat(batch["path"], len(rows)),
        "y": np.concatenate([answer["y"] for answer in answers]),
    }


def not_async(batch, models):
    return {}


@pytest.fixture
def pages(tmp_path):
    folder = tmp_path / "pages"
    folder.mkdir()
    shades = np.random.default_rng(0).integers(0, 255, (PAGES, 4, 8), np.uint8)
    for index, shade in enumerate(shades):
        Image.fromarray(shade).save(folder / f"{index:02d}.png")
    return folder


@pytest.fixture
def deployment(tmp_path):
    """One small model on two cards, 10 ms a call."""
    write_mlp(tmp_path, "mlp", width=8, gears=(1, 4))
    path = tmp_path / "deployment.yaml"
    path.write_text("""
        name: sums
        cards: {kind: emulated, count: 2, capacity: 64MiB}
        models:
          - {name: mlp, path: mlp.mindir, replicas: 2, emulated: {execute: 10ms}}
    """)
    return path


@pytest.fixture(scope="module")
def cluster():
    """A Ray with two cards, which this process is connected to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        connection = connect("local", resources={"NPU": 2}, object_store_bytes=100 << 20)
        yield
        connection.close()


def refused(capsys, *arguments):
    """The one line that a refused run prints."""
    assert main(["run", *map(str, arguments)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ("sums", "sums: a pipeline is named as module:function"),
        ("nowhere.at.all:f", "cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("tests.cli.test_run:f", "module tests.cli.test_run has no f"),
        ("tests.cli.test_run:not_async", "a pipeline is an `async def f(batch, models)`"),
    ],
)
def test_a_pipeline_that_cannot_be_used(capsys, pages, deployment, tmp_path, pipeline, message):
    out = tmp_path / "out"
    options = ("--pipeline", pipeline, "--input", pages, "--output", out)
    assert message in refused(capsys, deployment, *options)
    assert not out.exists()


def test_inputs_and_outputs_that_cannot_be_used(capsys, pages, deployment, tmp_path):
    out, empty = tmp_path / "out", tmp_path / "empty"
    empty.mkdir()

    def told(source, sink):
        options = ("--pipeline", PIPELINE, "--input", source, "--output", sink)
        return refused(capsys, deployment, *options)

    assert told(tmp_path / "none", out) == f"error: {tmp_path}/none: no such folder\n"
    assert "is a file; the input is a folder of images" in told(deployment, out)
    assert f"{empty}: there is no image in it" in told(empty, out)
    assert not out.exists()
    assert "is a file; the output is a folder" in told(pages, deployment)
    assert "is not empty, and finished work is never written over" in told(pages, pages)


def test_a_deployment_that_cannot_be_used(capsys, pages, tmp_path):
    options = ("--pipeline", PIPELINE, "--input", pages, "--output", tmp_path / "out")
    assert "none.yaml" in refused(capsys, tmp_path / "none.yaml", *options)
    (tmp_path / "plan.json").write_text("{}")
    assert "not a plan bundle" in refused(capsys, tmp_path / "plan.json", *options)


def test_a_job_from_the_command_line(cluster, capsys, pages, deployment, tmp_path):
    (pages / "07.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    options = ["--pipeline", PIPELINE, "--input", str(pages), "--output", str(out)]
    assert main(["run", str(deployment), *options]) == 0
    error = capsys.readouterr().err
    assert f"{PAGES - 1} of {PAGES} records read into {out}" in error.replace("\n", " ")
    assert "07.png: cannot be read: cannot identify image file" in error
    assert len(set(pq.read_table(out)["page"].to_pylist())) == PAGES - 1
    document = json.loads((out / "_summary.json").read_text())
    assert document["rejects"][0]["record"] == "07.png"
    assert document["answered"] == {"mlp": 4 * (PAGES - 1)}
    assert sum(card["requests"]["mlp"] for card in document["cards"]) == 4 * (PAGES - 1)
    for card in document["cards"]:
        assert card["planned_bytes"] == card["measured_bytes"]
        assert card["planned_bytes"]["total"] <= card["unshared_bytes"]["total"]
    assert {entry["card"] for entry in document["plan"]["plan"]} == {"local/0", "local/1"}


def test_a_card_killed_in_the_middle_loses_nothing_and_repeats_nothing(pages, deployment, tmp_path):
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    with Orchestrator(load_deployment(deployment), batch=True) as running:
        assert job(pages, undisturbed, running, sums).outcome is Outcome.COMPLETE
        victims = [card.pid for card in running.status().cards][:1]

        async def murderous(batch, models):
            if batch["path"][0] == f"{PAGES // 2:02d}.png" and victims:
                os.kill(victims.pop(), signal.SIGKILL)
            return await sums(batch, models)

        summary = job(pages, disturbed, running, murderous)
    assert not victims
    assert (summary.outcome, summary.read, summary.rejects) == (Outcome.COMPLETE, PAGES, ())
    left, right = pq.read_table(disturbed), pq.read_table(undisturbed)
    assert left["page"].equals(right["page"])
    # The last digit of a row depends on the gear that it ran in, hence on who it was joined with.
    np.testing.assert_allclose(left["y"].to_pylist(), right["y"].to_pylist(), rtol=1e-5)


def job(pages: Path, out: Path, running: Orchestrator, pipeline):
    source, sink = ImageFolder(pages), ParquetFolder(out)
    with contextlib.closing(sink):
        sink.prepare(Job.of(source.names, source.stamp))
        return run_job(source, pipeline, running.models, sink, in_flight=6)
