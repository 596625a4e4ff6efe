"""The acceptance run of kind ascend with two cards, on stand-ins for the vendor's two packages.

All of it is what runs on a server, but for the packages: cards are found by their device files,
each trial is a process that imports both packages, two of them hold two cards at the same time.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors.claims.claims import CLAIMS
from actors.claims.networks import write_conv, write_mlp
from actors.emulator import calibration
from actors.files.onnxfile import read_constants, read_onnx
from tests.card.conftest import STANDINS
from tests.mindirs import write_mindir
from tests.oms import write_om

ROOT = Path(__file__).parents[2]
#: A /dev of its own, with the files of cards; the rest of it is the machine's.
OWN_DEV = """
set -e
mount -t tmpfs none "$1"
for name in null zero random urandom; do
    touch "$1/$name"
    mount --bind "/dev/$name" "$1/$name"
done
mkdir "$1/shm"
mount --rbind /dev/shm "$1/shm"
ln -s /proc/self/fd "$1/fd"
for card in $2; do touch "$1/davinci$card"; done
mount --rbind "$1" /dev
shift 2
exec "$@"
"""
SMI = """\
| NPU   Name    | Health | Power(W) Temp(C) |
| Chip          | Bus-Id | AICore(%)  Memory-Usage(MB) |
| 4     310P3   | OK     | NA 50 0 / 0 |
| 0     4       | 0000:01:00.0 | 0 900 / 1024 |
| 7     310P3   | OK     | NA 50 0 / 0 |
| 0     7       | 0000:02:00.0 | 0 900 / 1024 |
| NPU   Chip    | Process id | Process name | Process memory(MB) |
| 7     0       | 4711 | trainer | 64 |
"""


@pytest.fixture(scope="module")
def own_dev():
    """Skip where this user may not mount a /dev of its own."""
    tried = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("needs a mount namespace: unshare -rm does not work here")


@pytest.fixture
def verify(own_dev, tmp_path):
    """Run the command on a machine with these device files; what it ended with and printed."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "bin").mkdir()

    def run(cards, *options, command=None):
        env = {
            **os.environ,
            "PYTHONPATH": f"{STANDINS}{os.pathsep}{ROOT}",
            "STANDIN_CARDS": str(len(cards.split())),
            "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }
        for name in ("ASCEND_HOME_PATH", "ASCEND_CUSTOM_PATH", "ASCEND_RT_VISIBLE_DEVICES"):
            env.pop(name, None)
        orchestrator = "import sys; from orchestrator.cli import main; sys.exit(main())"
        command = command or [sys.executable, "-c", orchestrator, "verify-card", *options]
        own = ["unshare", "-rm", "sh", "-c", OWN_DEV, "sh", str(tmp_path / "dev"), cards]
        return subprocess.run(
            [*own, *command], env=env, capture_output=True, text=True, check=False, cwd=tmp_path
        )

    return run


def compiled(path: str, convert: bool = True) -> str:
    """The MindIR of a network: converted for Ascend, or for GE with its constants as they are."""
    file = Path(path)
    onnx = file.with_suffix(".onnx")
    shapes = {spec.name: spec.shape for spec in read_onnx(onnx).inputs}
    found = calibration(path, "", {})
    om = write_om(shapes, workspace=found.workspace_bytes, weights=found.weight_bytes)
    data = onnx.read_bytes()
    constants = {
        one.name: data[one.offset : one.offset + one.nbytes] for one in read_constants(onnx)
    }
    write_mindir(file, shapes, om=om if convert else None, constants={} if convert else constants)
    return path


def children(imports: Path) -> set[str]:
    """The modules in whose processes both packages were imported, all of them children."""
    seen = [json.loads(line) for line in imports.read_text().splitlines()]
    assert {one["library"] for one in seen} == {"acl", "mindspore_lite"}
    assert all(" -m actors.machine.child " in one["process"] for one in seen)
    return {one["process"].split(" actors.", 2)[2].split()[0] for one in seen}


@pytest.mark.timeout(600)
def test_every_claim_is_checked_on_two_cards_in_two_processes(verify, tmp_path):
    acl = [compiled(write_conv(tmp_path, f"conv{size}", size)) for size in (256, 224)]
    acl.append(compiled(write_mlp(tmp_path, "mlp", 1, 1024)))
    ge = [compiled(write_mlp(tmp_path, f"ge{n}", n, 1024), convert=False) for n in (1, 8)]
    done = verify("4 7", "--json", "--models", *acl, "--ge-models", *ge)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["kind"], found["card"], found["second_card"]) == ("ascend", 0, 1)
    assert found["library"] == "mindspore_lite 2.7.0"
    assert {one["name"]: one["verdict"] for one in found["claims"]} == dict.fromkeys(CLAIMS, "held")
    left = {path.name for path in tmp_path.iterdir()} - {"dev", "bin"}
    assert left == {
        Path(path).with_suffix(end).name for path in acl + ge for end in (".onnx", ".mindir")
    }


def test_a_second_card_that_somebody_uses_is_left_alone(verify, tmp_path):
    tool = tmp_path / "bin" / "npu-smi"
    tool.write_text(f"#!/bin/sh\necho '{SMI}'\n")
    tool.chmod(0o755)
    tiny = compiled(write_mlp(tmp_path, "tiny", 1, 16))
    done = verify("4 7", "--json", "--card", "0", "--models", tiny, "--ge-models", tiny)
    found = json.loads(done.stdout)
    assert found["second_card"] is None
    says = {one["name"]: one["says"] for one in found["claims"]}
    assert says["a workspace for each card"] == "card 1 is in use by trainer (pid 4711)"
    assert "warning" not in done.stderr
    done = verify("4 7", "--card", "1", "--models", tiny, "--ge-models", tiny)
    assert (
        "warning: card 1 is in use by trainer (pid 4711): what that takes or gives back is counted"
        in done.stderr
    )


def test_a_card_that_is_not_there_is_refused(verify):
    done = verify("4 7", "--card", "2")
    assert (done.returncode, done.stdout) == (1, "")
    assert "device_id 2 is out of range: this process sees 2 Ascend cards" in done.stderr
    assert "--card counts from 0 among the cards that are seen" in done.stderr
