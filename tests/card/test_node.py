"""A machine as ``doctor`` sees it: with cards, without, with the tool broken."""

import sys
from pathlib import Path

import pytest

from actors.machine.environment import Machine
from actors.machine.node import examine
from actors.machine.npusmi import SmiError, parse_cards
from tests.card.test_environment import machine

SMI = Path(__file__).with_name("npusmi")


def no_tool():
    raise SmiError("npu-smi is not on the PATH")


def lines(report, *, ok):
    return [str(finding) for finding in report.findings if finding.ok is ok]


def test_a_machine_with_no_card_needs_nothing(tmp_path):
    versions = {"numpy": "2.1.0", "ray": "2.55.1"}
    python = (3, 11 if sys.version_info[:2] == (3, 12) else 12)  # not the one of this process
    report = examine({}, machine=Machine(tmp_path, python, versions.get), read=no_tool)
    assert (report.cards, report.usable) == ((), 0)
    assert lines(report, ok=False) == []
    assert lines(report, ok=True) == [
        f"Python: found 3.{python[1]}, wanted 3.10 to 3.12",
        "ray: found 2.55.1, wanted 2.50 or later",
        "numpy: 2.1.0",
        "mindspore_lite: found none, wanted only for kinds ascend and cpu",
        "onnxruntime: found none, wanted only for kind emulated",
        "cards: no card here: emulated and cpu kinds only",
    ]


def test_a_library_that_is_there_must_be_importable(tmp_path):
    versions = {"numpy": "1.26.4", "ray": "2.60.0", "mindspore-lite": "2.7.0"}
    there = Machine(tmp_path, (3, 11), versions.get)
    report = examine({"ASCEND_HOME_PATH": "/opt/gone"}, machine=there, read=no_tool)
    (line,) = lines(report, ok=False)
    assert line.startswith("ASCEND_HOME_PATH: found /opt/gone, which does not exist, wanted CANN's")


@pytest.mark.parametrize(
    ("versions", "python", "line"),
    [
        (
            {"ray": "2.40.0"},
            (3, 11),
            "ray: found 2.40.0, wanted 2.50 or later: pip install 'ray>=2.50'",
        ),
        ({}, (3, 11), "ray: found none, wanted 2.50 or later: pip install 'ray>=2.50'"),
        (
            {"ray": "2.60.0"},
            (3, 9),
            "Python: found 3.9, wanted 3.10 to 3.12: install Python 3.10 to 3.12",
        ),
    ],
)
def test_what_the_project_itself_asks_for(tmp_path, versions, python, line):
    there = Machine(tmp_path, python, {"numpy": "1.26.4", **versions}.get)
    assert lines(examine({}, machine=there, read=no_tool), ok=False) == [line]


def test_cards_and_how_many_of_them_may_be_used(tmp_path):
    cards = parse_cards((SMI / "910b4.txt").read_text())
    env = {"ASCEND_RT_VISIBLE_DEVICES": "1"}
    report = examine(env, machine=machine(tmp_path, ray="2.60.0"), read=lambda: cards)
    assert (report.cards, report.usable) == (cards, 1)
    assert "cards: found 1 of 2 /dev/davinci files (ASCEND_RT_VISIBLE_DEVICES=1), wanted at " in (
        "\n".join(lines(report, ok=True))
    )


def test_cards_that_the_tool_cannot_list(tmp_path):
    report = examine({}, machine=machine(tmp_path, ray="2.60.0"), read=no_tool)
    assert (report.cards, report.usable) == ((), 2)
    assert lines(report, ok=False)[0] == (
        "npu-smi: found npu-smi is not on the PATH, wanted a list of the cards: put the driver's "
        "npu-smi on the PATH; a container needs it mounted"
    )


def test_a_list_that_cann_would_misread_leaves_no_card_to_use(tmp_path):
    env = {"ASCEND_RT_VISIBLE_DEVICES": "1, 0"}
    report = examine(env, machine=machine(tmp_path, ray="2.60.0"), read=no_tool)
    assert report.usable == 0
    assert any("numbers, commas, no spaces" in line for line in lines(report, ok=False))
