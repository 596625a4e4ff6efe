"""``orchestrator doctor`` on this machine: a line for each thing, and exit code 1 for faults."""

import json
import os
from pathlib import Path

import pytest

from actors.machine.environment import Machine
from actors.machine.node import NodeReport, examine
from actors.machine.npusmi import parse_cards
from orchestrator.cli import main
from orchestrator.report.doctor import doctor_document, doctor_lines, node_findings

SMI = Path(__file__).parents[1] / "card" / "npusmi"


def report(name, usable=2):
    return NodeReport("node-a", (), parse_cards((SMI / f"{name}.txt").read_text()), usable)


def test_cards_with_what_is_free_and_who_holds_the_rest():
    found = node_findings(report("910b4"), "NPU", 2.0)
    assert list(doctor_lines([found])) == [
        "node-a:",
        "  ok   card 0 (910B4): 5.8 GiB free of 32.0 GiB; VLLMWorker_TP (pid 669096) holds 23.3 "
        "GiB; unnamed (pid 669153) holds 107.0 MiB; driver and system hold 2.8 GiB",
        "  FIX  card 1 (910B4): found health Alarm, 29.2 GiB free of 32.0 GiB; driver and system "
        "hold 2.8 GiB, wanted health OK: npu-smi info -t health shows its fault; do not plan for "
        "it until then",
        "  ok   Ray resource NPU: found 2, wanted 2, as many as cards",
        "1 to fix on 1 of 1 node",
    ]


def test_ray_that_offers_another_number_of_cards():
    (*_, finding) = node_findings(report("310p"), "NPU", 8.0).findings
    assert str(finding) == (
        "Ray resource NPU: found 8, wanted 2, as many as cards: start Ray on this node with "
        "--resources='{\"NPU\": 2}'"
    )


def test_emulated_resources_of_a_machine_without_cards_are_no_fault():
    assert node_findings(NodeReport("laptop", ()), "NPU", 2.0).findings == ()


def test_several_nodes_and_json():
    nodes = [node_findings(report("310p"), "NPU", 2.0), node_findings(report("a3"), "NPU", 1.0)]
    assert list(doctor_lines(nodes))[-1] == "1 to fix on 1 of 2 nodes"
    told = json.loads(json.dumps(doctor_document(nodes)))
    assert told["ok"] is False
    assert told["nodes"][1]["cards"][1] == {
        "npu_id": 15,
        "chip": "Ascend910",
        "health": "OK",
        "total_bytes": 65536 << 20,
        "free_bytes": (65536 - 31877) << 20,
        "holders": [{"pid": 632268, "name": "python3.1", "bytes": 28900 << 20}],
    }
    assert told["nodes"][0]["findings"][0] == {
        "subject": "card 0 (310P3)",
        "found": "19.2 GiB free of 21.0 GiB; driver and system hold 1.8 GiB",
        "wanted": "",
        "fix": "",
        "ok": True,
    }


@pytest.fixture
def doctor(capsys, monkeypatch, tmp_path):
    """Run it for this machine alone, with ``npu-smi`` a program that prints this sample."""

    def run(*options, sample=None):
        tool = tmp_path / "npu-smi"
        tool.write_text(f"#!/bin/sh\ncat {SMI / sample}.txt\n" if sample else "#!/bin/sh\nexit 9\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        code = main(["doctor", "--address", "local", *options])
        return code, *capsys.readouterr()

    return run


needs_no_card = pytest.mark.skipif(
    bool(Machine().device_files()), reason="this machine has a card, and is looked at as it is"
)


@needs_no_card
def test_a_machine_with_no_card(doctor):
    code, out, err = doctor()
    assert (code, err) == (0, "")
    assert "  ok   cards: no card here: emulated and cpu kinds only\n" in out
    assert out.endswith("nothing to fix on 1 node\n")


@needs_no_card
def test_cards_that_are_listed_and_cannot_be_opened(doctor):
    code, out, err = doctor(sample="310p")
    assert (code, err) == (1, "")
    assert (
        "  FIX  cards: found 0 of 0 /dev/davinci files, wanted at least 1 that this process may "
        "see: npu-smi info shows the cards; a container needs their devices\n"
    ) in out
    assert "  ok   card 3 (310P3): 19.2 GiB free of 21.0 GiB; driver and system hold 1.8 GiB" in out
    code, out, _ = doctor("--json", sample="310p")
    assert (code, json.loads(out)["ok"]) == (1, False)


def test_a_cluster_that_nobody_runs(capsys):
    assert main(["doctor", "--address", "127.0.0.1:1"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: Ray at 127.0.0.1:1: nobody answers (")
    assert err.endswith("): is the head running, and is this its port?\n")


def test_this_machine_can_be_examined_as_it_is():
    assert examine().host
