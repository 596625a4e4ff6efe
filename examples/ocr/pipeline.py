"""From pages to lines of text: the pipeline function of the OCR job.

``read_pages`` holds no state and opens nothing but the dictionary file, so it can be pickled and
run wherever its models can be reached: in a driver or in a task. Thresholding, contours, boxes,
crops and CTC decoding are rapidocr's functions; the three models run on the cards.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from rapidocr.ch_ppocr_det.main import TextDetector
from rapidocr.ch_ppocr_det.utils import DBPostProcess
from rapidocr.ch_ppocr_rec.utils import CTCLabelDecode
from rapidocr.utils.process_img import get_rotate_crop_image

from examples.ocr.gears import CLS_SIZE, DET_SIZES, REC_BATCHES, REC_HEIGHT

Array = npt.NDArray[Any]

DICTIONARY = Path(__file__).parent / "models" / "characters.txt"

#: Lines below this score are noise, not text.
MIN_SCORE = 0.5
#: An upright reading with this score is believed whatever the angle classifier says: it takes some
#: upright Latin lines for upside-down ones, sure of itself, and the recognizer knows better.
SURE = 0.9


class Model(Protocol):
    """A model on the cards: a dict of arrays in, a dict of arrays."""

    async def predict_async(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Answer all rows of ``inputs`` in order."""


class Models(Protocol):
    """The three models by name."""

    @property
    def det(self) -> Model:
        """From x float32 [1, 3, H, W], probability of text [1, 1, H, W]."""

    @property
    def cls(self) -> Model:
        """From x float32 [N, 3, 48, 192], probabilities of 0 and 180 degrees [N, 2]."""

    @property
    def rec(self) -> Model:
        """From x float32 [N, 3, 48, W], ``characters`` int64 and ``scores`` float32 [N, T]."""


class Reading(NamedTuple):
    """What the recognizer read in one line, with the mean score of its characters (0 to 1)."""

    text: str
    score: float


async def read_pages(batch: dict[str, Array], models: Models) -> dict[str, Array]:
    """Read every page of a batch; the pages, and the lines of a page, are in flight together.

    Args:
        batch: ``path`` (names) and ``image`` (uint8 [H, W, 3] RGB arrays of any sizes).
        models: anything with ``det``, ``cls`` and ``rec``.

    Returns:
        One row for each line of text in reading order: ``page`` (the name), ``box`` float32
        [N, 4, 2] (x and y of the corners in pixels, clockwise from the top left), ``text``, and
        ``score`` float32 (0 to 1).
    """
    alphabet = CTCLabelDecode(character=DICTIONARY.read_text(encoding="utf-8").split("\n"))
    pages = await asyncio.gather(*(_read_page(image, models, alphabet) for image in batch["image"]))
    lines = [
        (str(name), box, reading)
        for name, page in zip(batch["path"], pages, strict=True)
        for box, reading in page
    ]
    return {
        "page": np.array([name for name, _, _ in lines], dtype=np.str_),
        "box": np.array([box for _, box, _ in lines], dtype=np.float32).reshape(-1, 4, 2),
        "text": np.array([reading.text for _, _, reading in lines], dtype=np.str_),
        "score": np.array([reading.score for _, _, reading in lines], dtype=np.float32),
    }


async def _read_page(
    image: Array, models: Models, alphabet: CTCLabelDecode
) -> list[tuple[Array, Reading]]:
    image = np.ascontiguousarray(image[..., ::-1])  # the models were trained on BGR
    page, inside = await asyncio.to_thread(fit_page, image)
    (probabilities,) = (await models.det.predict_async({"x": page})).values()
    boxes, crops = await asyncio.to_thread(cut_lines, image, probabilities, inside)
    if not crops:
        return []
    angles, readings = await asyncio.gather(
        _upside_down(crops, models), _read_lines(crops, models, alphabet)
    )
    doubtful = [i for i, reading in enumerate(readings) if angles[i] and reading.score < SURE]
    if doubtful:
        turned = [crops[i][::-1, ::-1] for i in doubtful]
        again = await _read_lines(turned, models, alphabet)
        for i, reading in zip(doubtful, again, strict=True):
            readings[i] = max(readings[i], reading, key=lambda line: line.score)
    return [
        (box, reading)
        for box, reading in zip(boxes, readings, strict=True)
        if reading.text.strip() and reading.score >= MIN_SCORE
    ]


