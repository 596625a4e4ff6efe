"""The acceptance run of kind ascend with two cards, on stand-ins for the vendor's two packages.

All of it is what runs on a server, but for the packages: cards are found by their device files,
each trial is a process that imports both packages, two of them hold two cards at the same time.
"""

import json
from pathlib import Path

import pytest

from actors.claims.claims import CLAIMS
from actors.claims.networks import write_conv, write_mlp
from actors.machine.environment import floor
from tests.ascend.machine import compiled, run, write_npu_smi

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


@pytest.fixture
def verify(own_dev, tmp_path):
    """The command on a machine with these device files."""

    def verified(cards, *options):
        return run(tmp_path, cards, "-m", "orchestrator", "verify-card", *options)

    return verified


@pytest.mark.timeout(600)
def test_every_claim_is_checked_on_two_cards_in_two_processes(verify, tmp_path):
    acl = [compiled(write_conv(tmp_path, f"conv{size}", size)) for size in (256, 224)]
    acl.append(compiled(write_mlp(tmp_path, "mlp", 1, 1024)))
    ge = [compiled(write_mlp(tmp_path, f"ge{n}", n, 1024), convert=False) for n in (1, 8)]
    done = verify("4 7", "--json", "--models", *acl, "--ge-models", *ge)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["kind"], found["card"], found["second_card"]) == ("ascend", 0, 1)
    assert found["library"] == f"mindspore_lite {max('2.7.0', floor('ascend'))}"
    assert {one["name"]: one["verdict"] for one in found["claims"]} == dict.fromkeys(CLAIMS, "held")
    left = {path.name for path in tmp_path.iterdir()} - {"dev"}
    assert left == {
        Path(path).with_suffix(end).name for path in acl + ge for end in (".onnx", ".mindir")
    }


def test_a_second_card_that_somebody_uses_is_left_alone(verify, tmp_path):
    write_npu_smi(tmp_path, SMI)
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
