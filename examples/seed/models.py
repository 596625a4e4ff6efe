"""Small networks for the scenarios, written as ONNX and, for a real card, converted to MindIR."""

from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_conv(folder: Path, name: str, size: int, library: ModuleType) -> str:
    """``x [1, 3, size, size] -> y``, three convolutions: much workspace, few weights."""
    rng, nodes, weights, last, depth = np.random.default_rng(0), [], [], "x", 3
    for layer, maps in enumerate((16, 16, 3)):
        out = "y" if layer == 2 else f"a{layer}"
        kernel = rng.standard_normal((maps, depth, 3, 3)) / np.sqrt(9 * depth)
        weights.append(numpy_helper.from_array(kernel.astype(np.float32), f"w{layer}"))
        node = helper.make_node(
            "Conv",
            [last, f"w{layer}"],
            [out],
            kernel_shape=[3, 3],
            pads=[1, 1, 1, 1],
            strides=[1, 1],
            dilations=[1, 1],
            group=1,
        )
        nodes.append(node)
        last, depth = out, maps
    return _save(folder, name, nodes, [1, 3, size, size], weights, library)


def write_mlp(folder: Path, name: str, rows: int, width: int, library: ModuleType) -> str:
    """``x [rows, width] -> y``, two layers: ``8 * width ** 2`` bytes of weights, little workspace.

    The weights depend on the width alone: two files of one width hold the same, by the same names.
    """
    rng, nodes, weights, last = np.random.default_rng(0), [], [], "x"
    for layer in range(2):
        matrix = rng.standard_normal((width, width)) / np.sqrt(width)
        weights.append(numpy_helper.from_array(matrix.astype(np.float32), f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{layer}"], [f"m{layer}"]))
        last = "y" if layer == 1 else f"a{layer}"
        nodes.append(helper.make_node("Relu", [f"m{layer}"], [last]))
    return _save(folder, name, nodes, [rows, width], weights, library)


def _save(
    folder: Path,
    name: str,
    nodes: list[onnx.NodeProto],
    shape: list[int],
    weights: list[onnx.TensorProto],
    library: ModuleType,
) -> str:
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, shape) for end in ("x", "y")]
    graph = helper.make_graph(nodes, name, ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = folder / f"{name}.onnx"
    onnx.save(model, str(path))
    if hasattr(library, "Converter"):  # an emulated card serves the .onnx itself
        converter = library.Converter()
        converter.save_type = library.ModelType.MINDIR
        converter.optimize = "ascend_oriented"
        converter.convert(library.FmkType.ONNX, str(path), str(path.with_suffix("")))
    return str(path.with_suffix(".mindir"))
