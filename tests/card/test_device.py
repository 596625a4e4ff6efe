"""Which card a process has: from Ray's id and the visible list to the logical id."""

import re
from pathlib import Path

import pytest

from actors.device import (
    NOSET,
    VISIBLE,
    DeviceError,
    count,
    dropped,
    identify,
    npu_id_of,
    number_of,
    numbers_at,
    physical,
    require,
    seen,
    visible,
)


@pytest.mark.parametrize(
    ("env", "ids", "device_id"),
    [
        ({VISIBLE: "3"}, ["3"], 0),
        ({VISIBLE: "7"}, ["7"], 0),
        ({VISIBLE: "4,5,6,7", NOSET: "1"}, ["6"], 2),
        ({NOSET: "1"}, ["2"], 2),
        ({}, ["0"], 0),
        ({}, ["5"], 5),
        ({VISIBLE: "0,1", NOSET: "true"}, ["1"], 1),
    ],
)
def test_logical_id(env: dict[str, str], ids: list[str], device_id: int) -> None:
    assert identify(env, ids) == device_id


@pytest.mark.parametrize(
    ("env", "ids", "told"),
    [
        ({}, [], "Ray assigned no card to this process, which then sees all"),
        ({VISIBLE: "0,1"}, ["0", "1"], "Ray assigned 2 cards (0, 1)"),
        ({VISIBLE: "4,5"}, ["6"], "assigned card 6, and ASCEND_RT_VISIBLE_DEVICES=4,5 does not"),
        ({VISIBLE: "4,5"}, ["5"], "lists 2 cards, and Ray writes exactly one"),
        ({VISIBLE: "1,0", NOSET: "1"}, ["0"], "is not ascending, and CANN then disables cards"),
        ({VISIBLE: "0,0", NOSET: "1"}, ["0"], "is not ascending"),
        ({VISIBLE: "0, 1", NOSET: "1"}, ["0"], "numbers, commas, no spaces"),
        ({VISIBLE: ""}, ["0"], "told to see no card"),
        ({VISIBLE: "NoDevFiles"}, ["0"], "told to see no card"),
        ({}, ["npu0"], "Ray's card id 'npu0' is not a number"),
    ],
)
def test_refusals(env: dict[str, str], ids: list[str], told: str) -> None:
    with pytest.raises(DeviceError, match=re.escape(told)):
        identify(env, ids)


def test_a_part_of_a_card_is_refused() -> None:
    assert identify({VISIBLE: "3"}, ["3"], 1.0) == 0
    with pytest.raises(
        DeviceError, match=r"Ray assigned 0\.5 of card 3 to this process: a process"
    ):
        identify({VISIBLE: "3"}, ["3"], 0.5)


def test_cards_that_a_process_sees() -> None:
    files = ["davinci0", "davinci1", "davinci5", "davinci_manager", "null"]
    assert count({}, files) == 3
    assert count({VISIBLE: "1,5,9"}, files) == 1, "CANN counts three cards, from 0"
    assert count({VISIBLE: "1,2"}, files) == 2
    assert visible({}) is None


def test_cann_counts_the_cards_of_a_container_from_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray counts one card where only davinci7 is, and writes 0; what npu-smi says CANN drops."""
    for name in ("davinci7", "davinci_manager"):
        (tmp_path / name).touch()
    files = ["davinci7", "davinci_manager"]
    assert count({VISIBLE: "0"}, files) == 1
    assert (npu_id_of(0, tmp_path), number_of("7", tmp_path)) == ("7", "0")
    monkeypatch.setenv(VISIBLE, "0")
    require(0, tmp_path)
    assert count({VISIBLE: "7"}, files) == 0
    monkeypatch.setenv(VISIBLE, "7")
    with pytest.raises(DeviceError) as caught:
        require(0, tmp_path)
    assert str(caught.value) == (
        f"device_id 0 is out of range: this process sees no Ascend cards ({tmp_path}/davinci*, "
        f"{VISIBLE}=7); CANN drops 7 of {VISIBLE}, since it counts the cards that are here from 0, "
        "whatever npu-smi calls them: list 0 alone, or unset it"
    )


def test_cards_are_numbered_in_the_order_of_their_files_and_not_of_their_names() -> None:
    files = ["davinci10", "davinci2", "davinci_manager", "davinci4"]
    assert physical(files) == (2, 4, 10)
    assert seen({VISIBLE: "0,2"}, files) == (0, 2)
    assert dropped({VISIBLE: "0,2"}, files) == ""
    assert dropped({VISIBLE: "2,4,10"}, files).startswith(f"CANN drops 4,10 of {VISIBLE}, since it")
    assert dropped({VISIBLE: "2,4,10"}, files).endswith("list 0 to 2, or unset it")


def test_on_a_whole_host_all_numbers_agree(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"davinci{number}").touch()
    assert [npu_id_of(n, tmp_path) for n in range(8)] == [
        number_of(str(n), tmp_path) for n in range(8)
    ]


def test_a_card_that_is_not_there_is_refused_by_us() -> None:
    with pytest.raises(DeviceError, match=r"device_id 99 is out of range: this process sees "):
        require(99)


@pytest.mark.parametrize(
    ("listed", "positions", "ids"),
    [(None, ["3"], ["3"]), ("4,5,6,7", ["0"], ["4"]), ("4,5,6,7", ["3"], ["7"]), ("4", [], [])],
)
def test_cards_that_are_called_gpu_are_known_by_their_place_in_the_list(listed, positions, ids):
    env = {} if listed is None else {VISIBLE: listed}
    assert numbers_at(env, positions) == ids


def test_a_place_that_the_list_does_not_have_says_how_to_start_ray():
    with pytest.raises(DeviceError, match=r"Ray assigned card 2 .*=4,5 lists 2: start Ray"):
        numbers_at({VISIBLE: "4,5"}, ["2"])
    with pytest.raises(DeviceError, match=rf"Start Ray on this node with {NOSET}=1"):
        numbers_at({VISIBLE: ""}, ["0"])
