"""``orchestrator run``: what a user sees when something is wrong, and a whole job on two cards."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from PIL import Image

from orchestrator import Orchestrator, load_deployment
from orchestrator.cli import main
from orchestrator.jobs import Outcome
from orchestrator.runtime.cluster.connect import connect
from tests.models import write_mlp
from tests.rejected import rejected

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

    assert told(tmp_path / "none", out) == f"error: {tmp_path}/none: no such file or folder\n"
    assert "nothing in it (1 file) has a known ending (images: .png" in told(deployment, out)
    assert f"{empty}: holds no file" in told(empty, out)
    assert f"{pages}/out: lies inside the input {pages}" in told(pages, pages / "out")
    assert not out.exists()
    assert "is a file; the output is a folder" in told(pages, deployment)
    (empty / "notes.txt").touch()
    assert "is not empty, and finished work is never written over" in told(pages, empty)


def test_a_deployment_that_cannot_be_used(capsys, pages, tmp_path):
    options = ("--pipeline", PIPELINE, "--input", pages, "--output", tmp_path / "out")
    assert "none.yaml" in refused(capsys, tmp_path / "none.yaml", *options)
    (tmp_path / "plan.json").write_text("{}")
    assert "not a plan bundle" in refused(capsys, tmp_path / "plan.json", *options)


def test_a_name_that_nothing_is_called(capsys, pages, deployment, tmp_path):
    options = ("--pipeline", PIPELINE, "--input", pages, "--output", tmp_path / "out")
    assert "none is named: give its file, or --name of one that is up" in refused(capsys, *options)
    told = refused(capsys, "sums", "--name", "other", *options)
    assert "--name other: the deployment is called sums already" in told


def test_a_folder_does_not_hide_the_deployment_of_its_name(capsys, pages, tmp_path, monkeypatch):
    (tmp_path / "sums").mkdir()
    monkeypatch.chdir(tmp_path)
    options = ("--pipeline", PIPELINE, "--input", pages, "--output", tmp_path / "out")
    told = refused(capsys, "sums", "--name", "other", *options)
    assert "--name other: the deployment is called sums already" in told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "a job has one of the two, --model or --pipeline"),
        (["--model", "mlp", "--pipeline", PIPELINE], "has one of the two, --model or --pipeline"),
        (["--model", "mpl"], "sums: there is no model 'mpl', did you mean 'mlp'?"),
        (["--model", "mlp", "--column", "x"], "--column x: is written as INPUT=COLUMN"),
        (["--model", "mlp", "--column", "x=z"], "has no column 'z', there are: path, image, reco"),
        (["--model", "mlp", "--id", "z"], "has no column 'z', there are: path, image, record_id"),
        (["--pipeline", PIPELINE, "--id", "path"], "--column and --id go with --model"),
        (["--model", "mlp", "--on-error", "stop"], "on error 'stop' is none of fail, skip"),
        (
            ["--model", "mlp", "--max-errors", "few"],
            "bad records: max errors 'few': expected a count",
        ),
        (
            ["--pipeline", PIPELINE, "--part-size", "1MiB"],
            "part size 1MiB: a part holds so many records",
        ),
        (["--model", "mlp", "--output-format", "csv"], "csv: no such output format, there are: p"),
    ],
)
def test_options_that_cannot_be(capsys, pages, deployment, tmp_path, options, message):
    out = tmp_path / "out"
    assert message in refused(capsys, deployment, "--input", pages, "--output", out, *options)
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--column", "y=v"], "model mlp: has no input 'y', there are: x"),
        (["--column", "X=v"], "model mlp: has no input 'X', there are: x"),
        ([], "no column 'x' for its input x, there are: key, name, v; --column x=COLUMN names one"),
        (["--column", "x=name"], "input x takes float32, and column name holds string"),
        (
            ["--column", "x=v"],
            "input x takes float32 of shape (8), and column v holds fixed_size_l",
        ),
    ],
)
def test_columns_that_the_model_does_not_take_are_told_before_a_card_starts(
    capsys, deployment, tmp_path, options, message
):
    rows = {
        "key": [1, 2],
        "name": ["a", "b"],
        "v": pa.array([[1.0] * 7] * 2, pa.list_(pa.float32(), 7)),
    }
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    words = ["--input", tmp_path / "rows.parquet", "--output", tmp_path / "out", "--model", "mlp"]
    assert message in refused(capsys, deployment, *words, *options)
    assert not (tmp_path / "out").exists()


def test_what_the_command_says_is_looked_at_before_the_input(capsys, deployment, tmp_path):
    (tmp_path / "empty").mkdir()
    words = [deployment, "--input", tmp_path / "empty", "--output", tmp_path / "out", "--model"]
    assert "there is no model 'mpl', did you mean 'mlp'?" in refused(capsys, *words, "mpl")
    assert "max errors 'x'" in refused(capsys, *words, "mlp", "--max-errors", "x")
    assert "holds no file, at any depth" in refused(capsys, *words, "mlp")


def test_the_named_deployment_is_used_if_it_is_up_and_else_the_file(
    cluster, capsys, pages, deployment, tmp_path
):
    def ran(out):
        options = ["--pipeline", PIPELINE, "--input", str(pages), "--output", str(tmp_path / out)]
        assert main(["run", str(deployment), "--name", "standing", *options]) == 0
        return json.loads((tmp_path / out / "_summary.json").read_text())["deployment"]

    assert ran("one") == "sums"
    told = "this job starts the deployment of its file: no deployment 'standing' runs in this"
    assert told in capsys.readouterr().err
    standing = tmp_path / "standing.yaml"
    standing.write_text(deployment.read_text().replace("name: sums", "name: standing"))
    assert main(["up", str(standing)]) == 0
    try:
        assert ran("two") == "standing"
    finally:
        assert main(["down", "standing"]) == 0


async def interrupted(batch, models):
    """Tells when it has page 12, and computes on the event loop, or waits, until it may go on."""
    mark = Path(os.environ["MARK"])
    if batch["path"][0] == "12.png" and not mark.exists():
        mark.touch()
        while not mark.with_name("go").exists():
            if os.environ["COMPUTING"]:
                time.sleep(0.01)
            else:
                await asyncio.sleep(0.01)
    answer = await sums(batch, models)
    with mark.with_name("done").open("a") as done:
        done.writelines(f"{path}\n" for path in batch["path"])
    return answer


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_of_a_job_in_its_terminal(cluster, capsys, pages, deployment, tmp_path, times):
    out, mark = tmp_path / "out", tmp_path / "mark"
    options = ["--pipeline", "tests.cli.test_run:interrupted", "--input", str(pages)]
    options += ["--output", str(out), "--in-flight", "1", "--workers", "0", "--part-size", "4"]
    settings = {
        "MARK": str(mark),
        "COMPUTING": "" if times == 1 else "yes",
        "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "run", str(deployment), *options],
        env={**os.environ, **settings},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not mark.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert any("Ctrl-C again stops at once" in line for line in process.stderr)
    if times == 1:
        mark.with_name("go").touch()
    else:
        process.send_signal(signal.SIGINT)
    told = process.communicate()[1]
    assert process.returncode == (1 if times == 1 else 130), told
    document = json.loads((out / "_summary.json").read_text())
    assert document["outcome"] == "interrupted"
    read = set(pq.read_table(out)["page"].to_pylist())
    assert read == {f"{page:02d}.png" for page in range(12)}, "parts that are whole, and no other"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARK", str(mark))
        assert main(["run", str(deployment), *options, "--resume"]) == 0
    assert len(set(pq.read_table(out)["page"].to_pylist())) == PAGES
    if times == 1:  # the page that was in flight was done, and saved without its part
        assert sorted(mark.with_name("done").read_text().split()) == [
            f"{page:02d}.png" for page in range(PAGES)
        ]


def test_columns_that_the_deployment_names(cluster, capsys, deployment, tmp_path):
    rows = np.random.default_rng(2).random((20, 8), np.float32)
    lines = [json.dumps({"key": key, "v": row.tolist()}) for key, row in enumerate(rows)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    text = deployment.read_text()
    deployment.write_text(text.replace("replicas: 2,", "replicas: 2, columns: {x: v},"))
    words = ["run", str(deployment), "--input", str(tmp_path / "rows.jsonl")]
    assert main([*words, "--output", str(tmp_path / "out"), "--model", "mlp", "--id", "key"]) == 0
    table = pq.read_table(tmp_path / "out")
    (expected,) = onnxruntime.InferenceSession(tmp_path / "mlp.onnx").run(None, {"x": rows})
    assert table["key"].to_pylist() == list(range(20))
    np.testing.assert_allclose(np.stack(table["y"].to_numpy()), expected, rtol=1e-5)


def test_a_model_over_lines_without_a_pipeline(cluster, capsys, deployment, tmp_path):
    """A bad line and a row of the wrong width, in one of two files."""
    rows = np.random.default_rng(1).random((300, 8), np.float32)
    lines = [json.dumps({"key": key, "v": row.tolist()}) for key, row in enumerate(rows)]
    lines[30], lines[40] = "broken", json.dumps({"key": 40, "v": [1.0] * 7})
    folder, out = tmp_path / "rows", tmp_path / "out"
    folder.mkdir()
    (folder / "a.jsonl").write_text("\n".join(lines[:100]))
    (folder / "b.jsonl").write_text("\n".join(lines[100:]))
    options = ["--model", "mlp", "--column", "x=v", "--id", "key", "--id", "record_id"]
    options += ["--output-format", "jsonl", "--part-size", "10kB"]
    words = ["run", str(deployment), "--input", str(folder), "--output", str(out), *options]
    assert main([*words, "--max-errors", "1%"]) == 0
    assert "298 of 300 records" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    assert f"nothing left to do: the job in {out} is complete" in capsys.readouterr().err
    found = [row for part in sorted(out.glob("part-*")) for row in json_lines(part)]
    assert [row["key"] for row in found] == [key for key in range(300) if key not in (30, 40)]
    assert found[0]["record_id"] == "a.jsonl@0"
    reasons = " ".join(row["reason"] for row in rejected(out))
    assert "JSON parse error" in reasons
    assert "model mlp: shape x (1, 7) fits no gear" in reasons
    (expected,) = onnxruntime.InferenceSession(tmp_path / "mlp.onnx").run(None, {"x": rows})
    kept = np.delete(expected, (30, 40), axis=0)
    np.testing.assert_allclose([row["y"] for row in found], kept, rtol=1e-5)


def json_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


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
    job = running.run(pages, out, pipeline=pipeline, in_flight=6)
    summary = job.wait()
    assert (job.done, job.progress.complete) == (True, True)
    assert job.report() is summary
    return summary
