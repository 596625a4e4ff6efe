"""The folder of images: which files are records, how they are decoded, what is refused."""

import os
import re

import numpy as np
import pytest
from PIL import Image

from orchestrator.errors import JobError
from orchestrator.jobs import cut
from orchestrator.runtime.io.files import InputFiles
from orchestrator.runtime.io.whole import Images

RED = (200, 30, 40)


def images(folder):
    return Images(InputFiles(folder))


def read(folder, *names):
    """The only batch of these images."""
    source = images(folder)
    pieces = [piece for piece in source.pieces(1) if piece.file in names]
    (load,) = source.read(cut(pieces, 99)[0], 99)
    return load()


def refusal(folder, name):
    (reject,) = read(folder, name).rejects
    assert (reject.record, reject.stage.value) == (name, "read")
    return reject.reason


def save(path, mode="RGB", color=RED, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (6, 4), color).save(path, **options)


def test_records_are_the_images_by_relative_path_sorted(tmp_path):
    for name in ("b.png", "a.JPG", "sub/c.tiff", ".hidden.png", ".git/d.png"):
        save(tmp_path / name, format="PNG")
    (tmp_path / "truth.json").write_text("{}")
    folder = images(tmp_path)
    assert folder.names == ("a.JPG", "b.png", "sub/c.tiff")
    assert folder.ignored == 1


def test_a_record_is_rgb_with_its_path(tmp_path):
    save(tmp_path / "a.png")
    batch = read(tmp_path, "a.png")
    assert batch.ids == ("a.png",)
    record = batch.columns
    assert record["path"].tolist() == ["a.png"]
    assert record["image"].shape == (1,)
    assert record["image"][0].dtype == np.uint8
    assert record["image"][0].shape == (4, 6, 3)
    assert record["image"][0][0, 0].tolist() == list(RED)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("L", 77, [77, 77, 77]),
        ("1", 1, [255, 255, 255]),
        ("RGBA", (10, 10, 10, 0), [255, 255, 255]),
        ("LA", (9, 255), [9, 9, 9]),
        ("I;16", 65535, [255, 255, 255]),
    ],
)
def test_every_mode_becomes_rgb(tmp_path, mode, color, expected):
    save(tmp_path / "a.png", mode, color)
    assert read(tmp_path, "a.png").columns["image"][0][0, 0].tolist() == expected


def test_a_photo_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "a.jpg", exif=exif)
    assert read(tmp_path, "a.jpg").columns["image"][0].shape == (6, 4, 3)


def test_a_broken_image_says_why_and_costs_itself_alone(tmp_path):
    save(tmp_path / "whole.png")
    (tmp_path / "noise.png").write_bytes(b"this is no picture")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:45])
    (tmp_path / "empty.png").write_bytes(b"")
    names = ("noise.png", "half.png", "empty.png")
    batch = read(tmp_path, *names, "whole.png")
    assert batch.ids == ("whole.png",)
    assert {reject.record for reject in batch.rejects} == set(names)
    assert all(reject.reason.startswith("cannot be read: ") for reject in batch.rejects)


def test_an_image_that_vanishes_or_changes_while_the_job_runs(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    source = images(tmp_path)
    loads = list(source.read(cut(source.pieces(1), 9)[0], 1))
    (tmp_path / "a.png").unlink()
    (tmp_path / "b.png").write_bytes(b"")
    vanished, changed = (load().rejects[0].reason for load in loads)
    assert vanished == "cannot be read: No such file or directory"
    assert re.match(r"has 0 bytes and had \d+ when the job began: it changes", changed)


def test_a_file_of_several_pages_is_refused_not_cut(tmp_path):
    pages = [Image.new("L", (6, 4), shade) for shade in (0, 90, 180)]
    pages[0].save(tmp_path / "scan.tiff", save_all=True, append_images=pages[1:])
    assert refusal(tmp_path, "scan.tiff") == "holds 3 pages; give each a file of its own"


def test_an_image_of_gigabytes_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    save(tmp_path / "huge.png")
    assert refusal(tmp_path, "huge.png").startswith("cannot be read: Image size (24 pixels)")


def test_what_is_no_folder_of_images(tmp_path):
    with pytest.raises(JobError, match="no such file or folder"):
        images(tmp_path / "missing")
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(JobError, match="there is no image in it; images end in"):
        images(tmp_path / "empty")
    with pytest.raises(JobError, match=r"no image in it \(1 other files\)"):
        images(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_listed(tmp_path):
    save(tmp_path / "a.png")
    tmp_path.chmod(0)
    with pytest.raises(JobError, match="cannot be listed: Permission denied"):
        images(tmp_path)
    tmp_path.chmod(0o700)
