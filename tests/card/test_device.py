"""Which card a process has: from Ray's id and the visible list to the logical id."""

import re

import pytest

from actors.device import NOSET, VISIBLE, DeviceError, count, identify, npu_ids, require, visible


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
    assert count({VISIBLE: "1,5,9"}, files) == 2
    assert visible({}) is None


def test_a_card_that_is_not_there_is_refused_by_us() -> None:
    with pytest.raises(DeviceError, match=r"device_id 99 is out of range: this process sees \d+"):
        require(99)


@pytest.mark.parametrize(
    ("listed", "positions", "ids"),
    [(None, ["3"], ["3"]), ("4,5,6,7", ["0"], ["4"]), ("4,5,6,7", ["3"], ["7"]), ("4", [], [])],
)
def test_cards_that_are_called_gpu_are_known_by_their_place_in_the_list(listed, positions, ids):
    env = {} if listed is None else {VISIBLE: listed}
    assert npu_ids(env, positions) == ids


def test_a_place_that_the_list_does_not_have_says_how_to_start_ray():
    with pytest.raises(DeviceError, match=r"Ray assigned card 2 .*=4,5 lists 2: start Ray"):
        npu_ids({VISIBLE: "4,5"}, ["2"])
    with pytest.raises(DeviceError, match=rf"Start Ray on this node with {NOSET}=1"):
        npu_ids({VISIBLE: ""}, ["0"])
