"""Columns through one model: how they become its inputs, and its outputs columns."""

import asyncio
import contextlib

import numpy as np
import pyarrow as pa
import pytest

from actors.shapes import Gear, Signature, TensorSpec
from orchestrator.errors import InvalidRequestError, JobError
from orchestrator.runtime.io.columns import Holds, holds
from orchestrator.runtime.jobs.through import ThroughModel


class Sum:
    """A model y = x summed over its last axis, plus b where it has one; notes what it was asked."""

    def __init__(self, *inputs, output=(-1,)):
        specs = tuple(TensorSpec(*spec) for spec in inputs)
        outputs = (TensorSpec("y", "float32", output),)
        gear = Gear(tuple((spec.name, spec.shape) for spec in specs))
        self.signature = Signature(specs, outputs, (gear,))
        self.asked = []

    async def predict_async(self, inputs):
        await asyncio.sleep(0)
        for spec in self.signature.inputs:
            if inputs[spec.name].ndim != len(spec.shape):
                raise InvalidRequestError("sum", f"rank of {spec.name}")
        self.asked.append({name: (array.dtype, array.shape) for name, array in inputs.items()})
        total = sum(array.sum(-1) if array.ndim > 1 else array for array in inputs.values())
        return {"y": np.asarray(total, np.float32)}


class Same(Sum):
    async def predict_async(self, inputs):
        await super().predict_async(inputs)
        return {"y": inputs["x"]}


def answer(model, columns, sources=None, ids=("id",), axis=0):
    through = ThroughModel("sum", sources or {}, ids, axis)
    rows = len(next(iter(columns.values())))
    columns = {"id": np.array([f"r{row}" for row in range(rows)]), **columns}
    return asyncio.run(through(columns, {"sum": model}))


def ragged(*rows):
    column = np.empty(len(rows), dtype=object)
    for at, row in enumerate(rows):
        column[at] = np.array(row)
    return column


def test_columns_become_inputs_by_name_or_by_mapping_in_the_models_types():
    model = Sum(("x", "float32", (-1, 2)), ("b", "int32", (-1,)))
    columns = {"pixels": np.array([[1.0, 2], [3, 4]]), "b": np.array([10, 20]), "rest": np.zeros(2)}
    found = answer(model, columns, {"x": "pixels"})
    assert model.asked == [{"x": (np.float32, (2, 2)), "b": (np.int32, (2,))}]
    assert found["y"].tolist() == [13, 27]
    assert list(found) == ["id", "y"]


def test_a_flat_list_takes_the_shape_that_the_model_has():
    model = Sum(("x", "float32", (-1, 2, 3)), output=(-1, 2))
    assert answer(model, {"x": np.ones((4, 6))})["y"].tolist() == [[3, 3]] * 4
    single = Sum(("x", "float32", (-1, 1)))
    assert answer(single, {"x": np.arange(3)})["y"].tolist() == [0, 1, 2]


def test_rows_of_unequal_shape_are_requests_of_their_own():
    model = Sum(("x", "float32", (-1, -1)))
    found = answer(model, {"x": ragged([1, 2], [3], [4, 5, 6])})
    assert [asked["x"][1] for asked in model.asked] == [(1, 2), (1, 1), (1, 3)]
    assert found["y"].tolist() == [3, 3, 15]


def test_other_batch_axes_and_none():
    turned = Same(("x", "float32", (2, -1)), output=(2, -1))
    rows = np.arange(6).reshape(3, 2)
    assert answer(turned, {"x": rows}, axis=1)["y"].tolist() == rows.tolist()
    assert turned.asked[0]["x"][1] == (2, 3)
    alone = Sum(("x", "float32", (2,)), output=())
    assert answer(alone, {"x": np.ones((3, 2))}, axis=None)["y"].shape == (3, 2)
    assert len(alone.asked) == 3


def test_outputs_of_open_shape_are_lists_always():
    model = Sum(("x", "float32", (-1, -1, 2)), output=(-1, -1))
    found = answer(model, {"x": np.ones((3, 4, 2))})
    assert found["y"].dtype == object
    assert [row.tolist() for row in found["y"]] == [[2, 2, 2, 2]] * 3


@pytest.mark.parametrize(
    ("column", "dtype", "message"),
    [
        (np.array(["a", "b"], dtype=object), "float32", "takes float32, and this is <U1"),
        (np.array([1, None], dtype=object), "float32", "takes float32, and this is missing"),
        (np.array([1.5, 2]), "int32", "takes int32, which cannot hold all values"),
        (np.array([1, 300]), "uint8", "takes uint8, which cannot hold all values"),
        (np.array([1, 1e300]), "float32", "takes float32, which cannot hold all values"),
    ],
)
def test_values_that_are_no_input(column, dtype, message):
    with pytest.raises(ValueError, match=f"input x {message}"):
        answer(Sum(("x", dtype, (-1,))), {"x": column})


@pytest.mark.parametrize(
    ("sources", "ids", "message"),
    [
        ({"w": "a"}, ("a",), "model sum: has no input 'w', there are: x"),
        (
            {"x": "c"},
            ("a",),
            "there are: a, b; columns={'x': COLUMN} names one",
        ),
        ({}, ("a",), "no column 'x' for its input x"),
        ({"x": "a"}, ("y",), "its output y is named as an id column is: ids=... takes another"),
    ],
)
def test_a_model_and_an_input_that_do_not_go_together(sources, ids, message):
    model = Sum(("x", "float32", (-1,)))
    with pytest.raises(JobError, match=message):
        ThroughModel("sum", sources, ids, 0).check(model.signature, dict.fromkeys("ab", ANY))


ANY = Holds("numbers", numbers=True)


@pytest.mark.parametrize(
    ("takes", "column", "fits"),
    [
        ((-1, 2, 3), pa.list_(pa.list_(pa.float32(), 3), 2), True),
        ((-1, 2, 3), pa.list_(pa.int8(), 6), True),  # flat
        ((-1, 2, 3), pa.list_(pa.float64()), True),  # nobody knows how long
        ((-1, 2, 3), pa.list_(pa.float32(), 5), False),
        ((-1, -1, 3), pa.list_(pa.list_(pa.float32(), 4)), False),
        ((-1, -1, 3), pa.list_(pa.list_(pa.float32(), 3)), True),
        ((-1, -1, 3), pa.list_(pa.float32(), 3), False),
        ((-1,), pa.list_(pa.float32(), 3), True),  # so are files written that know no rank
        ((-1, 1), pa.bool_(), True),
        ((-1, 1), pa.null(), True),
        ((-1, 1), pa.string(), False),
        ((-1, 1), pa.dictionary(pa.int8(), pa.string()), False),
        ((-1, 1), pa.timestamp("s"), False),
        ((-1, 1), pa.struct({"x": pa.int8()}), False),
    ],
)
def test_columns_that_can_be_an_input_by_their_type(takes, column, fits):
    through, model = ThroughModel("sum", {}, (), 0), Sum(("x", "float32", takes))
    with contextlib.nullcontext() if fits else pytest.raises(JobError, match="input x takes float"):
        through.check(model.signature, {"x": holds(column)})
    if fits or takes == (-1, 1):
        return
    through.check(model.signature, {"x": holds(column)}, padded=True)
