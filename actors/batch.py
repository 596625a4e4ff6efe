"""Requests joined into one native, contiguous batch, and results cut back to their owners. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from actors.shapes import Array, Arrays, BatchRule, Gear, Shape, Signature, span


def scratch(signature: Signature) -> dict[str, Array]:
    """Flat buffers that hold any batch of the model, for ``join`` to fill again and again.

    They take the bytes that the plan charges for the inputs of one Model object.
    """
    return {
        spec.name: np.empty(
            max(math.prod(dict(gear.inputs)[spec.name]) for gear in signature.gears),
            np.dtype(spec.dtype),
        )
        for spec in signature.inputs
    }


def join(
    signature: Signature,
    rule: BatchRule,
    gear: Gear,
    requests: Sequence[Arrays],
    buffers: Mapping[str, Array],
) -> list[Array]:
    """One array per input, in input order, in the shapes of the gear: all rows, then padding.

    The results are C-contiguous and native, because ``set_data_from_numpy`` silently ignores
    anything else. A lone request that is so already and fills the gear is passed on without a copy;
    all else is written into ``buffers`` (from ``scratch``).
    """
    batch = []
    for spec, (name, shape) in zip(signature.inputs, gear.inputs, strict=True):
        parts = [request[name] for request in requests]
        if len(parts) == 1 and _usable(parts[0], shape):
            batch.append(parts[0])
            continue
        target = buffers[spec.name][: math.prod(shape)].reshape(shape)
        pads = [(p.axis, p.value) for p in rule.padding if p.input == name]
        _fill(target, parts, rule.axis, pads)
        batch.append(target)
    return batch


def cut(
    rule: BatchRule,
    outputs: Arrays,
    rows: Sequence[int],
    held: int,
    copy: Callable[[Array], Array],
) -> list[dict[str, Array]]:
    """Give each owner a copy of its rows: ``rows`` in the order of ``join``, of a gear of ``held``.

    Only the batch axis is cut. A single owner of the whole gear gets the outputs whole. ``copy``
    makes a C-contiguous one.

    Raises:
        ValueError: an output does not have the batch on the batch axis.
    """
    if rule.axis is None or (len(rows) == 1 and rows[0] == held):
        return [{name: copy(output) for name, output in outputs.items()}]
    shares: list[dict[str, Array]] = [{} for _ in rows]
    for name, output in outputs.items():
        if output.ndim <= rule.axis or output.shape[rule.axis] != held:
            raise ValueError(
                f"output {name} has shape {output.shape}: its axis {rule.axis} is not the batch "
                f"of {held} rows"
            )
        at = 0
        for share, count in zip(shares, rows, strict=True):
            share[name] = copy(output[span(rule.axis, at, at + count)])
            at += count
    return shares


def _usable(array: Array, shape: Shape) -> bool:
    return (
        type(array) is np.ndarray
        and array.shape == shape
        and array.flags.c_contiguous
        and array.flags.aligned
        and array.dtype.isnative
    )


def _fill(
    target: Array, parts: Sequence[Array], axis: int | None, pads: Sequence[tuple[int, float]]
) -> None:
    if not pads and axis is not None:
        at = sum(part.shape[axis] for part in parts)
        np.concatenate(parts, axis=axis, out=target[span(axis, 0, at)])
        target[span(axis, at, None)] = 0
        return
    at = 0
    for part in parts:
        place = target
        if axis is not None:
            place = target[span(axis, at, at + part.shape[axis])]
            at += part.shape[axis]
        for pad_axis, value in pads:
            place[span(pad_axis, part.shape[pad_axis], None)] = value
        place[tuple(slice(0, size) for size in part.shape)] = part
    if axis is not None:
        target[span(axis, at, None)] = 0
