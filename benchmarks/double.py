"""A model that does next to nothing: what it takes is what a call around it takes."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper


def write_double(folder: Path, name: str, rows: int | None, width: int) -> str:
    """``x [rows, width] -> y = 2 x``, as much out as in; the rows are open if not given."""
    shape = ["n" if rows is None else rows, width]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [helper.make_tensor("w", TensorProto.FLOAT, [1], [2.0])],  # the library wants weights
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(
        helper.make_model(graph, opset_imports=[opset], ir_version=9), folder / f"{name}.onnx"
    )
    return str(folder / f"{name}.mindir")
