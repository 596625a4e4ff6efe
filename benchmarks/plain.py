"""The plain loop that the cards are compared with: ONNX Runtime in this process, two threads.

The same model files with the same engine settings as on an emulated card, fed the same shapes: each
request is cut and padded to the model's gears by the same library code. With ``padded=False`` it is
fed what the caller sends, which no compiled model could take.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime

from actors import shapes
from actors.shapes import Array, Arrays, BatchRule, Gear, Signature, TensorSpec
from examples.ocr.gears import gears

RULE = BatchRule()


class PlainModel:
    """One session, called from the threads of a pool."""

    def __init__(
        self, path: Path, gears: tuple[Gear, ...], pool: ThreadPoolExecutor, padded: bool
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.disable_prepacking", "1")
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [output.name for output in self._session.get_outputs()]
        inputs = tuple(TensorSpec(name, "float32", shape) for name, shape in gears[0].inputs)
        self._signature = Signature(inputs, (), gears)
        self._pool = pool
        self._padded = padded
        self.runs = 0

    async def predict_async(self, inputs: Arrays) -> Arrays:
        """Answer all rows in order: each piece is one run on one of the threads."""
        pieces = shapes.split(self._signature, RULE, inputs) if self._padded else [inputs]
        self.runs += len(pieces)
        loop = asyncio.get_running_loop()
        answers = await asyncio.gather(
            *(loop.run_in_executor(self._pool, self._run, piece) for piece in pieces)
        )
        return shapes.merge(RULE, answers)

    def _run(self, inputs: Arrays) -> Mapping[str, Array]:
        rows = len(inputs["x"])
        fed = self._pad(inputs, rows) if self._padded else inputs
        answers = self._session.run(None, dict(fed))
        return {name: out[:rows] for name, out in zip(self._outputs, answers, strict=True)}

    def _pad(self, inputs: Arrays, rows: int) -> Arrays:
        key = shapes.bucket(self._signature, RULE, inputs)
        gear = shapes.choose_gear(self._signature, RULE, key, rows)
        missing = shapes.gear_rows(gear, RULE) - rows
        if not missing:
            return inputs
        return {
            name: np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])
            for name, array in inputs.items()
        }


class PlainModels:
    """``det``, ``cls`` and ``rec`` on one pool of threads."""

    def __init__(self, folder: Path, *, threads: int = 2, padded: bool = True) -> None:
        pool = ThreadPoolExecutor(threads)
        self.det, self.cls, self.rec = (
            PlainModel(folder / f"{name}.onnx", gears()[name], pool, padded)
            for name in ("det", "cls", "rec")
        )

    def calls(self, rounds: float) -> dict[str, float]:
        """Runs of each model, for one of so many rounds."""
        models = {"det": self.det, "cls": self.cls, "rec": self.rec}
        return {name: model.runs / rounds for name, model in models.items()}
