"""``orchestrator convert``, with a package in place of the vendor's that plays its Converter."""

import sys
from importlib import metadata
from pathlib import Path

import pytest

from actors.machine import environment
from orchestrator.cli import main
from tests.mindirs import write_mindir
from tests.models import drop_strides, write_conv, write_garbage, write_pair

#: Keeps the Converter's rules: the suffix is added, and errors say nothing.
STAND_IN = """
import enum, os, sys
sys.path.insert(0, {root!r})
from tests.mindirs import write_mindir
from tests.oms import write_compiled

__version__ = "2.8.0"
ModelType = enum.Enum("ModelType", "MINDIR MINDIR_LITE")
FmkType = enum.Enum("FmkType", "TF CAFFE ONNX MINDIR")
ModelGroup = object
ModelGroupFlag = enum.Enum("ModelGroupFlag", "SHARE_WEIGHT SHARE_WORKSPACE SHARE_WEIGHT_WORKSPACE")

class Converter:
    optimize = "general"

    def convert(self, fmk_type, model_file, output_file, weight_file="", config_file=""):
        made_by = FmkType.MINDIR if model_file.endswith(".mindir") else FmkType.ONNX
        assert (fmk_type, self.save_type) == (made_by, ModelType.MINDIR)
        if "crash" in model_file:
            os.write(2, b"free(): double free detected in tcache 2\\n")
            os.abort()
        if config_file and "fail" in open(config_file).read():
            os.write(2, b"[ERROR] LITE(7,python): input_shape names no input of the model\\n")
            raise RuntimeError("Converter model failed! error is Common error code.")
        soc = {{"ascend_oriented": "Ascend310P3", "ascend_oriented:910b": "Ascend910B4"}}
        from pathlib import Path
        shapes = {{"left": (4, 8), "right": (4, 8)}}
        target = Path(output_file + ".mindir")
        if "nothing" in model_file:
            return
        if "large" in model_file:
            target = Path(output_file + "_graph.mindir")
            beside = target.name.replace("_graph.mindir", "_variables/data_0")
            write_mindir(target, shapes, om=b"an OM", beside=beside)
            (target.parent / beside).parent.mkdir()
            (target.parent / beside).write_bytes(b"an OM")
        elif config_file and "provider=ge" in open(config_file).read():
            write_mindir(target, shapes)
        elif self.optimize in soc:
            write_compiled(target, shapes, soc=soc[self.optimize])
        else:
            write_mindir(target, shapes)
"""
needs_absence = pytest.mark.skipif(
    any(d.metadata["Name"] == "mindspore-lite" for d in metadata.distributions()),
    reason="the genuine mindspore_lite is installed here",
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pair(tmp_path, "m")
    return tmp_path


@pytest.fixture
def library(tmp_path_factory, monkeypatch):
    """Children find it where this process would."""
    path = tmp_path_factory.mktemp("site")
    (path / "mindspore_lite").mkdir()
    root = str(Path(__file__).parents[2])
    (path / "mindspore_lite" / "__init__.py").write_text(STAND_IN.format(root=root))
    monkeypatch.setattr(sys, "path", [str(path), *sys.path])
    for name in ("ASCEND_HOME_PATH", "ASCEND_CUSTOM_PATH"):
        monkeypatch.delenv(name, raising=False)


def run(capsys, *arguments):
    code = main(["convert", *arguments])
    return code, *capsys.readouterr()


@needs_absence
@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("target", "made_for"),
    [(("--target", "ascend:910b"), "Ascend910B4"), (("--target=cpu",), "any")],
)
def test_what_came_out_is_said(folder, capsys, target, made_for):
    code, out, err = run(capsys, "m.onnx", "--out", "made.mindir", *target)
    assert (code, err) == (0, "")
    assert out == (
        f"made.mindir: for {made_for}, left:[4,8] float32, right:[4,8] float32, "
        "by mindspore_lite 2.8.0\n"
    )


@needs_absence
@pytest.mark.usefixtures("library")
def test_a_large_model_is_found_under_the_name_that_the_converter_gives_it(folder, capsys):
    (folder / "m.onnx").rename(folder / "large.onnx")
    code, out, err = run(capsys, "large.onnx", "--out", "made.mindir")
    assert (code, err) == (0, "")
    assert out == (
        "made_graph.mindir: for Ascend, not said which, left:[4,8] float32, right:[4,8] float32, "
        "by mindspore_lite 2.8.0, with its weights in made_variables/data_0\n"
    )
    code, _, err = run(capsys, "large.onnx", "--out", "made.mindir")
    assert (code, err[:28]) == (1, "error: made_graph.mindir: is"), "neither is written over"


@needs_absence
@pytest.mark.usefixtures("library")
def test_a_convolution_that_may_convert_and_not_build_is_told(folder, capsys):
    drop_strides(write_conv(folder, "conv", layers=5).with_suffix(".onnx"))
    code, out, err = run(capsys, "conv.onnx", "--out", "made.mindir", "--target=cpu")
    assert code == 0
    assert out.startswith("made.mindir: for any")
    assert err == (
        "warning: conv.onnx: strides are left to their default in c0, c1, c2 and 2 more; the "
        "engine of mindspore_lite 2.0 builds no such model: write them out if the build fails\n"
    )


