"""What travels in one actor call comes out as it went in."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from actors.errors import PredictError
from actors.messages import Answers, Reply, Request
from orchestrator.runtime.cards.parcels import (
    pack,
    pack_answers,
    pack_requests,
    unpack,
    unpack_answers,
    unpack_requests,
)

SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
DTYPES = st.sampled_from(["?", "i1", "<i8", ">i4", "u2", "<f2", "<f4", ">f8", "c8"])
ARRAYS = st.builds(np.asarray, DTYPES.flatmap(lambda dtype: arrays_of.arrays(dtype, SHAPES)))
GROUPS = st.lists(st.dictionaries(st.sampled_from(["x", "y", "length"]), ARRAYS), max_size=4)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


@given(GROUPS)
def test_arrays_come_out_as_they_went_in(groups: list[dict[str, np.ndarray]]) -> None:
    head, found = unpack(pack("head", groups))
    assert head == "head"
    assert [list(one) for one in found] == [list(one) for one in groups]
    for one, other in zip(found, groups, strict=True):
        assert all(same(one[name], other[name]) for name in other)


def test_small_arrays_of_any_layout_are_bytes_and_large_ones_stay() -> None:
    fortran = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    every_second = np.arange(20, dtype=np.int64)[::2]
    large, text = np.zeros(1 << 20, np.uint8), np.array(["a", "bc"])
    small = {"f": fortran, "s": every_second}
    assert isinstance(pack(None, [small, small]), bytes)
    parcel = pack(None, [small, {"large": large, "text": text}])
    _, (first, second) = unpack(parcel)
    assert np.array_equal(first["f"], fortran)
    assert np.array_equal(first["s"], every_second)
    assert np.shares_memory(second["large"], large)
    assert second["text"] is text


def test_large_arrays_of_any_layout_and_byte_order_travel_as_memory() -> None:
    swapped = np.arange(1 << 16, dtype=">f8").reshape(256, 256)
    sent = {"f": np.asfortranarray(swapped), "s": swapped[::2, 1:], "b": swapped > 5}
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(pack(None, [sent, sent]), protocol=5, buffer_callback=buffers.append)
    assert len(head) < 1024
    for got in unpack(pickle.loads(head, buffers=buffers))[1]:
        assert all(same(got[name], np.ascontiguousarray(sent[name])) for name in sent)
        assert all(array.flags.c_contiguous for array in got.values())


def test_small_arrays_that_are_much_together_travel_as_one_large_one() -> None:
    groups = [{"x": np.full(1024, at, np.float32), "y": np.int8(at)[None]} for at in range(40)]
    parcel = pack(None, groups)
    assert isinstance(parcel, tuple)
    head, [together] = parcel
    assert memoryview(together).nbytes == 40 * 4096
    assert len(head) < 1024
    for at, arrays in enumerate(unpack(parcel)[1]):
        assert np.shares_memory(arrays["x"], np.frombuffer(together, np.uint8))
        assert (arrays["x"] == at).all()
        assert arrays["y"].tolist() == [at]


def test_requests_and_answers() -> None:
    x = np.ones((2, 3), np.float32)
    sent = [Request(7 << 30, "det", {"x": x}, "batch"), Request(8, "det", {}, "batch")]
    got, reservation = unpack_requests(pack_requests(sent, 7, 5.0), 9.0)
    assert reservation == 7
    for one, other in zip(got, sent, strict=True):
        assert (one.id, one.model, one.priority) == (other.id, other.model, other.priority)
        assert one.inputs.keys() == other.inputs.keys()
        assert one.expires == math.inf
    error = PredictError("local/0", "det", "no")
    answers = unpack_answers(
        pack_answers(Answers([Reply(1, {"y": x}), Reply(2, None, error)], 0.5))
    )
    assert answers.seconds == pytest.approx(0.5)
    assert np.array_equal(answers.replies[0].outputs["y"], x)
    assert answers.replies[1].outputs is None
    assert repr(answers.replies[1].error) == repr(error)


def test_what_is_left_of_a_request_s_time_is_counted_by_the_clock_of_whoever_has_it() -> None:
    sent = [Request(1, "det", {}, expires=5.5), Request(2, "det", {})]
    got, _ = unpack_requests(pack_requests(sent, reservation=0, now=5.0), now=100.0)
    assert [one.expires for one in got] == [100.5, math.inf]
