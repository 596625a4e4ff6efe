"""Tiny ONNX models for tests: each function writes one file and returns its ``.mindir`` path.

The ``.onnx`` lies beside it, which is what the emulated card serves; the ``.mindir`` itself is not
needed there and not written. Weights come from a seed, so that two calls write equal files.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 9


def write_mlp(
    folder: Path,
    name: str,
    *,
    rows: int | None = None,
    width: int = 64,
    layers: int = 2,
    gears: Sequence[int] | None = None,
    seed: int = 0,
) -> Path:
    """Write ``x [rows, width] -> y [rows, width]``, ``layers`` times MatMul, Add and Relu.

    ``rows`` None leaves the batch open: purely dynamic, or with ``gears`` (batch sizes) a model
    with gears. Weights take ``layers * (width * width + width) * 4`` bytes.
    """
    rng = np.random.default_rng(seed)
    nodes, weights, last = [], [], "x"
    for layer in range(layers):
        weights.append(_weights(rng, f"w{layer}", (width, width), width))
        weights.append(_weights(rng, f"b{layer}", (width,), width))
        out = "y" if layer == layers - 1 else f"a{layer}"
        nodes += [
            helper.make_node("MatMul", [last, f"w{layer}"], [f"m{layer}"]),
            helper.make_node("Add", [f"m{layer}", f"b{layer}"], [f"s{layer}"]),
            helper.make_node("Relu", [f"s{layer}"], [out]),
        ]
        last = out
    shape = [_rows(rows, gears), width]
    path = _save(folder, name, nodes, {"x": shape}, {"y": shape}, weights)
    if gears is not None:
        write_gears(path, {"x": [-1, width]}, [[batch] for batch in gears])
    return path


def write_conv(  # noqa: PLR0913 - each argument is one property of the model
    folder: Path,
    name: str,
    *,
    rows: int | None = None,
    channels: int = 3,
    size: tuple[int, int] | None = (32, 32),
    maps: int = 16,
    layers: int = 3,
    gears: Sequence[Sequence[int]] | None = None,
    seed: int = 0,
) -> Path:
    """Write ``x [rows, channels, h, w] -> y [rows, channels, h, w]``, ``layers`` 3x3 convolutions.

    Work memory: about ``2 * rows * maps * h * w * 4`` bytes. ``size`` None leaves h and w open.
    ``gears`` lists the values of the open dimensions, in order, for each gear.
    """
    rng = np.random.default_rng(seed)
    nodes, weights, last, wide = [], [], "x", channels
    for layer in range(layers):
        out = "y" if layer == layers - 1 else f"a{layer}"
        depth = channels if layer == layers - 1 else maps
        weights.append(_weights(rng, f"w{layer}", (depth, wide, 3, 3), wide * 9))
        nodes.append(
            helper.make_node(
                "Conv",
                [last, f"w{layer}"],
                [out if layer == layers - 1 else f"c{layer}"],
                kernel_shape=[3, 3],
                pads=[1, 1, 1, 1],
                strides=[1, 1],
                dilations=[1, 1],
                group=1,
            )
        )
        if layer < layers - 1:
            nodes.append(helper.make_node("Sigmoid", [f"c{layer}"], [out]))
        last, wide = out, depth
    height, width = ("h", "w") if size is None else size
    shape = ["n" if rows is None else rows, channels, height, width]
    path = _save(folder, name, nodes, {"x": shape}, {"y": shape}, weights)
    if gears is not None:
        write_gears(path, {"x": [-1 if isinstance(dim, str) else dim for dim in shape]}, gears)
    return path


def drop_strides(path: Path) -> Path:
    """Leave the strides of a model's convolutions to their default."""
    model = onnx.load(path)
    for node in model.graph.node:
        kept = [attribute for attribute in node.attribute if attribute.name != "strides"]
        del node.attribute[:]
        node.attribute.extend(kept)
    onnx.save(model, path)
    return path


def write_pair(
    folder: Path,
    name: str,
    *,
    rows: int | None = 4,
    width: int = 8,
    gears: Sequence[int] | None = None,
) -> Path:
    """Write two inputs and two outputs: ``left, right [rows, width] -> total, difference``."""
    nodes = [
        helper.make_node("Add", ["left", "right"], ["total"]),
        helper.make_node("Sub", ["left", "right"], ["weighted"]),
        helper.make_node("Mul", ["weighted", "one"], ["difference"]),
    ]
    one = numpy_helper.from_array(np.ones((width,), np.float32), "one")
    shape = [_rows(rows, gears), width]
    path = _save(
        folder,
        name,
        nodes,
        {"left": shape, "right": shape},
        {"total": shape, "difference": shape},
        [one],
    )
    if gears is not None:
        declared = {"left": [-1, width], "right": [-1, width]}
        write_gears(path, declared, [[batch, batch] for batch in gears])
    return path


