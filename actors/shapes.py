"""Shapes, gears and padding: what a model accepts, and how requests become one batch. Pure."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from actors.errors import InvalidRequestError

Array = npt.NDArray[np.generic]
Arrays = Mapping[str, Array]
Shape = tuple[int, ...]

#: A dimension that is open until a gear or a request closes it.
OPEN = -1


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: name, numpy dtype name (native byte order) and shape (-1 is open)."""

    name: str
    dtype: str
    shape: Shape


@lru_cache(maxsize=1024)  # it is asked for the tensors of every batch
def numpy_type(name: str, dtype: str) -> np.dtype[np.generic]:
    """The numpy type of a tensor of a model.

    Raises:
        ValueError: numpy has none, as of bfloat16 and of texts; names the tensor and its type.
    """
    try:
        found = np.dtype(dtype or "unknown")
        if found.isbuiltin == 1:  # others come with packages that may be loaded here and not there
            return found
    except TypeError:
        pass
    told = f"{name} is of type {dtype or 'unknown'}, which numpy does not have"
    raise ValueError(f"{told}: let the model cast it, and take or give float32 there")


@dataclass(frozen=True)
class Gear:
    """One combination of input shapes that a model was compiled for, in input order."""

    inputs: tuple[tuple[str, Shape], ...]


@dataclass(frozen=True)
class Padding:
    """A declared licence to pad one axis (not the batch axis) of one input with ``value``."""

    input: str
    axis: int
    value: float = 0.0


@dataclass(frozen=True)
class BatchRule:
    """How requests of one model are joined. ``max_wait`` in seconds; 0 never waits.

    ``max_batch`` caps the rows below the largest gear. ``axis`` is the batch axis of every input
    and output; None means that the model has none and every request runs alone.
    """

    max_batch: int | None = None
    max_wait: float = 0.0
    axis: int | None = 0
    padding: tuple[Padding, ...] = ()


