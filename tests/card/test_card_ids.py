"""Cards whose numbers differ: davinci0 and davinci3 are 0 and 3 to npu-smi, 0 and 1 to CANN."""

import os
from pathlib import Path

import pytest

from actors import device
from actors.copies import copy_milliseconds
from actors.device import VISIBLE, DeviceError
from actors.files.compiled import compiled_sizes
from actors.machine.environment import Machine
from actors.machine.gauge import open_gauge
from actors.machine.npusmi import find_card, parse_cards
from actors.machine.verdicts import combination
from actors.messages import CardIdentity, ModelOrder
from actors.probe import measure
from orchestrator.runtime.cards.slots import Slot, SlotState, bind
from orchestrator.runtime.cluster.measure import idle_cards
from tests.card.conftest import card_order
from tests.mindirs import write_mindir
from tests.oms import write_om

MIB = 1 << 20
SAMPLE = Path(__file__).with_name("npusmi") / "310p.txt"


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A container with the two cards of the sample; the folder that comes first on the path."""
    (tmp_path / "dev").mkdir()
    for number in (0, 3):
        (tmp_path / "dev" / f"davinci{number}").touch()
    tool = tmp_path / "npu-smi"
    tool.write_text(f"#!/bin/sh\ncat {SAMPLE}\n")
    tool.chmod(0o755)
    (tmp_path / "acl.py").write_text("raise ImportError('not in this test')")
    monkeypatch.setattr(device, "DEVICES", tmp_path / "dev")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("listed", "npu_ids"), [(None, ("0", "3")), ("0", ("0",)), ("1", ("3",)), ("3", ())]
)
def test_an_idle_card_is_one_that_this_process_sees(
    two: Path, monkeypatch: pytest.MonkeyPatch, listed: str | None, npu_ids: tuple[str, ...]
) -> None:
    if listed is not None:
        monkeypatch.setenv(VISIBLE, listed)
    assert idle_cards() == (npu_ids, len(npu_ids))


def test_a_card_that_somebody_uses_is_not_idle(two: Path) -> None:
    table = SAMPLE.read_text().replace(
        "| No running processes found in NPU 32768" + " " * 64 + "|",
        "| 32768   0  | 77  | python  | 100 |",
    )
    (two / "npu-smi").write_text(f"#!/bin/sh\ncat <<EOF\n{table}\nEOF\n")
    assert idle_cards() == (("0",), 2)


def test_what_npu_smi_says_is_found_by_its_own_number(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VISIBLE, "1")
    mine = device.own_npu_id(0)
    assert mine == "3"
    assert combination(mine).startswith("310P3, driver ")
    gauge = open_gauge("ascend", device, 0, mine)
    found = gauge.read()
    gauge.close()
    assert found is not None
    assert (found.free, found.source) == ((21527 - 1852) * MIB, "npu-smi")


def test_processes_of_our_own_are_given_the_number_that_cann_takes(two: Path) -> None:
    """npu-smi's 3 would be dropped, and the process would see no card."""
    (two / "acl.py").write_text(
        "import os, pathlib\n"
        f"seen = pathlib.Path({str(two)!r}, 'seen').open('a')\n"
        f"seen.write(os.environ[{VISIBLE!r}])\n"
        "seen.close()\n"
        "raise ImportError('only to see that')\n"
    )
    path = write_mindir(two / "m.mindir", {"x": (4, 64)}, om=write_om({"x": (4, 64)}, workspace=1))
    compiled_sizes(str(path), "3")
    copy_milliseconds([((1,), (1,))], "3")
    assert (two / "seen").read_text() == "11"


@pytest.mark.skipif(bool(Machine().device_files()), reason="the probe would find a card here")
def test_so_is_the_probe(two: Path) -> None:
    path = write_mindir(two / "m.mindir", {"x": (4, 64)})
    with pytest.raises(DeviceError, match=f"this process sees no Ascend.*{VISIBLE}=1"):
        measure(ModelOrder("m", str(path)), kind="ascend", npu_id="3")


def test_the_only_card_that_the_tool_shows_is_ours_whatever_its_number() -> None:
    """A virtual card is davinci100, and a container may call davinci7 davinci0."""
    both = parse_cards(SAMPLE.read_text())
    assert find_card(both, "100") is None
    assert find_card(both[1:], "100") == both[1]


def test_a_slot_is_served_by_the_card_of_its_number_where_ray_counts_them() -> None:
    slots = [Slot(f"n/{n}", "node", card_order(), SlotState.STARTING) for n in range(2)]
    seventh = CardIdentity("node", "7", 0, 1, ray_id="1")
    assert bind(slots, slots[0], seventh) is slots[1]
