"""What is read of an OM: written ones, laid out as GraphEngine's sources say."""

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.files.om import OMFile, parse_om
from actors.files.protobuf import Message
from tests.oms import BATCH, IMAGE, write_om


def read(om: bytes) -> OMFile:
    """Read from the middle of a file, as it lies in a MindIR."""
    return parse_om(Message(b"before" + om + b"after"), (6, 6 + len(om)))


@pytest.mark.parametrize("narrow", [False, True])
def test_sizes_streams_and_hardware_of_both_layouts(narrow):
    om = write_om({"x": (4, 64)}, weights=8192, workspace=4096, streams=3, narrow=narrow)
    assert read(om) == OMFile("Ascend310P3", 8192, 4096, 3, False, ())
    assert read(write_om({"x": (4, 64)}, soc="", narrow=narrow)).soc is None


def test_open_shapes_are_several_models_with_weights_each_and_no_workspace():
    found = read(write_om({"x": (-1, 64)}, weights=8192, streams=3))
    assert found == OMFile("Ascend310P3", 8192 + 4, 0, 0, True, ())


def test_a_batch_is_one_value_for_every_input():
    gears = [{"x": (n, 3), "y": (n,), "z": (7,)} for n in (1, 8)]
    found = read(write_om({"x": (-1, 3), "y": (-1,), "z": (7,)}, gears=gears, meaning=BATCH))
    assert found.gears == (((1, 3), (1,), (7,)), ((8, 3), (8,), (7,)))


def test_an_image_size_is_two_values():
    gears = [{"x": (1, 3, 32, 64)}, {"x": (1, 3, 64, 128)}]
    found = read(write_om({"x": (1, 3, -1, -1)}, gears=gears, meaning=IMAGE))
    assert found.gears == (((1, 3, 32, 64),), ((1, 3, 64, 128),))


@settings(max_examples=25)
@given(data=st.data())
def test_dims_go_to_the_inputs_in_the_order_in_which_they_were_named(data):
    dims = st.lists(st.sampled_from([-1, 2, 3]), min_size=1, max_size=3).map(tuple)
    names = st.sampled_from(["a", "b", "c", "d"])
    inputs = data.draw(st.dictionaries(names, dims, min_size=1, max_size=4).filter(
        lambda found: any(-1 in shape for shape in found.values())), "inputs")  # fmt: skip
    closing = st.integers(1, 1000)
    gears = [
        {k: tuple(data.draw(closing) if d < 0 else d for d in s) for k, s in inputs.items()}
        for _ in range(data.draw(st.integers(1, 3), "gears"))
    ]
    order = data.draw(st.permutations(list(inputs)), "order")
    narrow = data.draw(st.booleans(), "narrow")
    found = read(write_om(inputs, gears=gears, order=order, narrow=narrow))
    assert found.gears == tuple(tuple(gear.values()) for gear in gears)


@pytest.mark.parametrize(
    ("om", "problem"),
    [
        (b"IMOD", "an OM has a header of 256 bytes and this has 4"),
        (bytes(300), "an OM begins with IMOD and this with b'\\x00\\x00\\x00\\x00'"),
        (write_om({"x": (1,)}, encrypted=True), "the OM is encrypted"),
        (write_om({"x": (1,)})[:400], " bytes of 406"),
        (
            write_om({"x": (-1,)}, gears=[{"x": (1,)}]).replace(b"_pred_value_0", b"_pred_value_9"),
            "there is no gear 0",
        ),
        (write_om({"x": (-1,)}, gears=[{"x": (1,)}], meaning=7), "gears of type 7"),
        (
            write_om({"x": (-1,), "y": (-1, 1)}, gears=[{"x": (1,), "y": (2, 1)}], order=["x"]),
            "a gear has 0 values for 1 open dimensions",
        ),
    ],
)
def test_what_is_laid_out_otherwise_is_refused(om, problem):
    with pytest.raises(ValueError, match=re.escape(problem)):
        read(om)


@given(data=st.data())
def test_a_damaged_om_is_refused_or_read(data):
    whole = write_om({"x": (-1, 4)}, gears=[{"x": (1, 4)}, {"x": (8, 4)}])
    cut = data.draw(st.integers(1, len(whole)), "bytes kept")
    at = data.draw(st.integers(0, cut - 1), "byte changed")
    damaged = whole[:at] + bytes([data.draw(st.integers(0, 255), "to")]) + whole[at + 1 : cut]
    with contextlib.suppress(ValueError, IndexError):
        read(damaged)