@dataclass(frozen=True)
class Signature:
    """What a model accepts and returns.

    ``gears`` holds one entry for a fixed model, every compiled shape for a model with gears, and
    one entry (the declared largest shapes) for a purely ``dynamic`` model.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    gears: tuple[Gear, ...]
    dynamic: bool = False


#: The shapes of one row of every input, in input order: the batch axis removed, the declared
#: padding applied. Requests of one bucket may be joined. Without a batch axis: the whole shapes.
Bucket = tuple[Shape, ...]


def gear_rows(gear: Gear, rule: BatchRule) -> int:
    """Rows of the batch that a gear holds; 1 for a model without a batch axis."""
    return 1 if rule.axis is None else gear.inputs[0][1][rule.axis]


def check_rule(signature: Signature, rule: BatchRule) -> None:
    """Refuse a batch rule that does not suit the model.

    Raises:
        ValueError: the batch axis or a padding names something that the model does not have.
    """
    ranks = {spec.name: len(spec.shape) for spec in signature.inputs}
    for padding in rule.padding:
        if padding.input not in ranks:
            raise ValueError(
                f"padding names input {padding.input!r}, and the inputs are {', '.join(ranks)}"
            )
        if not 0 <= padding.axis < ranks[padding.input] or padding.axis == rule.axis:
            raise ValueError(
                f"padding of input {padding.input} on axis {padding.axis}: it has axes 0 to "
                f"{ranks[padding.input] - 1}, and the batch axis ({rule.axis}) is padded anyway"
            )
    if rule.axis is None:
        return
    for name, rank in ranks.items():
        if not 0 <= rule.axis < rank:
            raise ValueError(
                f"batching.axis is {rule.axis} and input {name} has {rank} dimensions; "
                "batching: {axis: none} runs every request alone"
            )
    for gear in signature.gears:
        if len({shape[rule.axis] for _, shape in gear.inputs}) > 1:
            raise ValueError(
                f"the inputs of gear {describe(gear)} differ on the batch axis {rule.axis}; "
                "batching: {axis: none} runs every request alone"
            )


def describe(gear: Gear) -> str:
    """A gear for people: ``x (6, 3, 48, 320)``."""
    return ", ".join(f"{name} {shape}" for name, shape in gear.inputs)


def check(signature: Signature, rule: BatchRule, model: str, inputs: Arrays) -> int:
    """Check one request and return its rows on the batch axis (1 without a batch axis).

    More rows than the largest gear holds are fine: ``split`` cuts them. Any memory layout and byte
    order is fine too.

    Raises:
        InvalidRequestError: a name, type, dtype, rank or size that the model does not take.
    """
    _check_names(signature, model, inputs)
    for spec in signature.inputs:
        problem = _array_problem(spec, inputs[spec.name])
        if problem:
            raise InvalidRequestError(model, f"input {spec.name} {problem}")
    rows = _check_rows(signature, rule, model, inputs)
    if _bucket(signature, rule, inputs) is None:
        raise InvalidRequestError(model, _no_gear(signature, rule, inputs))
    return rows


def bucket(signature: Signature, rule: BatchRule, inputs: Arrays) -> Bucket:
    """Which requests a checked request may be joined with: those of the same bucket.

    With gears: the smallest row shapes that hold it. Purely dynamic: its own row shapes, with the
    padded axes at their declared largest, so that an answer never depends on its neighbours.
    """
    found = _bucket(signature, rule, inputs)
    if found is None:
        raise ValueError(_no_gear(signature, rule, inputs))
    return found


def row_limit(signature: Signature, rule: BatchRule, key: Bucket) -> int:
    """The most rows that one call can take for requests of this bucket."""
    if signature.dynamic:
        largest = gear_rows(signature.gears[0], rule)
    else:
        largest = max(
            gear_rows(gear, rule) for gear in signature.gears if _row_shapes(gear, rule) == key
        )
    return largest if rule.max_batch is None else min(largest, rule.max_batch)


def choose_gear(signature: Signature, rule: BatchRule, key: Bucket, rows: int) -> Gear:
    """The smallest gear of a bucket that holds ``rows`` (at most ``row_limit``)."""
    if not signature.dynamic:
        fitting = [
            gear
            for gear in signature.gears
            if _row_shapes(gear, rule) == key and gear_rows(gear, rule) >= rows
        ]
        return min(fitting, key=lambda gear: gear_rows(gear, rule))
    if rule.axis is None:
        return Gear(tuple((s.name, shape) for s, shape in zip(signature.inputs, key, strict=True)))
    axis, shapes = rule.axis, []
    for spec, shape in zip(signature.inputs, key, strict=True):
        closed = rows if spec.shape[axis] == OPEN else spec.shape[axis]
        shapes.append((spec.name, (*shape[:axis], closed, *shape[axis:])))
    return Gear(tuple(shapes))


def split(signature: Signature, rule: BatchRule, inputs: Arrays) -> list[Arrays]:
    """Cut a checked request into pieces of at most ``row_limit`` rows, as views, in order."""
    if rule.axis is None:
        return [inputs]
    limit = row_limit(signature, rule, bucket(signature, rule, inputs))
    rows = inputs[signature.inputs[0].name].shape[rule.axis]
    if rows <= limit:
        return [inputs]
    return [
        {name: array[span(rule.axis, at, at + limit)] for name, array in inputs.items()}
        for at in range(0, rows, limit)
    ]


def merge(rule: BatchRule, pieces: Sequence[Arrays]) -> Arrays:
    """Join the outputs of ``split``'s pieces on the batch axis; one piece is returned as it is."""
    if len(pieces) == 1:
        return pieces[0]
    axis = rule.axis or 0
    return {
        name: np.concatenate([piece[name] for piece in pieces], axis=axis) for name in pieces[0]
    }


def span(axis: int, start: int, stop: int | None) -> tuple[slice, ...]:
    """The index that takes ``start`` to ``stop`` on one axis and everything on those before."""
    return (*(slice(None),) * axis, slice(start, stop))


def _check_names(signature: Signature, model: str, inputs: Arrays) -> None:
    if not isinstance(inputs, Mapping):
        raise InvalidRequestError(
            model, f"inputs are a {type(inputs).__name__}, not a mapping of names to arrays"
        )
    wanted = [spec.name for spec in signature.inputs]
    missing = [name for name in wanted if name not in inputs]
    unknown = [str(name) for name in inputs if name not in wanted]
    if unknown:
        near = difflib.get_close_matches(unknown[0], wanted, n=1, cutoff=0.4)
        if not near and len(missing) == len(unknown) == 1:
            near = missing
        hint = f"did you mean {near[0]!r}?" if near else "no such input."
        told = f"input {unknown[0]!r}: {hint} It takes {_takes(signature)}"
        raise InvalidRequestError(model, told)
    if missing:
        raise InvalidRequestError(
            model, f"missing input {', '.join(missing)}. It takes {_takes(signature)}"
        )


