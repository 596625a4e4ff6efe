"""The tables of ``npu-smi info`` as published for several products and driver releases."""

import os
from pathlib import Path

import pytest

from actors.machine.npusmi import Holder, SmiCard, SmiError, parse_cards, read_cards

SAMPLES = Path(__file__).with_name("npusmi")
MIB = 1 << 20


def sample(name):
    return (SAMPLES / f"{name}.txt").read_text()


@pytest.mark.parametrize(
    ("name", "cards"),
    [
        (
            "910b4",
            [
                SmiCard(
                    *(0, "910B4", "OK", 26838 * MIB, 32768 * MIB),
                    (
                        Holder(669096, "VLLMWorker_TP", 23888 * MIB),
                        Holder(669153, "unnamed", 107 * MIB),
                    ),
                ),
                SmiCard(1, "910B4", "Alarm", 2847 * MIB, 32768 * MIB),
            ],
        ),
        (
            "310p",
            [
                SmiCard(0, "310P3", "OK", 1851 * MIB, 21527 * MIB),
                SmiCard(3, "310P3", "OK", 1852 * MIB, 21527 * MIB),
            ],
        ),
        (
            "a3",
            [
                SmiCard(14, "Ascend910", "OK", 3143 * MIB, 65536 * MIB),
                SmiCard(
                    *(15, "Ascend910", "OK", 31877 * MIB, 65536 * MIB),
                    (Holder(632268, "python3.1", 28900 * MIB),),
                ),
            ],
        ),
        (
            "910a",  # of two kinds of memory the second is the one that models live in
            [
                SmiCard(
                    *(0, "910ProB", "OK", 30711 * MIB, 32768 * MIB),
                    (Holder(55115, "python", 30784 * MIB),),
                )
            ],
        ),
    ],
)
def test_published_tables(name, cards):
    assert list(parse_cards(sample(name))) == cards


def test_free_is_what_nobody_holds():
    assert parse_cards(sample("910b4"))[1].free_bytes == (32768 - 2847) * MIB


@pytest.mark.parametrize("text", ["", "DrvMngGetConsoleLogLevel failed", "| a | b |\n"])
def test_other_text_is_refused(text):
    with pytest.raises(SmiError, match=r"^npu-smi info printed no table of cards$"):
        parse_cards(text)


def test_a_row_that_cannot_be_read_is_named():
    broken = sample("910a").replace("910ProB", "       ")
    with pytest.raises(SmiError) as caught:
        parse_cards(broken)
    assert str(caught.value) == "npu-smi info: cannot read '0' and '0'"


def test_a_broken_card_hides_no_other_one():
    """Of a card that is lost the tool knows neither its temperature nor its memory."""
    lost = sample("910b4").replace(
        "0           0    / 0          26838/ 32768", "NA          NA   / NA         NA   / NA   "
    )
    assert lost != sample("910b4")
    first, second = parse_cards(lost)
    assert (first.npu_id, first.used_bytes, first.total_bytes) == (0, 0, 0)
    assert second == parse_cards(sample("910b4"))[1]


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Write a program called npu-smi, the only one on the PATH beside the shell's."""

    def write(script):
        file = tmp_path / "npu-smi"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return write


def test_the_tool_is_run(tool):
    tool(f'test "$1" = info && cat {SAMPLES / "310p.txt"}')
    assert [card.npu_id for card in read_cards()] == [0, 3]


def test_a_tool_that_fails(tool):
    tool("echo 'dcmi module initialize failed. ret is -8005'; exit 1")
    with pytest.raises(SmiError) as caught:
        read_cards()
    assert str(caught.value) == (
        "npu-smi info failed with status 1: dcmi module initialize failed. ret is -8005"
    )


def test_a_tool_that_hangs(tool):
    tool("exec sleep 60")
    with pytest.raises(SmiError, match=r"^npu-smi info gave no answer in 0\.1 s$"):
        read_cards(timeout_seconds=0.1)


def test_no_tool(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SmiError, match=r"^npu-smi is not on the PATH$"):
        read_cards()
