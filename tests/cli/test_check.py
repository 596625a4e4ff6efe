"""``orchestrator check``: what of the model files does not suit the deployment, a line each."""

import json
import sys

import pytest

from orchestrator.cli import main
from tests.mindirs import INT32, write_mindir
from tests.models import write_mlp, write_pair, write_scalar
from tests.oms import write_compiled, write_om

ASCEND = "name: d\ncards: {kind: ascend, type: 310P}\nmodels:\n"


@pytest.fixture
def check(capsys, tmp_path, monkeypatch):
    """Write a deployment of these models, check it, and return code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(models, *options, head=ASCEND):
        (tmp_path / "d.yaml").write_text(head + models)
        code = main(["check", "d.yaml", *options])
        out, err = capsys.readouterr()
        return code, out.replace(f"{tmp_path}/", ""), err.replace(f"{tmp_path}/", "")

    return run


def lines(result):
    """The findings of a check that found some, without the last line, which counts them."""
    code, out, err = result
    assert (code, err) == (1, "")
    *found, count = out.splitlines()
    assert count.startswith(f"{len(found)} to fix in ")
    return found


def test_a_right_deployment_is_a_table(check, tmp_path):
    write_compiled(tmp_path / "det.mindir", {"x": (1, 3, 96, 96)})
    gears = [{"ids": (n, 8), "mask": (n, 8)} for n in (1, 4, 16)]
    shapes = {"ids": (-1, 8), "mask": (-1, 8)}
    write_compiled(tmp_path / "rec.mindir", shapes, gears=gears, dtype=INT32)
    code, out, err = check(
        "  - {name: det, path: det.mindir}\n"
        "  - name: rec\n    path: rec.mindir\n"
        "    shapes: {gears: [{ids: [1, 8], mask: [1, 8]}, {ids: [4, 8], mask: [4, 8]}]}\n"
    )
    assert (code, err) == (0, "")
    assert [line.rstrip() for line in out.splitlines()] == [
        "model  file        made for     gears  inputs",
        "det    det.mindir  Ascend310P3      1  x:[1,3,96,96] float32                ok",
        "rec    rec.mindir  Ascend310P3      2  ids:[-1,8] int32, mask:[-1,8] int32  ok",
    ]


def test_what_was_not_converted_is_refused_unless_allowed(check, tmp_path):
    write_mindir(tmp_path / "m.mindir", {"x": (1, 4)})
    model = "  - {name: m, path: m.mindir"
    assert lines(check(model + "}\n")) == [
        "m: file: found one that is compiled whenever it is built, wanted a MindIR that was "
        "converted for Ascend: orchestrator convert --target ascend, or allow it with "
        "compile_at_build: true, which makes every start slow"
    ]
    for allowed in ("compile_at_build: true", "provider: ge"):
        code, out, _ = check(f"{model}, {allowed}}}\n")
        assert (code, "any" in out.splitlines()[1]) == (0, True)


def test_hardware_of_another_family(check, tmp_path):
    write_compiled(tmp_path / "m.mindir", {"x": (1, 4)}, soc="Ascend910B4")
    model = "  - {name: m, path: m.mindir}\n"
    assert lines(check(model)) == [
        "m: file: found a model compiled for Ascend910B4, wanted one for cards of type 310P: "
        "convert it on a machine with cards of type 310P, or correct cards.type"
    ]
    assert check(model, head=ASCEND.replace("310P", "910B-64G"))[0] == 0
    assert check(model, head=ASCEND.replace("310P", "some-prototype"))[0] == 0
    assert lines(check(model, head=ASCEND.replace("ascend, type: 310P", "cpu"))) == [
        "m: file: found a model compiled for Ascend910B4, wanted one for the processor (kind cpu): "
        "orchestrator convert --target cpu"
    ]


def test_weights_that_are_not_beside_the_model(check, tmp_path):
    model = "  - {name: m, path: m.mindir}\n"
    write_compiled(tmp_path / "m.mindir", {"x": (1, 4)}, beside="m_variables/data_0")
    assert lines(check(model)) == [
        "m: m_variables/data_0: found no such file, wanted weights of m.mindir: copy it there: it "
        "was written together with m.mindir"
    ]
    (tmp_path / "m_variables").mkdir()
    (tmp_path / "m_variables" / "data_0").write_bytes(write_om({"x": (1, 4)}, soc="Ascend910B4"))
    (line,) = lines(check(model))
    assert "found a model compiled for Ascend910B4, wanted one for cards of type 310P" in line


@pytest.mark.parametrize(
    ("shapes", "found"),
    [
        (
            "{fixed: {y: [1, 4]}}",
            [
                "input y: found inputs x, wanted y, which shapes declare: correct its name",
                "input x: found x:[-1,4], wanted its shape in shapes: add x to every entry of "
                "shapes",
            ],
        ),
        (
            "{fixed: {xx: [1, 4], x: [1, 4]}}",
            [
                "input xx: found inputs x, wanted xx, which shapes declare: correct its name, did "
                "you mean 'x'?"
            ],
        ),
        (
            "{gears: [{x: [1, 5]}, {x: [2, 5]}]}",
            [
                "input x: found x:[-1,4], wanted x:[1,5] and 1 more, as shapes declare: correct "
                "shapes, or convert the model for them"
            ],
        ),
        (
            "{fixed: {x: [4]}}",
            [
                "input x: found x:[-1,4], wanted x:[4], as shapes declare: correct shapes, or "
                "convert the model for them"
            ],
        ),
        (
            None,
            [
                "input x: found x:[-1,4], open, wanted shapes in the deployment, or a .ini file "
                "that lists the gears: add shapes: {gears: [{x: [1, 4]}, {x: [4, 4]}]}, which it "
                "was compiled for"
            ],
        ),
        (
            "{gears: [{x: [1, 4]}, {x: [2, 4]}, {x: [3, 4]}]}",
            [
                "shapes: found a model compiled for x:[1,4], x:[4,4], wanted one for x:[2,4], "
                "x:[3,4], as shapes declare: convert the model for them, or write shapes: {gears: "
                "[{x: [1, 4]}, {x: [4, 4]}]}"
            ],
        ),
        (
            "{dynamic: {max_shape: {x: [4, 4]}}}",
            [
                "shapes: found a model compiled for x:[1,4], x:[4,4], wanted one that takes any "
                "shape: write shapes: {gears: [{x: [1, 4]}, {x: [4, 4]}]}"
            ],
        ),
    ],
)
def test_shapes_against_the_inputs(check, tmp_path, shapes, found):
    gears = [{"x": (1, 4)}, {"x": (4, 4)}]
    write_compiled(tmp_path / "m.mindir", {"x": (-1, 4)}, gears=gears)
    declared = f", shapes: {shapes}" if shapes else ""
    assert lines(check(f"  - {{name: m, path: m.mindir{declared}}}\n")) == [
        f"m: {line}" for line in found
    ]


@pytest.mark.parametrize(
    ("shapes", "wanted"),
    [
        ("{gears: [{x: [1, 4]}, {x: [4, 4]}]}", "x:[1,4], x:[4,4]"),
        ("{fixed: {x: [1, 4]}}", "x:[1,4]"),
        ("{dynamic: {max_shape: {x: [4, 4]}}}", ""),
    ],
)
def test_gears_of_a_model_that_was_compiled_for_any_shape(check, tmp_path, shapes, wanted):
    write_compiled(tmp_path / "m.mindir", {"x": (-1, 4)})
    result = check(f"  - {{name: m, path: m.mindir, shapes: {shapes}}}\n")
    if not wanted:
        assert result[0] == 0
        return
    assert lines(result) == [
        "m: shapes: found a model compiled for any shape, which shares no workspace, wanted one "
        f"compiled for {wanted}, as shapes declare: convert it with these gears, or write shapes: "
        "{dynamic: {max_shape: ...}}"
    ]


def test_more_gears_than_a_line_shows(check, tmp_path):
    gears = [{"x": (n, 4)} for n in range(1, 7)]
    write_compiled(tmp_path / "m.mindir", {"x": (-1, 4)}, gears=gears)
    (line,) = lines(check("  - {name: m, path: m.mindir}\n"))
    assert line.endswith(
        "add shapes: {gears: [{x: [1, 4]}, {x: [2, 4]}, {x: [3, 4]}, {x: [4, 4]}, ...]}, which it "
        "was compiled for"
    )


def test_a_dynamic_declaration_of_a_fixed_model(check, tmp_path):
    write_compiled(tmp_path / "m.mindir", {"x": (1, 4)})
    dynamic = "shapes: {dynamic: {max_shape: {x: [1, 4]}}}"
    assert lines(check(f"  - {{name: m, path: m.mindir, {dynamic}}}\n")) == [
        "m: shapes: found no open dimension (x:[1,4]), wanted a model that takes any shape: write "
        "shapes: {fixed: ...}, or leave shapes out"
    ]


def test_a_type_that_numpy_has_not(check, tmp_path):
    write_compiled(tmp_path / "m.mindir", {"x": (1, 4)}, dtype=16)
    assert lines(check("  - {name: m, path: m.mindir}\n")) == [
        "m: input x: found bfloat16, wanted a type that numpy has: let the model take float32 "
        "there and cast it inside"
    ]


def test_options_of_the_deployment_and_of_the_file(check, tmp_path):
    write_compiled(tmp_path / "m.mindir", {"x": (1, 4)})
    (tmp_path / "m.ini").write_text(
        "# how it was converted\n[ascend_context]\ninput_shape=x:[1,4]\nrank_table_file=r.json\n"
    )
    options = "lite: {options: {ge_graph_options: {ge.externalWeigth: 1}}}"
    assert lines(check(f"  - {{name: m, path: m.mindir, {options}}}\n")) == [
        "m: [ge_graph_options] ge.externalWeigth: found an option that nothing reads, wanted "
        "[ge_session_options] ge.externalWeight: write ge.externalWeight=1 under "
        "[ge_session_options]",
        "m: m.ini:4 [ascend_context] rank_table_file: found a rank table (r.json), wanted no rank "
        "table: a process owns one card: remove it: models that are split over several cards are "
        "not supported",
    ]


def test_a_section_that_does_nothing_is_told_once_and_one_that_may_be_new_is_no_fault(
    check, tmp_path
):
    write_compiled(tmp_path / "m.mindir", {"x": (1, 4)})
    model = "  - {name: m, path: m.mindir, lite: {config_file: c.ini}}\n"
    (tmp_path / "c.ini").write_text(
        "[ascend_contxt]\nprovider=ge\nplugin_custom_ops=All\n[new]\na=1\nb=2\n"
    )
    unknown = (
        "warning: c.ini:5 [new]: found a section that MindSpore Lite 2.7 does not read, wanted "
        "one that is read: take it out, unless the documentation of your release has it"
    )
    code, out, _ = check(model)
    assert code == 1
    assert out.splitlines() == [
        "m: c.ini:2 [ascend_contxt]: found a section that nothing reads, wanted [ascend_context]: "
        "rename the section to [ascend_context]",
        f"m: {unknown}",
        "1 to fix in 1 of 1 models",
    ]
    (tmp_path / "c.ini").write_text("[ascend_context]\nbogus=1\n")
    code, out, _ = check(model)
    assert code == 0
    assert out.startswith(
        "m: warning: c.ini:2 [ascend_context] bogus: found an option that MindSpore Lite 2.7 does "
        "not read, wanted one that is read: take it out, unless"
    )


def test_a_batch_axis_that_an_input_has_not(check, tmp_path):
    write_scalar(tmp_path, "m")
    model = "  - {name: m, path: m.mindir"
    assert lines(check(model + "}\n", head=EMULATED)) == [
        "m: batching: found batching.axis is 0 and input x has 0 dimensions, wanted a batch axis "
        "of all inputs: batching: {axis: none} runs every request alone"
    ]
    code, out, _ = check(model + ", batching: {axis: none}}\n", head=EMULATED)
    assert (code, "x:[] float32" in out) == (0, True)


EMULATED = "name: d\ncards: {kind: emulated, capacity: 64MiB}\nmodels:\n"


def test_an_emulated_card_reads_the_onnx(check, tmp_path):
    write_pair(tmp_path, "pair")
    write_mlp(tmp_path, "mlp", gears=[1, 4], width=8)
    models = "  - {name: pair, path: pair.mindir}\n  - {name: mlp, path: mlp.mindir}\n"
    code, out, err = check(models, head=EMULATED)
    assert (code, err) == (0, "")
    assert [line.rstrip() for line in out.splitlines()] == [
        "model  file       made for  gears  inputs",
        "pair   pair.onnx  any           1  left:[4,8] float32, right:[4,8] float32  ok",
        "mlp    mlp.onnx   any           2  x:[-1,8] float32                         ok",
    ]


@pytest.mark.parametrize("suffix", ["mindir", "onnx"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"\x08\x01" + bytes(range(40, 200)), "not {} model: "),
        (b"plain text, not a model\n", "not {} model: "),
    ],
)
def test_files_that_are_no_models(check, tmp_path, suffix, content, problem):
    (tmp_path / f"m.{suffix}").write_bytes(content)
    head = EMULATED if suffix == "onnx" else ASCEND
    kind, verb = ("an ONNX", "export") if suffix == "onnx" else ("a MindIR", "convert")
    (line,) = lines(check("  - {name: m, path: m.mindir}\n", head=head))
    assert line.startswith(f"m: m.{suffix}: found {problem.format(kind)}")
    assert line.endswith(f", wanted {kind} model: {verb} it again")


def test_a_cut_off_file(check, tmp_path):
    whole = write_compiled(tmp_path / "m.mindir", {"x": (1, 4)}).read_bytes()
    (tmp_path / "m.mindir").write_bytes(whole[:200])
    (line,) = lines(check("  - {name: m, path: m.mindir}\n"))
    assert line.startswith("m: m.mindir: found not a MindIR model: field 7 at byte ")
    assert " is cut off, wanted a MindIR model: convert it again" in line


def test_json(check, tmp_path):
    write_mindir(tmp_path / "m.mindir", {"x": (1, 4)})
    code, out, _ = check("  - {name: m, path: m.mindir}\n", "--json")
    assert code == 1
    assert json.loads(out) == {
        "deployment": "d",
        "ok": False,
        "models": [
            {
                "name": "m",
                "file": "m.mindir",
                "gears": 1,
                "made_for": "any",
                "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 4]}],
                "findings": [
                    {
                        "subject": "file",
                        "found": "one that is compiled whenever it is built",
                        "wanted": "a MindIR that was converted for Ascend",
                        "fix": "orchestrator convert --target ascend, or allow it with "
                        "compile_at_build: true, which makes every start slow",
                        "ok": False,
                    }
                ],
            }
        ],
    }


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("  - {name: m, path: gone.mindir}\n", "d.yaml:4: models[0] (m): path: there is no file "),
        ("  - {name: m, path: .}\n", "d.yaml:4: models[0] (m): path: "),
        ("  - {nam: m, path: m.mindir}\n", "d.yaml:4: models[0]: unknown field 'nam', did you"),
    ],
)
def test_a_deployment_that_cannot_be_read_is_one_clear_line(check, models, message):
    code, out, err = check(models)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {message}")
    assert len(err.splitlines()) == 1


def test_nothing_heavy_is_needed(check, tmp_path, monkeypatch):
    write_compiled(tmp_path / "m.mindir", {"x": (1, 4)})
    for name in ("onnxruntime", "mindspore_lite"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it now fails
    assert check("  - {name: m, path: m.mindir}\n")[0] == 0