def _array_problem(spec: TensorSpec, array: object) -> str | None:
    if not isinstance(array, np.ndarray):
        return f"is a {type(array).__name__}, not a numpy array"
    if array.dtype.hasobject:
        return f"has dtype object (a ragged list?); the model takes {spec.dtype}"
    if array.dtype.newbyteorder("=") != np.dtype(spec.dtype):
        return (
            f"has dtype {array.dtype.name}; the model takes {spec.dtype}: "
            f"convert it with .astype({spec.dtype!r})"
        )
    if array.ndim != len(spec.shape):
        return (
            f"has {array.ndim} dimensions {array.shape}; the model takes {len(spec.shape)}: "
            f"{spec.shape}, where -1 is open"
        )
    return None


def _check_rows(signature: Signature, rule: BatchRule, model: str, inputs: Arrays) -> int:
    if rule.axis is None:
        return 1
    rows = {spec.name: inputs[spec.name].shape[rule.axis] for spec in signature.inputs}
    if len(set(rows.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in rows.items())
        raise InvalidRequestError(model, f"inputs differ in rows on axis {rule.axis}: {told}")
    first, count = signature.inputs[0].name, int(next(iter(rows.values())))
    if count == 0:
        raise InvalidRequestError(
            model, f"input {first} has no rows: shape {inputs[first].shape} is empty"
        )
    return count


def _bucket(signature: Signature, rule: BatchRule, inputs: Arrays) -> Bucket | None:
    padded = [
        {p.axis for p in rule.padding if p.input == spec.name} - {rule.axis}
        for spec in signature.inputs
    ]
    shapes = [inputs[spec.name].shape for spec in signature.inputs]
    if signature.dynamic:
        return _dynamic_bucket(signature, rule, shapes, padded)
    fitting = [
        _row_shapes(gear, rule)
        for gear in signature.gears
        if all(
            _fits(shape, held, licensed, rule.axis)
            for shape, (_, held), licensed in zip(shapes, gear.inputs, padded, strict=True)
        )
    ]
    return min(fitting, key=lambda key: sum(math.prod(s) for s in key), default=None)


def _dynamic_bucket(
    signature: Signature, rule: BatchRule, shapes: Sequence[Shape], padded: Sequence[set[int]]
) -> Bucket | None:
    key = []
    largest = [held for _, held in signature.gears[0].inputs]
    for spec, shape, most, licensed in zip(signature.inputs, shapes, largest, padded, strict=True):
        grown = []
        for axis, (size, limit, declared) in enumerate(zip(shape, most, spec.shape, strict=True)):
            if axis == rule.axis:
                continue
            open_here = declared == OPEN or axis in licensed
            if not 0 < size <= limit or (not open_here and size != declared):
                return None
            grown.append(limit if axis in licensed else size)
        key.append(tuple(grown))
    return tuple(key)


def _fits(shape: Shape, held: Shape, padded: set[int], batch_axis: int | None) -> bool:
    return all(
        axis == batch_axis or size == limit or (axis in padded and 0 < size < limit)
        for axis, (size, limit) in enumerate(zip(shape, held, strict=True))
    )


def _row_shapes(gear: Gear, rule: BatchRule) -> Bucket:
    return tuple(
        tuple(size for axis, size in enumerate(shape) if axis != rule.axis)
        for _, shape in gear.inputs
    )


def _takes(signature: Signature) -> str:
    return ", ".join(f"{spec.name} {spec.dtype} {spec.shape}" for spec in signature.inputs)


def _no_gear(signature: Signature, rule: BatchRule, inputs: Arrays) -> str:
    got = ", ".join(f"{spec.name} {inputs[spec.name].shape}" for spec in signature.inputs)
    held = "; ".join(describe(gear) for gear in signature.gears)
    where = f"any number of rows on axis {rule.axis}; " if rule.axis is not None else ""
    pads = ", ".join(f"{p.input} axis {p.axis}" for p in rule.padding) or "none"
    known = "at most" if signature.dynamic else "exactly one of"
    return f"shape {got} fits no gear: it takes {known} {held} ({where}declared padding: {pads})"