async def _upside_down(crops: Sequence[Array], models: Models) -> list[bool]:
    lines = await asyncio.to_thread(_stack, crops, *CLS_SIZE)
    (probabilities,) = (await models.cls.predict_async({"x": lines})).values()
    return [bool(turned > SURE) for _, turned in probabilities]


async def _read_lines(
    crops: Sequence[Array], models: Models, alphabet: CTCLabelDecode
) -> list[Reading]:
    """Read lines in any order of widths: one request for each width that the model has."""
    widths = np.array([line_width(crop.shape) for crop in crops])
    groups = [np.flatnonzero(widths == width).tolist() for width in sorted(set(widths))]
    found = await asyncio.gather(
        *(_read_width([crops[i] for i in g], int(widths[g[0]]), models, alphabet) for g in groups)
    )
    order = np.concatenate(groups)
    readings = [reading for group in found for reading in group]
    return [readings[i] for i in np.argsort(order)]


async def _read_width(
    crops: Sequence[Array], width: int, models: Models, alphabet: CTCLabelDecode
) -> list[Reading]:
    lines = await asyncio.to_thread(_stack, crops, REC_HEIGHT, width)
    outputs = await models.rec.predict_async({"x": lines})
    decoded, _ = alphabet.decode(outputs["characters"], outputs["scores"], remove_duplicate=True)
    return [Reading(text, float(score)) for text, score in decoded]


def fit_page(image: Array) -> tuple[Array, tuple[int, int]]:
    """Scale a page onto white in the size of the detector that wastes least; its size there.

    Small pages grow too: the detector wants letters of ten pixels or more.
    """
    height, width = image.shape[:2]
    scales = [min(h / height, w / width) for h, w in DET_SIZES]
    best = max(scales)
    size, scale = min(
        (pair for pair in zip(DET_SIZES, scales, strict=True) if pair[1] >= 0.9 * best),
        key=lambda pair: math.prod(pair[0]),
    )
    inside = max(1, round(height * scale)), max(1, round(width * scale))
    shrinks = scale < 1
    scaled = cv2.resize(
        image, inside[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )
    page = np.full((1, 3, *size), 1.0, np.float32)
    page[0, :, : inside[0], : inside[1]] = _normal(scaled)
    return page, inside


def cut_lines(
    image: Array, probabilities: Array, inside: tuple[int, int]
) -> tuple[Array, list[Array]]:
    """Boxes [N, 4, 2] of a page's lines in reading order, and the straightened lines cut."""
    # The values that rapidocr ships for this detector.
    find = DBPostProcess(thresh=0.3, box_thresh=0.5, unclip_ratio=1.6, use_dilation=True)
    height, width = image.shape[:2]
    boxes, _ = find(probabilities[:, :, : inside[0], : inside[1]], (height, width))
    boxes = TextDetector.sorted_boxes(boxes)
    return boxes, [get_rotate_crop_image(image, box) for box in boxes]


def line_width(shape: Sequence[int]) -> int:
    """The narrowest width of the recognizer that holds a line of this height and width.

    A line that is longer than the widest is squeezed into it.
    """
    wanted = REC_HEIGHT * shape[1] / shape[0]
    return next((width for width in REC_BATCHES if width >= wanted), max(REC_BATCHES))


def _stack(crops: Sequence[Array], height: int, width: int) -> Array:
    """Lines scaled to ``height``, padded with zeros to ``width``: float32 [N, 3, height, width]."""
    lines = np.zeros((len(crops), 3, height, width), np.float32)
    for line, crop in zip(lines, crops, strict=True):
        wide = min(width, math.ceil(height * crop.shape[1] / crop.shape[0]))
        line[:, :, :wide] = _normal(cv2.resize(crop, (wide, height)))
    return lines


def _normal(image: Array) -> Array:
    """Uint8 [H, W, 3] as the models take it: float32 [3, H, W] from -1 to 1."""
    scaled: Array = image.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1
    return scaled
