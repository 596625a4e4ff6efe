"""Make the model of this example, and rows for it: ``python -m examples.ray_job.prepare ROWS``.

The model is ``models/embed.onnx`` beside this file, which an emulated card serves for the
``models/embed.mindir`` that the deployment names; it travels to the cluster with the folder. For
cards make that file of it, on a machine that has some: ``orchestrator convert models/embed.onnx
--out models/embed.mindir``. ``ROWS`` is the file of JSON lines to write, where the nodes see it.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
WIDTH, BATCH, COUNT = 8, 4, 1000


def main(arguments: Sequence[str] | None = None) -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rows", type=Path, help="the file of rows to write: /shared/rows.jsonl")
    parser.add_argument("--folder", type=Path, default=HERE, help="where models/ is made")
    options = parser.parse_args(arguments)
    print(write_model(options.folder / "models"))
    print(write_rows(options.rows))


def write_model(folder: Path) -> Path:
    """``x [4, 8] -> y [4, 8]``: multiplied by a matrix of fixed random numbers."""
    weights = np.random.default_rng(0).standard_normal((WIDTH, WIDTH)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [BATCH, WIDTH]) for name in "xy")
    graph = helper.make_graph(nodes, "embed", [x], [y], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder.mkdir(exist_ok=True)
    path = folder / "embed.onnx"
    onnx.save(model, path)
    return path


def write_rows(path: Path) -> Path:
    """A thousand records with the column ``x``."""
    rows = np.random.default_rng(1).random((COUNT, WIDTH)).round(6)
    path.write_text("".join(json.dumps({"x": row.tolist()}) + "\n" for row in rows))
    return path


if __name__ == "__main__":
    main()
