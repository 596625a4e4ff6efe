"""Files and folders that cannot be read or written are one line and exit code 1, from any verb."""

import os
import subprocess
import sys

import pytest

from tests.models import write_mlp

DEPLOYMENT = (
    "name: d\ncards: {kind: emulated, count: 1, capacity: 64MiB}\n"
    "models:\n  - {name: m, path: m.mindir}\n"
)


@pytest.mark.parametrize(
    ("words", "cache", "message"),
    [
        (("verify-card", "--logs", "/proc/logs"), "cache", "/proc/logs: No such file or directory"),
        (("plan", "d.yaml"), "/proc/cache", "/proc/cache"),
        (("profile", "d.yaml"), "/proc/cache", "/proc/cache"),
        (("profile", "d.yaml"), "d.yaml", "d.yaml"),
        (("plan", "d.yaml", "--out", "/proc/plan.json"), "cache", "/proc/plan.json: cannot be wri"),
        (("plan", "d.yaml", "--profiles", "/proc/self/mem"), "cache", "/proc/self/mem: cannot be"),
        (("check", "/proc/self/mem"), "cache", "/proc/self/mem: cannot be read: Input/output err"),
        (("convert", "m.onnx", "--out", "/proc/m.mindir"), "cache", "/proc/m.mindir: cannot be wr"),
    ],
)
def test_one_line_that_names_the_file(tmp_path, words, cache, message):
    write_mlp(tmp_path, "m", rows=4, width=8)
    (tmp_path / "d.yaml").write_text(DEPLOYMENT)
    code, err = run(tmp_path, words, ASCEND_ORCHESTRATOR_CACHE=cache)
    assert code == 1
    told = [line for line in err.splitlines() if not line.startswith("measuring ")]
    assert [line[:7] for line in told] == ["error: "]
    assert message in told[0]


def run(folder, words, **env):
    found = subprocess.run(
        [sys.executable, "-m", "orchestrator", *words],
        cwd=folder,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return found.returncode, found.stderr
