"""Shapes, gears and padding: what a model accepts, and how requests become one batch. Pure."""

from dataclasses import dataclass

Shape = tuple[int, ...]

#: A dimension that is open until a gear or a request closes it.
OPEN = -1


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: name, numpy dtype name (native byte order) and shape (-1 is open)."""

    name: str
    dtype: str
    shape: Shape


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

    ``max_batch`` caps the rows below the largest gear. ``axis`` is the batch axis of every input and
    output; None means that the model has none and every request runs alone.
    """

    max_batch: int | None = None
    max_wait: float = 0.0
    axis: int | None = 0
    padding: tuple[Padding, ...] = ()


@dataclass(frozen=True)
class Signature:
    """What a model accepts and returns.

    ``gears`` holds one entry for a fixed model, every compiled shape for a model with gears, and one
    entry (the declared largest shapes) for a purely ``dynamic`` model.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    gears: tuple[Gear, ...]
    dynamic: bool = False
