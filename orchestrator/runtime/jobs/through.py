"""Columns of records through one model: the pipeline of a job that has no pipeline of its own."""

import asyncio
import difflib
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Protocol

import numpy as np

from actors.shapes import OPEN, Shape, Signature, TensorSpec
from orchestrator.errors import JobError, RequestFailedError
from orchestrator.runtime.io.columns import Array, Columns, Holds


class Model(Protocol):
    """What is asked of a model's handle."""

    @property
    def signature(self) -> Signature:
        """Inputs and outputs."""

    async def predict_async(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Answer a request."""


class ThroughModel:
    """A pipeline function: the columns that ``sources`` names in, ids and the model's outputs out.

    ``sources`` gives the column of each input that is not a column of the same name; ``ids`` are
    the columns that come out as they are; ``axis`` is the model's batch axis, None if it has none.
    Rows that a RequestFailedError names are those of the batch.
    """

    def __init__(
        self, name: str, sources: Mapping[str, str], ids: Sequence[str], axis: int | None
    ) -> None:
        self.name, self._sources, self._ids, self._axis = name, dict(sources), tuple(ids), axis

    def check(
        self, signature: Signature, columns: Mapping[str, Holds], *, padded: bool = False
    ) -> None:
        """Refuse a model and an input that do not go together, before anything is read.

        ``padded``: rows of the model may be smaller than its shape is.

        Raises:
            JobError: an input has no column, or one that cannot be it; an output is named as an id
                is.
        """
        where, inputs = f"model {self.name}", [spec.name for spec in signature.inputs]
        for name in self._sources:
            if name not in inputs:
                raise JobError(where, f"has no input {name!r}{_near(name, inputs)}")
        for spec in signature.inputs:
            name, column = spec.name, self._sources.get(spec.name, spec.name)
            if column not in columns:
                told, names = ", ".join(columns), f"columns={{{name!r}: COLUMN}}"
                raise JobError(
                    where,
                    f"no column {column!r} for its input {name}, there are: {told}; "
                    f"{names} names one",
                    {names: f"--column {name}=COLUMN"},
                )
            if takes := self._refusal(spec, columns[column], padded):
                told = f"input {name} takes {takes}, and column {column} holds {columns[column]}"
                raise JobError(where, told)
        for spec in signature.outputs:
            if spec.name in self._ids:
                raise JobError(
                    where,
                    f"its output {spec.name} is named as an id column is: ids=... takes another",
                    {"ids=...": "--id"},
                )

    def _refusal(self, spec: TensorSpec, column: Holds, padded: bool) -> str:
        """What an input takes instead of this column; empty if it may be the input."""
        row = _row_shape(spec, self._axis)
        if not column.numbers:
            return spec.dtype
        if padded or spec.shape == (OPEN,) or _may_be(column.shape, row):
            return ""
        return f"{spec.dtype} of shape {_shape(row)}"

    async def __call__(self, batch: Columns, models: Any) -> dict[str, Array]:  # noqa: ANN401
        """Answer a batch. Rows of unequal shape go as requests of their own.

        Raises:
            InvalidRequestError: values that the model does not take.
            ValueError: values that cannot become its inputs.
        """
        model: Model = models[self.name]
        inputs = {
            spec.name: _as_input(batch[self._sources.get(spec.name, spec.name)], spec, self._axis)
            for spec in model.signature.inputs
        }
        if self._axis is None or any(array.dtype == object for array in inputs.values()):
            outputs = await self._one_by_one(model, inputs)
        else:
            outputs = await self._together(model, inputs, self._axis)
        loose = {spec.name for spec in model.signature.outputs if self._is_open(spec)}
        return {
            **{name: batch[name] for name in self._ids},
            **{
                name: _objects(list(out)) if name in loose else out for name, out in outputs.items()
            },
        }

    def _is_open(self, spec: TensorSpec) -> bool:
        """Whether the rows of an output may differ in shape: then they are lists, always."""
        return OPEN in _row_shape(spec, self._axis)

    async def _together(self, model: Model, inputs: Columns, axis: int) -> Columns:
        if axis == 0:
            return await model.predict_async(inputs)
        placed = {name: np.moveaxis(array, 0, axis) for name, array in inputs.items()}
        answer = await model.predict_async(placed)
        return {name: np.moveaxis(array, axis, 0) for name, array in answer.items()}

    async def _one_by_one(self, model: Model, inputs: Columns) -> Columns:
        dtypes = {spec.name: spec.dtype for spec in model.signature.inputs}

        def request(row: int) -> Columns:
            found = {}
            for name, array in inputs.items():
                value = np.asarray(array[row]).astype(dtypes[name])
                found[name] = value if self._axis is None else np.expand_dims(value, self._axis)
            return found

        async def answer(row: int) -> Columns:
            try:
                return await model.predict_async(request(row))
            except RequestFailedError as error:
                if not error.deadly:
                    raise
                told = error.model, error.story, error.cards, error.blamed, (row, row + 1)
                raise RequestFailedError(*told) from None

        rows = range(len(next(iter(inputs.values()))))
        answers = await asyncio.gather(*(answer(row) for row in rows))
        return {
            name: _column([self._row(answer[name]) for answer in answers]) for name in answers[0]
        }

    def _row(self, answer: Array) -> Array:
        return answer if self._axis is None else np.take(answer, 0, self._axis)


def _as_input(column: Array, spec: TensorSpec, axis: int | None) -> Array:
    """A column as the model takes it, its rows on axis 0; of objects where shapes differ."""
    if column.dtype == object:
        rows = [_exact(np.asarray(value), spec) for value in column]
        if len({row.shape for row in rows}) > 1:
            return _column(rows)
        column = np.stack(rows)
    column = _exact(column, spec)
    row = _row_shape(spec, axis)
    # Files often hold images as flat lists; a shape that is known says how they were.
    flat = OPEN not in row and column.shape[1:] != row
    if flat and column[0].size == int(np.prod(row)):
        return column.reshape(len(column), *row)
    return column


def _may_be(shape: Shape | None, row: Shape) -> bool:
    """Whether rows of a column may be what an input takes, see ``_as_input``; -1 is not known."""
    if shape is None:
        return True
    if OPEN not in row:
        return OPEN in shape or prod(shape) == prod(row)
    return len(shape) == len(row) and all(
        OPEN in pair or pair[0] == pair[1] for pair in zip(shape, row, strict=True)
    )


def _shape(shape: Shape) -> str:
    return "(" + ", ".join("any" if size == OPEN else str(size) for size in shape) + ")"


def _row_shape(spec: TensorSpec, axis: int | None) -> tuple[int, ...]:
    return spec.shape if axis is None else (*spec.shape[:axis], *spec.shape[axis + 1 :])


def _exact(values: Array, spec: TensorSpec) -> Array:
    """Numbers in the model's type, refusing those that it cannot hold.

    Raises:
        ValueError: no numbers, missing ones, fractions or too large ones for a type of integers.
    """
    if values.dtype.kind not in "biuf":
        raise ValueError(f"input {spec.name} takes {spec.dtype}, and this is {_told(values)}")
    wanted = np.dtype(spec.dtype)
    if values.dtype == wanted:
        return values
    with np.errstate(invalid="ignore", over="ignore"):
        cast = values.astype(wanted)
    if wanted.kind == "f":
        held = bool(np.array_equal(np.isfinite(cast), np.isfinite(values)))
    else:
        held = np.array_equal(cast, values)
    if not held:
        raise ValueError(f"input {spec.name} takes {spec.dtype}, which cannot hold all values")
    return cast


def _told(values: Array) -> str:
    if values.dtype != object:
        return str(values.dtype)
    kinds = sorted({type(value).__name__ for value in values.flat})
    return "missing" if kinds == ["NoneType"] else ", ".join(kinds)


def _column(rows: list[Array]) -> Array:
    return np.stack(rows) if len({row.shape for row in rows}) == 1 else _objects(rows)


def _objects(rows: list[Array]) -> Array:
    column = np.empty(len(rows), dtype=object)
    for at, row in enumerate(rows):
        column[at] = row
    return column


def _near(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f", did you mean {near[0]!r}?" if near else f", there are: {', '.join(names)}"
