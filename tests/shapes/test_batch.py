"""Joining and cutting lose nothing, whatever the rows, axes, layouts and byte orders."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.batch import cut, join, scratch
from actors.shapes import (
    OPEN,
    Arrays,
    BatchRule,
    Gear,
    Padding,
    Signature,
    TensorSpec,
    bucket,
    check,
    choose_gear,
    merge,
    row_limit,
    split,
)

LAYOUTS = st.sampled_from(["c", "fortran", "big-endian", "strided"])


def laid_out(array: np.ndarray, layout: str) -> np.ndarray:
    if layout == "fortran":
        return np.asfortranarray(array)
    if layout == "big-endian":
        return array.astype(array.dtype.newbyteorder(">"))
    if layout == "strided":
        return np.repeat(array, 2, axis=-1)[..., ::2]
    return array


@st.composite
def cases(draw: st.DrawFn) -> tuple[Signature, BatchRule, list[Arrays]]:
    """A model with batch gears, a batch axis anywhere, and requests of one bucket."""
    axis = draw(st.integers(0, 2))
    dims = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    counts = sorted(draw(st.sets(st.integers(1, 9), min_size=1, max_size=3)))
    padded = draw(st.booleans())
    pad_axis = (axis + 1) % 3

    def shape(rows: int, last: int = 0) -> tuple[int, ...]:
        whole = [*dims[:axis], rows, *dims[axis:]]
        whole[pad_axis] -= last
        return tuple(whole)

    spec = TensorSpec(
        "x", "float32", tuple(OPEN if a == axis else d for a, d in enumerate(shape(1)))
    )
    signature = Signature((spec,), (), tuple(Gear((("x", shape(n)),)) for n in counts))
    rule = BatchRule(axis=axis, padding=(Padding("x", pad_axis, 7.0),) if padded else ())
    requests: list[Arrays] = []
    left = counts[-1]
    while left:
        rows = draw(st.integers(1, left))
        left -= rows
        less = draw(st.integers(0, shape(1)[pad_axis] - 1)) if padded else 0
        count = np.prod(shape(rows, less))
        values = np.arange(count, dtype=np.float32).reshape(shape(rows, less)) + 100 * len(requests)
        requests.append({"x": laid_out(values, draw(LAYOUTS))})
        if draw(st.booleans()):
            break
    return signature, rule, requests


@given(cases())
def test_join_then_cut_gives_every_owner_its_own(
    case: tuple[Signature, BatchRule, list[Arrays]],
) -> None:
    signature, rule, requests = case
    rows = [check(signature, rule, "m", request) for request in requests]
    key = bucket(signature, rule, requests[0])
    assert all(bucket(signature, rule, request) == key for request in requests)
    assert sum(rows) <= row_limit(signature, rule, key)
    gear = choose_gear(signature, rule, key, sum(rows))
    buffers = {name: np.full_like(a, np.nan) for name, a in scratch(signature).items()}
    [batch] = join(signature, rule, gear, requests, buffers)
    assert batch.shape == gear.inputs[0][1]
    assert batch.flags.c_contiguous
    assert batch.dtype.isnative
    assert not np.isnan(batch).any()
    held = batch.shape[rule.axis or 0]
    shares = cut(rule, {"y": batch}, rows, held, np.copy)
    for request, share in zip(requests, shares, strict=True):
        x, y = request["x"], share["y"]
        inside = tuple(slice(0, size) for size in x.shape)
        np.testing.assert_array_equal(y[inside], x)
        outside = np.ones(y.shape, bool)
        outside[inside] = False
        assert (y[outside] == 7.0).all()
        assert not np.shares_memory(y, batch)
    padding = np.moveaxis(batch, rule.axis or 0, 0)[sum(rows) :]
    assert (padding == 0).all()


@given(st.integers(1, 30), st.integers(1, 7), st.integers(0, 1), LAYOUTS)
def test_split_then_merge_is_the_whole(rows: int, limit: int, axis: int, layout: str) -> None:
    shape = (rows, 3) if axis == 0 else (3, rows)
    held = (limit, 3) if axis == 0 else (3, limit)
    signature = Signature((TensorSpec("x", "int64", held),), (), (Gear((("x", held),)),))
    rule = BatchRule(axis=axis)
    x = laid_out(np.arange(rows * 3).reshape(shape), layout)
    pieces = split(signature, rule, {"x": x})
    assert [p["x"].shape[axis] for p in pieces[:-1]] == [limit] * (len(pieces) - 1)
    assert len(pieces) == -(-rows // limit)
    np.testing.assert_array_equal(merge(rule, pieces)["x"], x)


def test_a_request_that_fills_the_gear_is_not_copied() -> None:
    signature = Signature((TensorSpec("x", "float32", (2, 3)),), (), (Gear((("x", (2, 3)),)),))
    gear, buffers = signature.gears[0], scratch(signature)
    x = np.ones((2, 3), np.float32)
    assert join(signature, BatchRule(), gear, [{"x": x}], buffers)[0] is x
    swapped = join(signature, BatchRule(), gear, [{"x": x.astype(">f4")}], buffers)[0]
    assert np.shares_memory(swapped, buffers["x"])
    assert swapped.tolist() == x.tolist()


def test_models_without_a_batch_axis_run_whole() -> None:
    signature = Signature((TensorSpec("x", "float32", (4,)),), (), (Gear((("x", (4,)),)),))
    rule = BatchRule(axis=None)
    x = {"x": np.arange(4, dtype="f4")}
    assert split(signature, rule, x) == [x]
    assert join(signature, rule, signature.gears[0], [x], scratch(signature))[0] is x["x"]
    [share] = cut(rule, {"y": np.ones((7, 2))}, [1], 1, np.copy)
    assert share["y"].shape == (7, 2)


def test_an_output_without_the_batch_is_named() -> None:
    with pytest.raises(ValueError, match=r"output y has shape \(5, 2\): its axis 0 is not the bat"):
        cut(BatchRule(), {"y": np.ones((5, 2))}, [1, 2], 4, np.copy)
