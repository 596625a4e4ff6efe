"""``orchestrator plan`` as a user runs it: tables, JSON, reasons, refusals, clear errors."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.placement import DeploymentPlan, Plan, Problem, solve
from orchestrator.profiles import ProfileCache
from tests.models import write_mlp
from tests.placement.build import cards, model, problem

MIB = 1 << 20
PROBLEM = problem([model("a", 10, 30), model("b", 10, 60)], cards(2, 100))
DECLARED = """
name: pair
cards: {kind: emulated, count: 2, capacity: 100MiB, allocation: exact}
models:
  - name: a
    path: a.mindir
    sizes: {weights: 10MiB, workspace: 30MiB, io: 1MiB}
    threads: 3
  - name: b
    path: b.mindir
    sizes: {weights: 10MiB, workspace: 60MiB, io: 1MiB}
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ASCEND_ORCHESTRATOR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def written(tmp_path):
    def write(text, name="deployment.yaml"):
        for stem in "ab":
            (tmp_path / f"{stem}.onnx").write_bytes(b"a model of some bytes")
        path = tmp_path / name
        path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
        return path

    return write


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_table(capsys, written):
    code, out, err = run(capsys, "plan", written(DECLARED))
    assert (code, err) == (0, "")
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[0] == "pair: 2 models, 2 replicas on 1 of 2 cards (min_cards)"
    assert lines[2].startswith("local/0  ██████▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▒·····")
    assert lines[2].endswith("84.0 MiB  100.0 MiB   16.0 MiB  194.0 MiB        a, b")
    assert lines[3].startswith("local/1  ································")
    assert lines[3].endswith("0 B  100.0 MiB  100.0 MiB                   unused")
    assert lines[-1] == "no plan uses fewer cards than 1 (replicas): gap 0.00%, bound reached"
    assert any(line.split()[:2] == ["a", "10.0"] and "declared" in line for line in lines)


def test_explain(capsys, written):
    code, out, _ = run(capsys, "plan", written(DECLARED), "--explain", "--cards", "2x90MiB")
    assert code == 0
    assert (
        "a/0 -> local/0  13.0 MiB  weights 10.0 MiB + workspace 30.0 MiB inside that of b "
        "+ io 3.0 MiB [declared, FILES]\n  local/1  not taken: fits, but would be one card more\n"
    ) in re.sub(r"\b[0-9a-f]{12}\b", "FILES", out)
    assert out.count("replicas on 1 of 2 cards") == 1


def test_problem_in_plan_out(capsys, written):
    path = written(PROBLEM, "problem.json")
    code, out, err = run(capsys, "plan", path, "--json", "--explain")
    assert code == 0
    assert Plan.from_json(out) == solve(Problem.from_dict(PROBLEM))
    assert json.loads(out)["plan"] == [
        {"card": "local/0", "models": ["a", "b"], "share_workspace": True}
    ]
    assert err.startswith("2 models, 2 replicas on 1 of 2 cards")


def test_out_writes_a_bundle_that_plan_reads_back(capsys, written, tmp_path):
    out_file = tmp_path / "bundle.json"
    code, first, _ = run(capsys, "plan", written(DECLARED), "--out", out_file)
    assert code == 0
    bundle = DeploymentPlan.from_json(out_file.read_text())
    assert bundle.deployment.name == "pair"
    assert set(json.loads(out_file.read_text())["hashes"]) == {
        "deployment",
        "profiles",
        "problem",
        "plan",
    }
    assert run(capsys, "plan", out_file) == (0, first, "")
    code, again, _ = run(capsys, "plan", out_file, "--cards", "1x84MiB")
    assert code == 0
    assert "on 1 of 1 cards" in again


def test_options_that_nothing_would_heed_are_refused(capsys, written, tmp_path):
    bundle, problem_file = tmp_path / "bundle.json", written(PROBLEM, "problem.json")
    assert run(capsys, "plan", written(DECLARED), "--out", bundle)[0] == 0
    assert run(capsys, "plan", bundle, "--seed", "3", "--batch") == (
        1,
        "",
        f"error: --batch, --seed: {bundle} is planned already: add --cards or --previous to plan "
        "it anew\n",
    )
    assert run(capsys, "plan", bundle, "--seed", "3", "--batch", "--cards", "2x90MiB")[0] == 0
    assert run(capsys, "plan", problem_file, "--no-probe") == (
        1,
        "",
        f"error: --no-probe: {problem_file} is a problem, and its sizes and times are final\n",
    )
    code, _, err = run(capsys, "plan", problem_file, "--load", "2")
    assert (code, err) == (1, "error: --load 2: needs --simulate SECONDS\n")


