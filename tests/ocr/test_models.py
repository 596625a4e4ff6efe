"""The model files as they are put into place."""

import numpy as np
import onnx
import onnxruntime
import pytest

from actors.gears import parse_gears
from examples.ocr.gears import gears
from examples.ocr.models import NOTICE, SOURCES, dictionary, gear_file, place_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return place_models(tmp_path_factory.mktemp("models"))


def test_models_gears_dictionary_and_licence_are_there(folder):
    assert sorted(p.name for p in folder.iterdir()) == [
        "LICENSE",
        "MODEL_LICENSES.md",
        "characters.txt",
        *sorted(f"{name}.{suffix}" for name in SOURCES for suffix in ("ini", "onnx")),
    ]


def test_putting_them_there_again_changes_nothing(folder):
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    place_models(folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_the_recognizer_returns_the_best_character_and_its_score(folder):
    changed = onnx.load(folder / "rec.onnx")
    assert changed.doc_string == NOTICE
    untouched = onnx.ModelProto()
    untouched.CopyFrom(changed)
    del untouched.graph.node[-2:], untouched.graph.output[:]
    untouched.graph.output.append(onnx.ValueInfoProto(name=changed.graph.node[-1].input[0]))
    lines = np.random.default_rng(0).uniform(-1, 1, (2, 3, 48, 160)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    short, long = (
        onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": lines})
        for model in (changed, untouched)
    )
    assert np.array_equal(short[0], long[0].argmax(axis=2))
    assert np.array_equal(short[1], long[0].max(axis=2))
    assert len(dictionary(changed).split("\n")) == long[0].shape[2] - 2  # and blank, and the space


def test_the_gear_files_say_what_the_pipeline_uses(folder):
    for name, shapes in gears().items():
        lines = dict(
            line.split("=") for line in gear_file(shapes).splitlines() if not line.startswith("[")
        )
        assert parse_gears(lines["input_shape"], lines["dynamic_dims"]) == shapes
        assert (folder / f"{name}.ini").read_text() == gear_file(shapes)
