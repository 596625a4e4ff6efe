"""``examples/ray_job``: a job handed to a head that this test starts, with token authentication."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from onnxruntime import InferenceSession

from examples.ray_job.prepare import main as prepare
from examples.ray_job.submit import HERE, refused, token_here
from orchestrator.cli import main
from orchestrator.runtime.io.inputs import open_source

TOKEN = "0123456789abcdef0123456789abcdef"
#: What has Ray's dashboard, which would slow down all other tests; see the Makefile.
PYTHON = Path(sys.prefix, "layer", "bin", "python")
RAY = [PYTHON, "-m", "ray.scripts.scripts"]
#: Ray keeps 10002 to 19999 for its workers.
PORTS = range(23000, 32000)


def free_ports(count: int) -> list[int]:
    found = []
    for port in PORTS[os.getpid() % 5000 :]:
        with closing(socket.socket()) as one, suppress(OSError):
            one.bind(("", port))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no port is free")


@contextmanager
def head_process() -> Iterator[str | None]:
    """A head that asks for a token: its dashboard; None if Ray was not in time with its start."""
    gcs, dashboard, agent = free_ports(3)
    settings = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": f"{PYTHON.parent}:{os.environ['PATH']}",
    }
    with tempfile.TemporaryDirectory(prefix="h", dir="/tmp") as folder:
        words = f"""start --head --block --port={gcs} --dashboard-port={dashboard}
            --dashboard-agent-listen-port={agent} --temp-dir={folder} --num-cpus=4
            --object-store-memory=100000000 --disable-usage-stats --include-dashboard=true"""
        log = Path(folder, "head.log")
        with log.open("w") as out:
            process = subprocess.Popen(
                [*RAY, *words.split(), '--resources={"NPU": 2}'],
                env={**os.environ, **settings},
                stdout=out,
                stderr=out,
            )
        try:
            while process.poll() is None and "runtime started" not in log.read_text():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=0.1)
            yield f"http://127.0.0.1:{dashboard}" if process.poll() is None else None
        finally:
            family: list[psutil.Process] = []
            with suppress(psutil.NoSuchProcess):
                family = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
            for one in (process, *family):
                with suppress(psutil.NoSuchProcess):
                    one.kill()


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    """The address of its dashboard. Ray's own limit for a start is tight on a busy machine."""
    if not PYTHON.exists():
        pytest.skip("needs ray[default], which make test installs")
    for _ in range(3):
        with head_process() as address:
            if address is not None:
                while problem := refused(address, TOKEN):
                    assert "nobody answers" in problem or "answers with 5" in problem
                    time.sleep(0.1)
                yield address
                return
    pytest.fail("Ray did not start")


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """The example's folder as its documentation says to make it ready, with ``rows.jsonl``."""
    folder = tmp_path / "ray_job"
    shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("__pycache__", "models"))
    prepare([str(tmp_path / "rows.jsonl"), "--folder", str(folder)])
    return folder


def submit(address: str, folder: Path, *run: str, token: str) -> "subprocess.CompletedProcess[str]":
    words = ["--address", address, "--working-dir", str(folder), "--", *run]
    return subprocess.run(
        [PYTHON, "-m", "examples.ray_job.submit", *words],
        env={**os.environ, "RAY_AUTH_TOKEN": token, "RAY_AUTH_TOKEN_PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )


CONNECTS = """
import sys
import numpy as np
from orchestrator import NoSuchDeploymentError, Orchestrator
from orchestrator.cli import main

x = np.load("x.npy")
if sys.argv[1] == "starts":
    assert main(["up", "deployment.yaml"]) == 0
with Orchestrator.connect("embed") as running:
    answers = running.model("embed").map({"x": x[i : i + 1]} for i in range(len(x)))
    np.save(sys.argv[2], np.concatenate([one["y"] for one in answers]))
if sys.argv[1] == "ends":
    assert main(["down", "embed"]) == 0
    try:
        Orchestrator.connect("embed").start()
    except NoSuchDeploymentError as error:
        print(error)
"""


def test_jobs_start_join_and_end_a_deployment(head: str, shipped: Path, tmp_path: Path) -> None:
    (shipped / "connects.py").write_text(CONNECTS)
    x = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float32)
    np.save(shipped / "x.npy", x)
    for does in ("starts", "ends"):
        words = ["--", "python", "connects.py", does, tmp_path / f"{does}.npy"]
        job = subprocess.run(
            [*RAY, "job", "submit", "--address", head, "--working-dir", shipped, *words],
            env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN},
            capture_output=True,
            text=True,
            check=False,
        )
        assert job.returncode == 0, job.stdout + job.stderr
    assert "no deployment 'embed' runs in this cluster" in job.stdout
    model = InferenceSession(shipped / "models" / "embed.onnx", providers=["CPUExecutionProvider"])
    wanted = np.concatenate([model.run(None, {"x": x[i : i + 4]})[0] for i in range(0, 20, 4)])
    for does in ("starts", "ends"):
        assert np.allclose(np.load(tmp_path / f"{does}.npy"), wanted, atol=1e-5)


def test_a_job_from_a_laptop(head: str, shipped: Path, tmp_path: Path) -> None:
    for token, told in (("", "asks for a token"), ("f" * 32, "does not accept the token of this")):
        denied = submit(head, shipped, "deployment.yaml", token=token)
        assert (denied.returncode, denied.stdout) == (1, "")
        assert f"error: {head}: the cluster {told}" in denied.stderr
        assert "copy ~/.ray/auth_token from its head node here" in denied.stderr

    source, out = tmp_path / "rows.jsonl", tmp_path / "out"
    run = ["deployment.yaml", "--pipeline", "pipeline:embed", "--output", str(out), "--input"]
    failed = submit(head, shipped, *run, str(tmp_path / "none.jsonl"), token=TOKEN)
    assert failed.returncode == 1
    assert f"error: {tmp_path}/none.jsonl: no such file or folder" in failed.stdout + failed.stderr

    done = submit(head, shipped, *run, str(source), "--part-size", "20kB", token=TOKEN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"1000 of 1000 records read into {out}" in (done.stdout + done.stderr).replace("\n", " ")
    lengths = np.linalg.norm(np.stack(pq.read_table(out)["y"].to_numpy()), axis=1)
    assert np.allclose(lengths, 1)


def test_the_example_is_made_ready_and_fits_its_deployment(shipped: Path, tmp_path: Path) -> None:
    assert main(["check", str(shipped / "deployment.yaml")]) == 0
    assert open_source(tmp_path / "rows.jsonl").columns.keys() == {"x"}


def test_where_a_token_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    path = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    assert token_here(path) == "abc"
    assert token_here({**path, "RAY_AUTH_TOKEN": "def"}) == "def"
    assert token_here({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")}) == ""


def test_an_address_where_nobody_answers() -> None:
    (port,) = free_ports(1)
    assert "is the head running" in refused(f"http://127.0.0.1:{port}", "")
    assert "is the head running" in refused("nonsense", "")