@needs_absence
@pytest.mark.usefixtures("library")
def test_a_graph_for_ge_has_no_compiled_model_inside(folder, capsys):
    (folder / "m.ini").write_text("[ascend_context]\nprovider=ge\n")
    code, out, err = run(capsys, "m.onnx", "--out", "made.mindir", "--config", "m.ini")
    assert (code, err) == (0, "")
    assert out.startswith(
        "made.mindir: for provider ge, which compiles it whenever it is built, left:[4,8] float32"
    )


@needs_absence
@pytest.mark.usefixtures("library")
def test_a_mindir_that_was_exported_for_no_card_can_be_converted_too(folder, capsys):
    write_mindir(folder / "m.mindir", {"x": (1, 4)})
    code, out, err = run(capsys, "m.mindir", "--out", "made.mindir")
    assert (code, err, out[:27]) == (0, "", "made.mindir: for Ascend310P")
    code, _, err = run(capsys, "made.mindir", "--out", "again.mindir")
    assert (code, err) == (1, "error: made.mindir: was converted for Ascend already\n")


@needs_absence
@pytest.mark.usefixtures("library")
def test_a_conversion_that_wrote_nothing_is_told(folder, capsys):
    (folder / "m.onnx").rename(folder / "nothing.onnx")
    code, out, err = run(capsys, "nothing.onnx", "--out", "made.mindir")
    assert (code, out) == (1, "")
    assert err == (
        "error: nothing.onnx was not converted: mindspore_lite 2.8.0 says that it succeeded and "
        "wrote no made.mindir\n"
    )


@needs_absence
@pytest.mark.usefixtures("library")
def test_a_conversion_that_fails_comes_with_what_was_logged(folder, capsys):
    (folder / "m.ini").write_text("[ge_graph_options]\nge.externalWeigth=fail\n")
    code, out, err = run(capsys, "m.onnx", "--out", "made.mindir", "--config", "m.ini")
    assert (code, out) == (1, "")
    assert err == (
        "warning: m.ini [ge_graph_options] ge.externalWeigth: found an option that nothing reads, "
        "wanted [ge_session_options] ge.externalWeight: write ge.externalWeight=fail under "
        "[ge_session_options]\n"
        "error: m.onnx was not converted: Converter model failed! error is Common error "
        "code. | native log: [ERROR] LITE(7,python): input_shape names no input of the model\n"
    )


@needs_absence
@pytest.mark.usefixtures("library")
def test_a_conversion_that_crashes_ends_nothing_else(folder, capsys):
    (folder / "m.onnx").rename(folder / "crash.onnx")
    code, out, err = run(capsys, "crash.onnx", "--out", "made.mindir")
    assert (code, out) == (1, "")
    assert err == (
        "error: crash.onnx was not converted: the converting process ended with status "
        "-6: free(): double free detected in tcache 2\n"
    )


@needs_absence
@pytest.mark.usefixtures("folder")
def test_without_the_library_it_says_how_to_get_it(folder, capsys):
    code, out, err = run(capsys, "m.onnx", "--out", "made.mindir", "--target", "cpu")
    assert (code, out) == (1, "")
    python = ".".join(map(str, sys.version_info[:2]))
    first = environment.floor("ascend")
    assert err == (
        "error: m.onnx was not converted: mindspore_lite: found none, wanted 2.0.0 or "
        f"later for kind cpu on Python {python}. Install the vendor's cloud wheel {first} or later "
        f"for Python {python}, from the download page of MindSpore Lite\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone.onnx",), "gone.onnx: found no such file, wanted a model file: correct its path"),
        ((".",), ".: found a folder, wanted a model file: name the file in it"),
        (("bad.onnx",), "bad.onnx: found not an ONNX model: "),
        (("m.onnx", "--out", "made.ms"), "made.ms: the Converter writes .mindir files: write --o"),
        (("m.onnx", "--out", ""), ".: is a folder: name a .mindir file in it\n"),
        (("m.onnx", "--out", "no/made.mindir"), "no/made.mindir: there is no folder no\n"),
        (("m.onnx", "--out", "/proc/made.mindir"), "/proc/made.mindir: cannot be written: "),
        (("m.onnx", "--out", "parts.mindir"), "parts_variables: is there already: remove it, or "),
        (("m.pb",), "m.pb: its name must end in .onnx or .mindir, which says what it is"),
        (("m.onnx", "--out", "old.mindir"), "old.mindir: is there already: remove it, or choose"),
        (("m.onnx", "--config", "gone.ini"), "gone.ini: cannot be read: No such file or directory"),
        (("m.onnx", "--config", "bad.ini"), "bad.ini: line 1: expected [section] or key=value, "),
        (("m.onnx", "--config", "old.pb"), "old.pb: is not UTF-8 text"),
        (("m.onnx", "--target", "gpu"), "Invalid value for '--target': 'gpu' is not one of "),
    ],
)
def test_what_can_be_seen_before_is_one_clear_line(folder, capsys, arguments, message):
    write_garbage(folder, "bad")
    (folder / "old.mindir").touch()
    (folder / "parts_variables").mkdir()
    (folder / "bad.ini").write_text("no section\n")
    (folder / "old.pb").write_bytes(b"\xff")
    out_option = () if "--out" in arguments else ("--out", "made.mindir")
    code, out, err = run(capsys, *arguments, *out_option)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {message}")
    assert len(err.splitlines()) == 1
