"""Reading pages with the real models, in this process."""

import asyncio
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from benchmarks.plain import PlainModels
from examples.ocr import pipeline
from examples.ocr.accuracy import score_pages
from examples.ocr.gears import DET_SIZES
from examples.ocr.models import place_models
from examples.ocr.pages import TRUTH, render_pages
from examples.ocr.pipeline import fit_page, line_width


@pytest.fixture(scope="module")
def models():
    return PlainModels(place_models())


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return render_pages(tmp_path_factory.mktemp("pages"), 4, seed=11)


def read(batch, models):
    return asyncio.run(pipeline.read_pages(batch, models))


def batch(*images):
    column = np.empty(len(images), object)
    for index, (_, image) in enumerate(images):
        column[index] = image
    return {"path": np.array([name for name, _ in images]), "image": column}


def load(folder, name):
    return name, np.asarray(Image.open(folder / name).convert("RGB"))


def test_pages_of_every_kind_are_read(pages, models):
    truth = json.loads((pages / TRUTH).read_text())
    found = read(batch(*(load(pages, name) for name in truth)), models)
    score = score_pages(truth, found)
    assert score.characters > 400
    assert score.accuracy >= 0.98, score.misread
    assert found["box"].dtype == found["score"].dtype == np.float32
    assert len({len(column) for column in found.values()}) == 1


def test_a_scan_is_read_and_handwriting_is_not_made_up(pages, models):
    found = read(batch(load(pages, "page.png"), load(pages, "text.png")), models)
    lines = dict(zip(found["text"].tolist(), found["page"].tolist(), strict=True))
    assert lines["Region-based segmentation"] == "page.png"
    assert found["score"].min() >= 0.5


def test_a_page_upside_down_reads_the_same(pages, models):
    name, image = load(pages, "0003-slip.png")
    upright, turned = (
        set(read(batch((name, page)), models)["text"].tolist())
        for page in (image, image[::-1, ::-1])
    )
    assert upright == turned != set()


def test_upright_lines_that_the_classifier_would_turn_stay_upright(pages, models):
    class Turned:
        """The classifier at its worst: everything is upside down, and it is sure of it."""

        async def predict_async(self, inputs):
            return {"": np.tile(np.float32([0, 1]), (len(inputs["x"]), 1))}

    class Believed:
        det, cls, rec = models.det, Turned(), models.rec

    one = batch(load(pages, "0003-slip.png"))
    plain, doubted = read(one, models), read(one, Believed())
    assert plain["text"].tolist() == doubted["text"].tolist()


def test_an_empty_page_and_an_empty_batch_have_columns_and_no_rows(models):
    blank = np.full((300, 200, 3), 255, np.uint8)
    for found in (
        read(batch(("blank", blank)), models),
        read(batch(), models),
    ):
        assert {name: column.shape for name, column in found.items()} == {
            "page": (0,),
            "box": (0, 4, 2),
            "text": (0,),
            "score": (0,),
        }


def test_the_function_can_be_sent_elsewhere():
    assert pickle.loads(pickle.dumps(pipeline.read_pages)) is pipeline.read_pages


@pytest.mark.parametrize(
    ("size", "gear", "inside"),
    [
        ((1754, 1240), DET_SIZES[0], (960, 679)),
        ((874, 1240), DET_SIZES[1], (480, 681)),
        ((191, 384), DET_SIZES[1], (350, 704)),
        ((3, 5000), DET_SIZES[1], (1, 704)),
    ],
)
def test_a_page_goes_into_the_gear_that_wastes_least(size, gear, inside):
    page, used = fit_page(np.zeros((*size, 3), np.uint8))
    assert (page.shape, used) == ((1, 3, *gear), inside)
    assert page[0, :, : inside[0], : inside[1]].max() == -1
    assert page[0, :, inside[0] :].min(initial=1) == 1


def test_a_line_goes_into_the_narrowest_width_that_holds_it():
    assert [line_width((48, width)) for width in (1, 160, 161, 1280, 9000)] == [
        160,
        160,
        320,
        1280,
        1280,
    ]
