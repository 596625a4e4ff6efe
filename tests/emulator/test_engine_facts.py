"""What the emulator relies on in ONNX Runtime and versions differ in, for the one installed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from actors.emulator.arena import CAPPED, Arena
from actors.emulator.measure import _REGION, _engine_log
from tests import models

WIDTH = 256
ROWS = (4, WIDTH)
IMAGE = (2, 3, 64, 64)


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    """2.1 MB of weights, and a few kilobytes of work memory."""
    path = models.write_mlp(tmp_path, "mlp", rows=ROWS[0], width=WIDTH, layers=8)
    return path.with_suffix(".onnx")


@pytest.fixture
def conv(tmp_path: Path) -> Path:
    """20 kB of weights, which the engine lays out anew, and 1 MB of work memory."""
    return models.write_conv(tmp_path, "conv", rows=2, size=IMAGE[2:]).with_suffix(".onnx")


def test_the_engine_tells_its_maker_nothing(mlp: Path, tmp_path: Path):
    """Its telemetry leaves a file with the name of the session where temporary files go."""
    empty = tmp_path / "empty"
    empty.mkdir()
    silenced = ("ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "CI")
    env = {name: value for name, value in os.environ.items() if name not in silenced}
    code = f"from actors.emulator.arena import Arena; Arena(1 << 20).open({str(mlp)!r})"
    subprocess.run(
        [sys.executable, "-c", code],
        env={**env, "TMPDIR": str(empty), "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    assert list(empty.iterdir()) == []


def regions(path: Path, shape: tuple[int, ...], nbytes: int, sessions: int) -> list[int]:
    """Sizes of the regions that one arena has taken once every session in it has run."""
    x = np.ones(shape, np.float32)
    y = np.empty_like(x)
    with _engine_log() as log:
        arena = Arena(nbytes)
        engines = [arena.open(path) for _ in range(sessions)]
        for engine in engines:
            engine.run({"x": x}, {"y": y})
    return [int(end, 16) - int(begin, 16) for begin, end in _REGION.findall(log.getvalue())]


def test_weights_lie_outside_the_arena_of_all_sessions(mlp: Path):
    assert regions(mlp, ROWS, 64 << 10, sessions=5) == [64 << 10]


def test_weights_laid_out_anew_do_not_shrink_the_arena(conv: Path):
    assert regions(conv, IMAGE, 1 << 20, sessions=20) == [1 << 20]


def test_an_arena_refuses_what_it_cannot_hold_or_takes_it_from_elsewhere(mlp: Path):
    if CAPPED:
        with pytest.raises(Exception, match="Available memory of"):
            regions(mlp, ROWS, 1024, sessions=1)
    else:
        assert len(regions(mlp, ROWS, 1024, sessions=1)) > 1


def test_measuring_reads_the_engine_log_and_gives_standard_error_back(mlp: Path):
    code = (
        "import sys, actors.emulator.measure as m; from pathlib import Path; import numpy as np\n"
        f"feeds = {{'x': np.ones({ROWS}, np.float32)}}\n"
        f"answer = m.measure(Path({str(mlp)!r}), feeds, bound=True)\n"
        "print(answer['workspace'], file=sys.stderr)\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100
    )
    assert child.stdout == ""
    assert 2 * 4 * WIDTH <= int(child.stderr) <= 64 << 10