def test_refusal_is_one_error_with_numbers_and_changes(capsys, written):
    code, out, err = run(capsys, "plan", written(DECLARED), "--cards", "1x80MiB")
    assert (code, out) == (1, "")
    assert err == (
        "error: a + b: do not fit together on 1 card\n"
        "  b: 71.0 MiB a card (weights 10,485,760 + shared workspace 62,914,560 + io 1,048,576)\n"
        "  a: 43.0 MiB a card (weights 10,485,760 + shared workspace 31,457,280 + io 3,145,728), "
        "3 threads\n"
        "  local/0: 80.0 MiB for models\n"
        "  at least 2 such cards are needed (fractional)\n"
        "  at least 4,194,304 bytes (4.0 MiB) too few on each card\n"
        "  fits if: 1 more card of 80.0 MiB, or cards of 84.0 MiB (88,080,384 bytes)\n"
    )


UNMEASURED = DECLARED.replace("    sizes: {weights: 10MiB, workspace: 30MiB, io: 1MiB}\n", "")


def test_no_probe_estimates_and_says_so(capsys, written):
    path = written(UNMEASURED)
    code, out, err = run(capsys, "plan", path, "--no-probe", "--explain")
    assert (code, err) == (0, "")
    assert "sizes of a are estimated, not measured: plan without --no-probe" in out
    assert "[estimated, " in out
    code, out, _ = run(capsys, "plan", path, "--no-probe", "--json")
    assert json.loads(out)["origins"] == {"a": "estimated", "b": "declared"}
    assert Plan.from_json(out).origins == (("a", "estimated"), ("b", "declared"))


def test_what_is_not_measured_is_measured_first_and_kept(tmp_path):
    write_mlp(tmp_path, "a", rows=4, width=64)
    text = "name: one\ncards: {kind: emulated, count: 1, capacity: 32MiB}\n"
    path = tmp_path / "deployment.yaml"
    path.write_text(text + "models:\n  - {name: a, path: a.mindir, demand: 10.0}\n")

    def plan():
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", "plan", str(path), "--json"],
            cwd=Path(__file__).parents[2],
            env=os.environ,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    first = plan()
    assert first.returncode == 0, first.stderr
    assert "measuring a (1 of 1)" in first.stderr
    assert json.loads(first.stdout)["origins"] == {"a": "measured"}
    assert len(list(ProfileCache().folder.iterdir())) == 1
    second = plan()
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout == first.stdout


ERRORS = [
    (("plan", "nowhere.json"), "error: nowhere.json: there is no such file"),
    (("plan", "nowhere.yaml"), "error: nowhere.yaml: "),
    (("plan", "D", "--cards", "two"), "error: --cards two: cannot read 'two': write COUNTxSIZE"),
    (("plan", "D", "--crads", "2x1MiB"), "error: No such option: --crads"),
    (("plan",), "error: Missing argument 'file': see orchestrator plan --help"),
    (("plan", "M"), ".onnx: is a model: name the deployment file that has it"),
    (("plam",), "error: No such command 'plam'"),
    (("plan", "P", "--cards", "2x1MiB"), "is a problem and names its own cards"),
    (("plan", "P", "--out", "x.json"), "error: x.json: --out writes a deployment with its plan"),
    (("plan", "D", "--out", "/no/where.json"), "error: /no/where.json: there is no folder /no"),
    (("plan", "G"), "error: G: models[0] (a): unknown key 'weight', did you mean 'weight_bytes'?"),
]


@pytest.mark.parametrize(("arguments", "message"), ERRORS, ids=[m for _, m in ERRORS])
def test_errors_are_one_clear_line(capsys, written, arguments, message):
    wrong = json.loads(json.dumps(PROBLEM))
    wrong["models"][0]["weight"] = 1
    files = {
        "D": written(DECLARED),
        "P": written(PROBLEM, "p.json"),
        "G": written(wrong, "g.json"),
        "M": str(Path(written(DECLARED)).with_name("m.onnx")),
    }
    Path(files["M"]).write_bytes(b"\x08\x08\xff")
    code, out, err = run(capsys, *[files.get(word, word) for word in arguments])
    assert (code, out) == (1, "")
    assert message.replace("G:", f"{files['G']}:") in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1