def write_weightless(folder: Path, name: str, *, width: int = 2) -> Path:
    """Write ``x [width] -> y [width]`` without any weights."""
    nodes = [
        helper.make_node("Exp", ["x"], ["e"]),
        helper.make_node("Relu", ["e"], ["y"]),
    ]
    return _save(folder, name, nodes, {"x": [width]}, {"y": [width]}, [])


def write_scalar(folder: Path, name: str) -> Path:
    """Write ``x [] -> y []``, which have no dimension to batch on: three times x."""
    factor = numpy_helper.from_array(np.float32(3), "factor")
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"])]
    return _save(folder, name, nodes, {"x": []}, {"y": []}, [factor])


def write_found(folder: Path, name: str, *, rows: int) -> Path:
    """Write ``x [rows, 2] -> y int64 [2, n]``: the places where x is not zero, if anywhere."""
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["m"]),
        helper.make_node("NonZero", ["m"], ["y"]),
    ]
    scale = numpy_helper.from_array(np.full(2, 3, np.float32), "scale")
    inputs, outputs = {"x": [rows, 2]}, {"y": [2, "n"]}
    return _save(folder, name, nodes, inputs, outputs, [scale], integers=("y",))


def write_embedding(
    folder: Path,
    name: str,
    *,
    rows: int | None = 2,
    length: int = 6,
    words: int = 50,
    width: int = 8,
) -> Path:
    """Write ``ids int64 [rows, length] -> vectors [rows, length, width]``: a table look-up."""
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("Gather", ["table", "ids"], ["vectors"], axis=0)]
    batch = "n" if rows is None else rows
    return _save(
        folder,
        name,
        nodes,
        {"ids": [batch, length]},
        {"vectors": [batch, length, width]},
        [_weights(rng, "table", (words, width), width)],
        integers=("ids",),
    )


def write_gears(
    path: Path, input_shape: Mapping[str, Sequence[int]], gears: Sequence[Sequence[int]]
) -> Path:
    """Write the converter's configuration beside the model and return its path.

    ``input_shape`` has -1 where a dimension is open; each gear lists the values of all open
    dimensions of all inputs, in order. The converter wants them by input.
    """
    shapes = [f"{name}:[{_join(shape)}]" for name, shape in input_shape.items()]
    sections, start = [], 0
    for shape in input_shape.values():
        stop = start + list(shape).count(-1)
        sections.append(",".join(f"[{_join(gear[start:stop])}]" for gear in gears))
        start = stop
    ini = path.with_suffix(".ini")
    ini.write_text(
        f"[ascend_context]\ninput_shape={';'.join(shapes)}\ndynamic_dims={';'.join(sections)}\n"
    )
    return ini


def write_garbage(folder: Path, name: str) -> Path:
    """Write a file that is not a model, under the name of one."""
    path = folder / f"{name}.mindir"
    path.with_suffix(".onnx").write_bytes(b"this is not a model " * 50)
    return path


def _join(values: Sequence[int]) -> str:
    return ",".join(str(value) for value in values)


def _rows(rows: int | None, gears: Sequence[int] | None) -> int | str:
    return "n" if rows is None or gears is not None else rows


def _weights(
    rng: np.random.Generator, name: str, shape: tuple[int, ...], fan_in: int
) -> TensorProto:
    values = (rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)
    return numpy_helper.from_array(values, name)


def _save(
    folder: Path,
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: Mapping[str, list[int | str]],
    outputs: Mapping[str, list[int | str]],
    weights: list[TensorProto],
    integers: tuple[str, ...] = (),
) -> Path:
    def info(tensor: str, shape: list[int | str]) -> onnx.ValueInfoProto:
        kind = TensorProto.INT64 if tensor in integers else TensorProto.FLOAT
        return helper.make_tensor_value_info(tensor, kind, shape)

    graph = helper.make_graph(
        nodes,
        name,
        [info(tensor, shape) for tensor, shape in inputs.items()],
        [info(tensor, shape) for tensor, shape in outputs.items()],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    path = folder / f"{name}.mindir"
    onnx.save(model, str(path.with_suffix(".onnx")))
    return path
