"""The pages with known text, and how reading them is scored."""

import json

import numpy as np
import pytest
from PIL import Image

from examples.ocr.accuracy import score_pages
from examples.ocr.pages import SCANS, TRUTH, render_pages


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return render_pages(tmp_path_factory.mktemp("pages"), 5, seed=3)


def test_any_number_of_pages_of_every_kind_and_two_scans(folder):
    truth = json.loads((folder / TRUTH).read_text())
    assert sorted(truth) == [
        "0000-invoice.png",
        "0001-letter.png",
        "0002-numbers.png",
        "0003-slip.png",
        "0004-invoice.png",
    ]
    assert {p.name for p in folder.iterdir()} == {*truth, *SCANS, TRUTH}
    assert all(len(rows) >= 4 and row["text"] for rows in truth.values() for row in rows)


def test_the_same_seed_draws_the_same_pages_and_another_does_not(folder, tmp_path):
    same, other = (
        render_pages(tmp_path / "same", 1, seed=3),
        render_pages(tmp_path / "o", 1, seed=4),
    )
    first = "0000-invoice.png"
    assert (same / first).read_bytes() == (folder / first).read_bytes()
    assert (other / first).read_bytes() != (folder / first).read_bytes()


def test_the_truth_lies_where_the_ink_is(folder):
    for name, rows in json.loads((folder / TRUTH).read_text()).items():
        ink = np.asarray(Image.open(folder / name)) < 128
        for row in rows:
            box = np.array(row["box"])
            (left, top), (right, low) = box.min(axis=0).astype(int), box.max(axis=0).astype(int)
            assert ink[top:low, left:right].sum() > 20 * len(row["text"])


ROWS = [
    {"text": "Total 318.50", "box": [[0, 0], [200, 0], [200, 20], [0, 20]]},
    {"text": "Yours", "box": [[0, 40], [80, 40], [80, 60], [0, 60]]},
]


def found(*lines):
    boxes = [np.array([[x, y], [x + 10, y], [x + 10, y + 10], [x, y + 10]]) for x, y, _ in lines]
    return {
        "page": np.array(["a"] * len(lines)),
        "box": np.array(boxes, np.float32).reshape(-1, 4, 2),
        "text": np.array([text for _, _, text in lines]),
    }


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        ([(0, 5, "Total 318.50"), (0, 45, "Yours")], 0),
        ([(90, 5, "318.50"), (0, 45, "Yours"), (0, 4, "Total")], 0),
        ([(0, 5, "Total 318.5O"), (0, 45, "Yours")], 1),
        ([(0, 5, "total 31850"), (0, 45, "Yours")], 2),
        ([(0, 5, "Total 318.50")], 5),
        ([(0, 5, "Total 318.50"), (0, 45, "Yours"), (0, 200, "noise")], 5),
        ([], 17),
    ],
)
def test_every_wrong_missing_or_stray_character_counts(lines, wrong):
    score = score_pages({"a": ROWS}, found(*lines))
    assert (score.characters, score.wrong) == (17, wrong)
    assert score.accuracy == 1 - wrong / 17
    assert bool(score.misread) == bool(wrong)


def test_pages_without_a_truth_do_not_count():
    assert score_pages({}, found((0, 0, "x"))).accuracy == 1.0
