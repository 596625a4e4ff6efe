"""Put the three OCR models into place: ``python -m examples.ocr.models``.

They are PaddleOCR's PP-OCRv6 detector and recognizer (small) and its angle classifier, as the
``rapidocr`` wheel ships them: code and weights under the Apache License 2.0, the weights' copyright
with Baidu and the PaddleOCR authors (the wheel's MODEL_LICENSES.md is copied along).

One is changed: ArgMax and ReduceMax are appended to the recognizer, so that a card returns the
character and the score of every position (kilobytes) rather than 18,710 probabilities for each
(18 MB for a batch of lines), which would cost more to move than to compute.

For each model there is the ``.ini`` file that the converter of MindSpore Lite takes for its gears.
For a real card ``converter_lite --fmk=ONNX --saveType=MINDIR --optimize=ascend_oriented
--modelFile=det.onnx --outputFile=det --configFile=det.ini`` makes the ``det.mindir`` that the
deployment names; an emulated card serves the ``.onnx`` beside it.
"""

import os
import tempfile
from importlib.metadata import distribution
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from actors.gears import format_gears
from actors.shapes import Gear
from examples.ocr.gears import gears

#: Where the deployment and the pipeline look for them.
FOLDER = Path(__file__).parent / "models"

#: Our name of a model and its file in the wheel.
SOURCES = {
    "det": "PP-OCRv6_det_small.onnx",
    "cls": "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
    "rec": "PP-OCRv6_rec_small.onnx",
}

NOTICE = (
    "Changed by ascend-orchestrator: ArgMax and ReduceMax appended, so that the outputs are the "
    "character and the score of every position instead of all probabilities."
)


def place_models(folder: Path = FOLDER) -> Path:
    """Write models, gears, dictionary and licence into ``folder``; return it.

    Files that are there already with the same content are left alone. Every file appears whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wheel = distribution("rapidocr")
    for name, file in SOURCES.items():
        source = Path(str(wheel.locate_file(f"rapidocr/models/{file}")))
        content = source.read_bytes()
        if name == "rec":
            recognizer = onnx.load_from_string(content)
            _write(folder / "characters.txt", dictionary(recognizer).encode())
            content = shorten_outputs(recognizer).SerializeToString(deterministic=True)
        _write(folder / f"{name}.onnx", content)
    for name, shapes in gears().items():
        _write(folder / f"{name}.ini", gear_file(shapes).encode())
    for text in wheel.files or ():
        if text.name in ("LICENSE", "MODEL_LICENSES.md"):
            _write(folder / text.name, Path(str(text.locate())).read_bytes())
    return folder


def dictionary(recognizer: onnx.ModelProto) -> str:
    """The recognizer's characters, one a line, in the order of its classes 1, 2, ..."""
    return str(next(e.value for e in recognizer.metadata_props if e.key == "character"))


def shorten_outputs(recognizer: onnx.ModelProto) -> onnx.ModelProto:
    """Replace the probabilities [N, T, classes] by ``characters`` int64 and ``scores`` [N, T]."""
    changed = onnx.ModelProto()
    changed.CopyFrom(recognizer)
    graph = changed.graph
    probabilities = graph.output[0].name
    graph.node.extend(
        [
            helper.make_node("ArgMax", [probabilities], ["characters"], axis=2, keepdims=0),
            helper.make_node("ReduceMax", [probabilities], ["scores"], axes=[2], keepdims=0),
        ]
    )
    del graph.output[:]
    graph.output.extend(
        [
            helper.make_tensor_value_info("characters", TensorProto.INT64, ["N", "T"]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", "T"]),
        ]
    )
    changed.doc_string = NOTICE
    return changed


def gear_file(shapes: tuple[Gear, ...]) -> str:
    """The converter's config file for these gears."""
    input_shape, dynamic_dims = format_gears(shapes)
    return f"[ascend_context]\ninput_shape={input_shape}\ndynamic_dims={dynamic_dims}\n"


def _write(path: Path, content: bytes) -> None:
    if path.exists() and path.read_bytes() == content:
        return
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)


if __name__ == "__main__":
    place_models()
    for file in sorted(FOLDER.iterdir()):
        print(f"{file.stat().st_size:>12,}  {file.name}")
