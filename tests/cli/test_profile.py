"""``orchestrator profile``: measured once, shown by gear, used by the plans that follow."""

import contextlib
import io
import json

import pytest

from actors.files.onnxfile import read_onnx
from orchestrator.cli import main
from orchestrator.profiles import ProfileCache
from orchestrator.units import format_bytes
from tests.mindirs import write_mindir
from tests.models import write_garbage, write_mlp, write_scalar

HEAD = "name: d\ncards: {kind: emulated, count: 1, capacity: 64MiB, allocation: exact}\nmodels:\n"
ONE = "  - {name: one, path: one.mindir, sizes: {weights: 1MiB, workspace: 1MiB, io: 1MiB}}\n"
GEARS = "  - {name: gears, path: gears.mindir, emulated: {execute: [2ms, 4ms]}}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("profile")
    write_mlp(made, "one", rows=4, width=64)
    write_mlp(made, "gears", gears=[1, 4], width=64)
    (made / "d.yaml").write_text(HEAD + ONE + GEARS)
    return made


@pytest.fixture(scope="module")
def profiled(folder):
    """One of the models measured into a cache of its own and a file; what was printed."""
    out, err = io.StringIO(), io.StringIO()
    options = ["--model", "gears", "--out", str(folder / "p.json")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASCEND_ORCHESTRATOR_CACHE", str(folder / "cache"))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["profile", str(folder / "d.yaml"), *options])
        assert len(list(ProfileCache().folder.iterdir())) == 1
    assert (code, err.getvalue()) == (0, "")  # progress is for a terminal
    return [line.rstrip() for line in out.getvalue().splitlines()]


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def test_without_a_card_it_says_where_there_must_be_one(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    write_mindir(tmp_path / "a.mindir", {"x": [1, 4]})
    head = "name: d\ncards: {kind: ascend, capacity: 1GiB}\nmodels:\n"
    (tmp_path / "d.yaml").write_text(f"{head}  - {{name: a, path: a.mindir}}\n")
    assert run(capsys, "profile", tmp_path / "d.yaml") == (
        1,
        "",
        "error: d: kind ascend is measured on an idle card, and this machine has none to use "
        "(npu-smi is not on the PATH): run this on a node of the cluster that has one, with --out "
        "FILE, and plan here with --profiles FILE; sizes (and service_time with a demand) in the "
        "deployment need no measuring\n",
    )


def test_a_row_for_each_gear(profiled, folder):
    measured = json.loads((folder / "p.json").read_text())["models"]["gears"]["measurement"]
    small, large = measured["gears"]
    assert small["execute_ms"] > 1.999
    assert large["execute_ms"] > 3.999
    assert " ".join(profiled[0].split()) == (
        "model weights objects gear workspace io ms ms/item the plan uses"
    )
    assert [" ".join(line.split()) for line in profiled[1:]] == [
        f"gears 32.5 KiB 0 B x:[1,64] {told(small, 512, rows=1)} measured",
        f"x:[4,64] {told(large, 2048, rows=4)}",
    ]


def told(gear, io_bytes, rows):
    workspace = format_bytes(gear["workspace_bytes"])
    times = f"{gear['execute_ms']:.3g} {gear['execute_ms'] / rows:.3g}"
    return f"{workspace} {format_bytes(io_bytes)} {times}"


def test_the_planner_uses_what_was_written(profiled, folder, capsys, monkeypatch):
    monkeypatch.setenv("ASCEND_ORCHESTRATOR_CACHE", str(folder / "cache"))
    code, out, err = run(capsys, "plan", folder / "d.yaml", "--json")
    assert (code, err) == (0, "")  # nothing is measured again
    assert json.loads(out)["origins"] == {"one": "declared", "gears": "measured"}


def test_the_file_serves_a_machine_that_has_measured_nothing(
    profiled, folder, capsys, monkeypatch, tmp_path
):
    monkeypatch.setenv("ASCEND_ORCHESTRATOR_CACHE", str(tmp_path / "empty"))
    plan = ("plan", folder / "d.yaml", "--profiles", folder / "p.json")
    code, out, err = run(capsys, *plan)
    assert (code, err) == (0, "")
    assert "measured" in out
    assert not (tmp_path / "empty").exists()


def test_a_file_of_another_model_is_refused(profiled, folder, capsys, tmp_path):
    other = write_mlp(tmp_path, "gears", gears=[1, 4], width=64, seed=1)
    assert read_onnx(other.with_suffix(".onnx")).weight_bytes == 33280
    (tmp_path / "d.yaml").write_text(HEAD + GEARS)
    code, out, err = run(
        capsys, "plan", tmp_path / "d.yaml", "--profiles", folder / "p.json", "--no-probe"
    )
    assert (code, out) == (1, "")
    assert err == (
        f"error: {folder}/p.json: model gears: the model's file has changed since: measure it "
        "again\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("profile", "gone.yaml"), "error: gone.yaml: there is no such file"),
        (("profile", "."), "error: .: is a folder: name the file in it, such as deployment.yaml"),
        (
            ("profile", "D", "--model", "on"),
            "error: d: there is no model 'on', did you mean 'one'?",
        ),
        (
            ("plan", "D", "--profiles", "D"),
            "error: D: is no file of measurements: `orchestrator profile --out` writes one",
        ),
        (("plan", "D", "--profiles", "gone"), "error: gone: cannot be read: No such file"),
    ],
)
def test_wrong_files_and_names_are_one_clear_line(folder, capsys, arguments, message):
    path = str(folder / "d.yaml")
    code, out, err = run(capsys, *[path if word == "D" else word for word in arguments])
    assert (code, out) == (1, "")
    assert err.startswith(message.replace("D:", f"{path}:"))
    assert len(err.splitlines()) == 1


def test_a_damaged_model_is_named(capsys, tmp_path):
    write_garbage(tmp_path, "bad")
    (tmp_path / "d.yaml").write_text(HEAD + "  - {name: bad, path: bad.mindir}\n")
    code, out, err = run(capsys, "profile", tmp_path / "d.yaml")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: model bad: {tmp_path}/bad.onnx: found not an ONNX model: ")
    assert err.endswith(", wanted an ONNX model: export it again\n")
    assert len(err.splitlines()) == 1


def test_a_model_that_does_not_load_keeps_no_other_from_being_measured(capsys, tmp_path):
    write_mlp(tmp_path, "one", rows=4, width=64)
    file = write_mlp(tmp_path, "other", rows=2, width=64).with_suffix(".onnx")
    file.write_bytes(file.read_bytes().replace(b"Relu", b"None"))  # no such operator
    other = "  - {name: other, path: other.mindir}\n"
    (tmp_path / "d.yaml").write_text(HEAD + other + "  - {name: one, path: one.mindir}\n")
    code, out, err = run(capsys, "profile", tmp_path / "d.yaml", "--out", tmp_path / "p.json")
    assert code == 1
    assert [line.split()[0] for line in out.splitlines()] == ["model", "one"]
    assert list(json.loads((tmp_path / "p.json").read_text())["models"]) == ["one"]
    assert err.startswith(f"error: card probe: model other ({tmp_path}/other.mindir) did not load:")
    assert len(err.splitlines()) == 1


def test_where_its_file_cannot_be_written_nothing_is_measured(folder, capsys):
    code, out, err = run(capsys, "profile", folder / "d.yaml", "--out", "/proc/p.json")
    assert (code, out) == (1, "")
    assert err == "error: /proc/p.json: cannot be written: No such file or directory\n"


def test_an_input_without_dimensions_has_no_batch_axis(tmp_path, capsys):
    write_scalar(tmp_path, "one")
    model = "  - {name: one, path: one.mindir"
    file = tmp_path / "d.yaml"
    file.write_text(HEAD + model + "}\n")
    told = (
        "error: model one: batching.axis is 0 and input x has 0 dimensions; "
        "batching: {axis: none} runs every request alone\n"
    )
    for verb in ("profile", "plan"):
        assert run(capsys, verb, file) == (1, "", told)
    file.write_text(HEAD + model + ", batching: {axis: none}}\n")
    code, out, _ = run(capsys, "profile", file)
    assert (code, "x:[]" in out) == (0, True)