def test_kinds_that_cannot_be_measured_here_say_what_to_do(capsys, written, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    (tmp_path / "a.mindir").write_bytes(b"x")
    (tmp_path / "b.mindir").write_bytes(b"x")
    path = written(UNMEASURED.replace("kind: emulated", "kind: ascend"))
    code, _, err = run(capsys, "plan", path)
    assert code == 1
    assert err == (
        "error: pair: not measured yet on kind ascend: a; npu-smi is not on the PATH: run "
        "orchestrator profile --out FILE on a node with an idle card and plan with --profiles "
        "FILE, give sizes (and service_time with a demand) in the deployment, or plan with "
        "--no-probe\n"
        f"pair: what a.mindir was compiled to take is not available: {tmp_path}/a.mindir is not a "
        "MindIR model: it ends too early\n"
    )


def test_help_names_the_verbs(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert re.findall(r"^│ ([a-z][a-z-]+) ", out, re.MULTILINE) == [
        *("plan", "run"),
        *("up", "status", "drain", "down"),
        *("check", "doctor", "profile", "convert", "verify-card"),
    ]


def test_help_fills_its_lines(capsys):
    code, out, _ = run(capsys, "check", "-h")
    assert code == 0
    assert " files; options that nothing reads." in out


def test_version(capsys):
    assert run(capsys, "--version") == (
        0,
        f"ascend-orchestrator {version('ascend-orchestrator')}\n",
        "",
    )


def test_the_command_and_the_function_search_alike(capsys, written):
    path = written(PROBLEM, "problem.json")
    code, out, _ = run(capsys, "plan", path, "--json", "--budget", "5", "--seed", "3")
    assert code == 0
    assert json.loads(out) == solve(Problem.from_dict(PROBLEM), budget=5, seed=3).to_dict()


def test_moves_need_a_plan_that_runs(capsys, written):
    path = written(PROBLEM, "problem.json")
    code, _, err = run(capsys, "plan", path, "--moves", "1")
    assert code == 1
    assert err == (
        "error: --moves 1: needs the plan that runs now: give --previous, or previous_plan in "
        f"{path}\n"
    )


def test_cards_that_are_gone_are_told(capsys, written):
    before = written(solve(Problem.from_dict(PROBLEM)).to_dict(), "before.json")
    now = {**PROBLEM, "cards": cards(2, 100, start=1)}
    code, _, err = run(capsys, "plan", written(now, "now.json"), "--previous", before)
    assert (code, err) == (0, f"{before}: left out, there are no such cards: local/0\n")


def test_models_that_are_gone_are_told_and_end_with_what_held_them(capsys, written):
    held = {**solve(Problem.from_dict(PROBLEM)).to_dict(), "loads": []}
    first = PROBLEM["models"][0]["name"]
    held["plan"] = [
        {"card": "local/0", "models": [first, "gone"]},
        {"card": "local/1", "models": ["left"]},
    ]
    path = written({**PROBLEM, "models": PROBLEM["models"][:1]}, "now.json")
    code, out, err = run(capsys, "plan", path, "--previous", written(held, "before.json"))
    assert code == 0
    assert err.endswith("left out, there are no such models: gone, left\n")
    assert f"stop local/0: {first}, gone" in out
    assert "stop local/1: left" in out
    assert "1 stop, 1 are replaced; 0 replicas move" in out
    assert "gone is not served any more\nleft is not served any more" in out


def test_names_that_look_like_styles_are_printed_as_they_are(capsys, written):
    models = [{**PROBLEM["models"][0], "name": name} for name in ("det[v1]", "[/red]", ":car:")]
    code, out, _ = run(capsys, "plan", written({**PROBLEM, "models": models}, "now.json"))
    assert code == 0
    assert all(model["name"] in out for model in models)


def test_a_plan_of_nothing_is_a_previous_plan_too(capsys, written):
    nothing = {"plan": [], "loads": [], "objective": "min_cards"}
    args = (written(PROBLEM, "now.json"), "--previous", written(nothing, "before.json"))
    code, out, _ = run(capsys, "plan", *args)
    assert (code, "2 replicas move" in out) == (0, True)
    code, _, err = run(capsys, "plan", *args, "--moves", "0")
    assert (code, "moves at most 0 replicas" in err) == (1, True)


def test_a_previous_plan_that_holds_a_model_twice_is_told_by_its_file(capsys, written):
    twice = {
        "plan": [{"card": "local/0", "models": ["a", "a"]}],
        "loads": [],
        "objective": "min_cards",
    }
    before = written(twice, "before.json")
    code, _, err = run(capsys, "plan", written(PROBLEM, "now.json"), "--previous", before)
    assert (code, err) == (1, f"error: {before}: has a model twice on local/0\n")


def test_a_plan_in_place_of_a_problem_is_told(capsys, written):
    path = written(solve(Problem.from_dict(PROBLEM)).to_dict(), "plan.JSON")
    code, _, err = run(capsys, "plan", path)
    assert (code, err) == (
        1,
        f"error: {path}: is a plan: give its problem, and this as --previous\n",
    )


def test_a_plan_that_names_a_card_twice_is_no_previous_one(capsys, written):
    held = solve(Problem.from_dict(PROBLEM)).to_dict()
    path = written({**held, "plan": held["plan"] * 2}, "before.json")
    code, _, err = run(capsys, "plan", written(PROBLEM, "now.json"), "--previous", path)
    assert (code, err) == (1, f"error: {path}: names cards more than once: local/0\n")


BUSY = """
name: pair
cards: {kind: emulated, count: 1, capacity: 100MiB, allocation: exact}
models:
  - name: a
    path: a.mindir
    sizes: {weights: 10MiB, workspace: 30MiB, io: 1MiB}
    service_time: 10ms
    demand: 40
"""


def test_a_simulated_demand(capsys, written):
    code, out, err = run(capsys, "plan", written(BUSY), "--simulate", "30")
    assert (code, err) == (0, "")
    told = "simulated 30 s of the demand, in requests of one row at random times"
    lines = out.split(told)[1].splitlines()
    name, asked, answered, p50, p99 = lines[2].split()
    assert name == "a"
    assert asked == answered
    assert float(asked) == pytest.approx(40, rel=0.15)
    assert 11 <= float(p50) < float(p99) < 80
    card, busy, planned = lines[4].split()
    assert (card, planned) == ("local/0", "40%")
    assert float(busy.rstrip("%")) == pytest.approx(40, abs=6)


def test_a_simulated_load_beyond_the_plan_is_not_answered_in_full(capsys, written):
    code, out, err = run(capsys, "plan", written(BUSY), "--simulate", "30", "--load", "5", "--json")
    assert code == 0
    Plan.from_dict(json.loads(out))
    assert "simulated 30 s of 5 x the demand" in err
    _, asked, answered, *_ = err.splitlines()[2].split()
    assert float(answered) < 0.6 * float(asked)
    assert err.splitlines()[4].split() == ["local/0", "100%", "200%"]


@pytest.mark.parametrize("options", [("--simulate", "inf"), ("--simulate", "1", "--load", "1e9")])
def test_more_requests_than_are_simulated(capsys, written, options):
    code, out, err = run(capsys, "plan", written(BUSY), *options)
    assert (code, out) == (1, "")
    assert "more than 1,000,000: fewer seconds, or less --load" in err


def test_a_plan_is_written_under_a_name_that_it_is_read_by(capsys, written, tmp_path):
    code, _, err = run(capsys, "plan", written(DECLARED), "--out", tmp_path / "plan.yaml")
    assert (code, err) == (
        1,
        f"error: --out {tmp_path / 'plan.yaml'}: must end in .json, as plans do\n",
    )


def test_what_cannot_be_simulated(capsys, written, tmp_path):
    code, _, err = run(capsys, "plan", written(DECLARED), "--simulate", "30")
    assert (code, err) == (1, "error: --simulate: no model has demand: give it as `demand`\n")
    file = tmp_path / "problem.json"
    file.write_text(json.dumps(PROBLEM))
    code, out, err = run(capsys, "plan", file, "--simulate", "30")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: --simulate: needs a deployment, and {file} is only a problem")
