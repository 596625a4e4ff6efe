"""How claims are judged, and what the acceptance run says where one fails."""

import io
import json
import os
import select
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from actors.claims import claims, process, trial
from actors.claims.bench import Bench, UncheckedError, set_up
from actors.claims.claims import Claim
from actors.claims.compare import compare_answers, distance
from actors.claims.judging import NOISE, Verdict, judge_session, judge_weights, judge_workspace
from actors.claims.networks import write_conv, write_mlp
from actors.claims.trial import Members, Taken, Trial, TrialError
from actors.errors import LoadError
from actors.machine.verdicts import MIXTURE
from actors.memory import ASCEND
from orchestrator.cli import main
from orchestrator.cli.verify_card import passed, spread
from orchestrator.report.claims import steps_shown
from tests import models
from tests.mindirs import write_mindir
from tests.oms import write_om

MIB = 1 << 20
BYTES = st.integers(2 * NOISE, 1 << 36)


def taken(*steps: int, workspaces=(), weights=()) -> Taken:
    total = [sum(steps[: n + 1]) for n in range(len(steps))]
    return Taken("library", 1 << 40, tuple(total), total[-1], {}, workspaces, weights)


def builds(workspaces: list[int], other: int, shared: bool, known: bool = True) -> Taken:
    """What a card takes for models of these workspaces, build by build."""
    told = tuple(workspaces if known else [None for _ in workspaces])
    if not shared:
        return taken(*(other + size for size in workspaces), workspaces=told)
    steps = other + max(workspaces), *(other for _ in workspaces[1:])
    return taken(*steps, workspaces=told)


def threads(weights: int, other: int, copies: int = 5, known: bool = True) -> Taken:
    """What five threads of a model take, build by build, of which so many have own weights."""
    block = ASCEND.alloc(weights)
    steps = [other + (block if thread < copies else 0) for thread in range(5)]
    return taken(*steps, weights=(weights if known else None,))


@settings(max_examples=30)
@given(st.lists(BYTES, min_size=2, max_size=4), BYTES, st.booleans())
def test_largest_workspace_is_told_from_none_shared_and_from_the_sum(workspaces, other, known):
    alone = builds(workspaces, other, shared=False, known=known)
    together = builds(workspaces, other, shared=True, known=known)
    assert judge_workspace(alone, together).verdict is Verdict.HELD
    summed = taken(other + sum(workspaces), *(other for _ in workspaces[1:]))
    assert judge_workspace(alone, summed).verdict is Verdict.FAILED
    if known:
        assert judge_workspace(alone, alone).verdict is Verdict.FAILED
    else:
        with pytest.raises(UncheckedError, match="could not be proven here, because the files"):
            judge_workspace(alone, alone)


def test_a_failed_workspace_claim_says_the_numbers():
    alone = taken(12 * MIB, 10 * MIB, workspaces=(11 * MIB, 9 * MIB))
    says = judge_workspace(alone, alone).says
    assert says == (
        "22.0 MiB unshared and 22.0 MiB as a group: the workspace is not that of the largest "
        "(first build 12.0 MiB, alone 12.0 MiB; later: 0.0 MiB less)"
    )


@pytest.mark.parametrize("workspaces", [(), (None, 9 * MIB)])
def test_workspaces_that_no_file_tells_and_nobody_sees_are_neither_held_nor_failed(workspaces):
    alone = taken(12 * MIB, 11 * MIB, workspaces=workspaces)
    group = taken(12 * MIB, 10 * MIB)
    with pytest.raises(UncheckedError) as caught:
        judge_workspace(alone, group)
    assert str(caught.value) == (
        "it could not be proven here, because the files do not tell their workspaces and no build "
        "is seen to take less in the group: 12.0 MiB, 11.0 MiB alone, 12.0 MiB, 10.0 MiB in the "
        "group, 1.0 MiB saved. Nothing is shared, or the workspaces are too small to count: use "
        "models with larger ones"
    )


@settings(max_examples=30)
@given(BYTES, st.integers(0, 1 << 30), st.integers(1, 5))
def test_copies_of_weights_are_counted(weights, other, copies):
    found = judge_weights(threads(weights, other), threads(weights, other, copies), 1 << 40)
    assert (found.verdict is Verdict.HELD) == (copies == 1)
    assert f"{copies}.0 copies" in found.says


@settings(max_examples=30)
@given(BYTES, st.integers(0, 1 << 30), st.integers(1, 4))
def test_copies_are_counted_by_what_is_measured_where_no_file_tells(weights, other, copies):
    """Whatever part of the file the weights are, and however much each object has of its own."""
    alone, group = threads(weights, other, known=False), threads(weights, other, copies)
    found = judge_weights(alone, group, 3 * weights)
    assert (found.verdict is Verdict.HELD) == (copies == 1)
    assert f"{copies}.0 copies" in found.says


def test_weights_that_no_file_tells_and_nobody_sees_are_neither_held_nor_failed():
    alone = threads(9 * MIB, MIB, known=False)
    told = r"could not be proven here, because the file does not tell its weights .*11\.0 MiB alone"
    with pytest.raises(UncheckedError, match=told):
        judge_weights(alone, alone, 9 * MIB)
    known = threads(9 * MIB, MIB)
    assert judge_weights(known, known, 9 * MIB).verdict is Verdict.FAILED


def test_weights_too_small_to_count_are_not_judged():
    for weights, file_bytes in ((None, MIB), (MIB, 9 * MIB)):
        few = taken(*[MIB] * 5, weights=(weights,))
        with pytest.raises(UncheckedError, match=r"weights are 1\.0 MiB at most, too few to count"):
            judge_weights(few, few, file_bytes)


def test_a_session_must_save_what_its_graphs_have_in_common():
    two, one = taken(20 * MIB), taken(10 * MIB)
    assert judge_session(two, one, None).verdict is Verdict.HELD
    held = judge_session(two, one, 10 * MIB)
    assert (held.verdict, held.says) == (
        Verdict.HELD,
        "two sessions take 20.0 MiB, one session 10.0 MiB: 10.0 MiB saved, with 10.0 MiB of "
        "parameters in common",
    )
    nothing = judge_session(two, two, 10 * MIB)
    assert (nothing.verdict, nothing.says) == (
        Verdict.FAILED,
        "two sessions take 20.0 MiB, one session 20.0 MiB: 0.0 MiB saved, with 10.0 MiB of "
        "parameters in common: more than 4.0 MiB must be",
    )
    told = r"files do not tell which .* in common: two sessions take 20\.0 MiB, one session 20\.0"
    with pytest.raises(UncheckedError, match=told):
        judge_session(two, two, None)


@settings(max_examples=30)
@given(st.integers(4 * NOISE, 1 << 36), st.sampled_from((1, 2)), BYTES)
def test_a_session_is_judged_by_what_the_pair_can_share(common, halved, rest):
    """However much else the graphs take; a card may hold their floats in half the bytes."""
    alone = taken(2 * (common // halved + rest))
    once = taken(common // halved + 2 * rest)
    assert judge_session(alone, once, common).verdict is Verdict.HELD
    little = taken(alone.largest - common // 8)  # a part of the constants, or only work memory
    assert judge_session(alone, little, common).verdict is Verdict.FAILED


def test_a_pair_with_little_in_common_is_neither_held_nor_failed():
    two = taken(300 * MIB)
    with pytest.raises(UncheckedError) as caught:
        judge_session(two, taken(299 * MIB), 3 * MIB)
    assert str(caught.value) == (
        "it could not be proven here, because the graphs have 3.0 MiB of parameters in common, too "
        "little to count: two sessions take 300.0 MiB, one session 299.0 MiB. Name two larger "
        "graphs of one network"
    )


def test_memory_that_cannot_be_read_is_said():
    unknown = Taken("library", None, (None, None), None, {})
    with pytest.raises(UncheckedError, match="memory cannot be read here: pyACL is needed"):
        judge_workspace(unknown, unknown)


def answer(*values: float) -> tuple[np.ndarray, ...]:
    return (np.array(values, np.float32),)


def test_one_unshared_answer_is_the_only_right_one():
    assert compare_answers([answer(1, 2)], [answer(1, 2)]) == ""
    problem = compare_answers([answer(1, 2)], [answer(1, 2.5)])
    assert problem == "differs from the unshared answer by up to 0.5, which is always the same"


def test_answers_may_spread_as_unshared_ones_do():
    private = [answer(1.0), answer(1.25)]
    assert compare_answers(private, [answer(1.5), answer(0.75)]) == ""
    problem = compare_answers(private, [answer(1.75)])
    assert problem == "differs from unshared answers by up to 0.5; those differ by 0.25"


@settings(max_examples=30)
@given(st.lists(st.floats(width=32), min_size=1, max_size=5))
def test_an_answer_is_no_distance_from_itself(values):
    assert distance(answer(*values), answer(*values)) == 0


def test_a_number_is_infinitely_far_from_none():
    assert distance(answer(1), answer(np.nan)) == np.inf
    assert distance(answer(1), answer(1, 2)) == np.inf


@pytest.mark.parametrize(
    ("words", "spelled"),
    [
        ("--models a b --json", "--models a --models b --json"),
        ("--models a --models b", "--models a --models b"),
        ("--card 1 --ge-models a b", "--card 1 --ge-models a --ge-models b"),
        ("--models=a --card 1", "--models=a --card 1"),
    ],
)
def test_an_option_takes_several_files(words, spelled):
    assert spread(words.split()) == spelled.split()


def test_networks_are_right_onnx(tmp_path):
    for path in (write_conv(tmp_path, "conv", 8), write_mlp(tmp_path, "mlp", 2, 16)):
        file = path.replace(".mindir", ".onnx")
        onnx.checker.check_model(file, full_check=True)


def test_a_model_that_is_not_there_is_refused_at_once(tmp_path):
    with pytest.raises(LoadError, match=r"an emulated card serves gone.onnx beside it"):
        set_up("emulated", 0, tmp_path, [str(tmp_path / "gone.mindir")], [])


def test_one_model_shares_with_itself(tmp_path):
    mine = write_mlp(tmp_path, "mine", 1, 1024)
    bench = set_up("emulated", 0, tmp_path, [mine], [mine])
    assert bench.acl == bench.ge == (mine, mine)
    assert bench.weights == mine
    found = claims.ge_pair(bench)
    assert found.verdict is Verdict.HELD, found.says


def test_workspaces_too_small_to_count_are_not_judged(tmp_path):
    small = [write_mlp(tmp_path, f"small{rows}", rows, 64) for rows in (1, 2)]
    bench = set_up("emulated", 0, tmp_path, small, [])
    with pytest.raises(UncheckedError, match=r"of which sharing saves 0\.0 MiB: too little to"):
        claims.one_workspace(bench)


def ge_bench(folder, *names):
    return Bench("emulated", 0, ge=tuple(str(folder / f"{name}.mindir") for name in names))


def test_ge_graphs_that_have_nothing_in_common_are_not_judged(tmp_path):
    write_mlp(tmp_path, "one", 1, 1024)
    renamed = (tmp_path / "one.onnx").read_bytes().replace(b"w0", b"v0").replace(b"w1", b"v1")
    (tmp_path / "other.onnx").write_bytes(renamed)
    with pytest.raises(UncheckedError, match="have no parameter of one name, and a session shares"):
        claims.ge_pair(ge_bench(tmp_path, "one", "other"))
    write_mlp(tmp_path, "wide", 1, 1032)
    told = "parameter w0 has other values in wide.mindir than in another graph, and one session"
    for claim in (claims.ge_pair, claims.ge_each_card, claims.ge_beside_acl):
        with pytest.raises(UncheckedError, match=told):
            claim(ge_bench(tmp_path, "one", "wide"))
    write_mlp(tmp_path, "tiny", 1, 16)
    little = r"have 0\.0 MiB of parameters in common, too little to count: two sessions take 0\.\d"
    with pytest.raises(UncheckedError, match=little):
        claims.ge_pair(ge_bench(tmp_path, "tiny", "tiny"))


def test_ge_graphs_of_large_weights_and_a_small_common_parameter_are_not_failed(tmp_path):
    write_mlp(tmp_path, "one", 1, 1024)
    other = onnx.load(write_mlp(tmp_path, "other", 8, 1024).replace(".mindir", ".onnx"))
    # Of two layers of 4 MiB, the second goes by another name: what is left is noise.
    other.graph.initializer[1].name = other.graph.node[2].input[1] = "v1"
    onnx.save(other, tmp_path / "other.onnx")
    told = r"graphs have 4\.0 MiB of parameters in common, .*: two sessions take 20\.\d MiB, one"
    with pytest.raises(UncheckedError, match=told):
        claims.ge_pair(ge_bench(tmp_path, "one", "other"))


@pytest.mark.parametrize("broken", ["acl", "ge"])
def test_models_that_do_not_run_at_all_disprove_nothing(tmp_path, broken):
    good = write_mlp(tmp_path, "good", 1, 1024)
    bad = str(models.write_garbage(tmp_path, "bad"))
    pair = {"acl": (good, good), "ge": (good, good), broken: (bad, bad)}
    bench = Bench("emulated", 0, other=1, **pair)
    checks = [
        claims.ge_beside_acl,
        claims.one_workspace if broken == "acl" else claims.ge_each_card,
    ]
    for claim in checks:
        with pytest.raises(UncheckedError, match="it does not run without sharing either: "):
            claim(bench)


def test_what_takes_next_to_nothing_proves_nothing(tmp_path):
    tiny = write_mlp(tmp_path, "tiny", 1, 16)
    bench = Bench("emulated", 0, other=1, acl=(tiny, tiny), ge=(tiny, tiny))
    for claim in (claims.ge_each_card, claims.ge_beside_acl):
        with pytest.raises(UncheckedError, match=r"all that the models take is 0\.\d MiB, too lit"):
            claim(bench)


def test_a_model_of_gears_is_tried_at_the_largest(tmp_path):
    onnx_file = models.write_mlp(tmp_path, "geared", rows=None)
    models.write_gears(onnx_file, {"x": (-1, 64)}, [[4], [1]])
    path = str(onnx_file.with_suffix(".mindir"))
    (taken_,) = process.run(Trial("emulated", 0, (Members((path,)),), loops=1))
    ((output,),) = taken_.answers[path]
    assert len(output) == 4


def test_gears_are_read_from_the_compiled_file_before_the_library_is_asked(tmp_path):
    om = write_om({"x": (-1, 64)}, gears=[{"x": (1, 64)}, {"x": (8, 64)}])
    path = write_mindir(tmp_path / "m.mindir", {"x": (-1, 64)}, om=om)

    class Told:
        def get_model_info(self, key):
            return "x_-1_64"  # nobody knows how the library writes it

    assert [gear.inputs for gear in trial._gears(object(), str(path))] == [
        (("x", (1, 64)),),
        (("x", (8, 64)),),
    ]
    assert trial._gears(Told(), str(tmp_path / "gone.mindir")) == ()
    assert trial._gears(object(), str(tmp_path / "gone.mindir")) == ()


def test_a_process_that_dies_says_how(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "echo 'free(): double free detected' >&2; exit 134")
    with pytest.raises(TrialError) as caught:
        process.run(
            Trial("emulated", 0, (Members(("/a/x.mindir",), "SHARE_WEIGHT"),)), logs=tmp_path
        )
    assert str(caught.value) == (
        "x.mindir on card 0, SHARE_WEIGHT: its process ended with status 134 | native log: "
        "free(): double free detected"
    )
    (log,) = tmp_path.glob("*-x.mindir-on-card-0-SHARE_WEIGHT.log")
    assert log.read_text() == "free(): double free detected\n"


def stand_in(folder, monkeypatch, script):
    """What runs instead of Python; the trial that it is to carry out."""
    program = folder / "bin"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", os.fspath(program))
    return Trial("emulated", 0, (Members(("/a/x.mindir",)),))


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("exit 134", "its process ended with status 134"),
        ("sleep 600", "took longer than 4 s"),
    ],
)
def test_what_a_process_leaves_behind_is_not_waited_for_but_killed(
    tmp_path, monkeypatch, end, told
):
    """CANN's compilers have open what it had open, its standard output and the pipe too."""
    left = tmp_path / "left"
    os.mkfifo(left)
    reading = os.open(left, os.O_RDONLY | os.O_NONBLOCK)
    job = stand_in(tmp_path, monkeypatch, f"exec 9> {left}; sleep 600 & echo bad; {end}")
    with pytest.raises(TrialError) as caught:
        process.run(job, timeout_seconds=4)
    assert str(caught.value) == f"x.mindir on card 0, unshared: {told} | native log: bad"
    assert select.select([reading], [], [], 60)[0], "the end of the file: nobody holds it any more"
    os.close(reading)


@pytest.fixture
def only(monkeypatch):
    """Make the command check one claim alone."""

    def check(name, claim):
        for other in list(claims.CLAIMS):
            monkeypatch.delitem(claims.CLAIMS, other)
        monkeypatch.setitem(claims.CLAIMS, name, claim)

    return check


def test_a_failed_claim_is_exit_code_1(tmp_path, capsys, only):
    none = threads(2 * NOISE, 0)
    only("one", lambda bench: judge_weights(none, none, 2 * NOISE))
    mine = write_mlp(tmp_path, "mine", 1, 16)
    options = ["--models", mine, "--ge-models", mine]
    assert main(["verify-card", "--kind", "emulated", *options]) == 1
    assert "one: FAILED: 5 threads, 30 loops each: " in capsys.readouterr().out


def test_a_run_that_proved_nothing_does_not_pass(tmp_path, capsys, only):
    only("GE pair", claims.ge_pair)
    tiny = write_mlp(tmp_path, "tiny", 1, 16)
    options = ["--kind", "emulated", "--models", tiny, "--ge-models", tiny]
    assert main(["verify-card", "--json", *options]) == 1
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert not found["held"]
    assert found["counts"] == {"held": 0, "failed": 0, "not checked": 1}
    told = "error: nothing was seen to be shared: it could not be proven here, because the graphs"
    assert told in err


def test_every_step_is_told_before_it_begins(tmp_path):
    told: list[str] = []
    small = str(tmp_path / "small.mindir")
    write_conv(tmp_path, "small", 16)
    bench = set_up("emulated", 0, tmp_path, [small], [small], tell=told.append)
    claims.verify("one workspace", bench)
    of = "small.mindir, small.mindir on card 0"
    assert told == [
        f"{step} {of}, {sharing}"
        for sharing in ("unshared", "SHARE_WORKSPACE")
        for step in ("building", "running")
    ]


def test_steps_are_shown_on_a_terminal_alone():
    """With the name of the claim, whatever brackets its files have, on one line."""
    for terminal in (True, False):
        file = io.StringIO()
        console = Console(file=file, force_terminal=terminal, width=60, color_system=None)
        with steps_shown(console, "1 of 8, one workspace") as tell:
            tell("building a[b].mindir on card 0, unshared")
        shown = file.getvalue()
        assert ("0:00:00 1 of 8, one workspace: building a[b].m" in shown) == terminal
        assert bool(shown) == terminal


@pytest.mark.timeout(300)
def test_a_claim_is_told_when_it_is_decided(tmp_path):
    """Though nobody looks on: a line for each claim, and nothing else on standard error."""
    command = [sys.executable, "-c", "from orchestrator.cli import main; main()", "verify-card"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        try:
            assert running.stdout.readline().startswith("one workspace: held: ")
            assert running.poll() is None, "the other claims are being tried"
        finally:
            running.kill()
        assert running.stderr.read() == ""


def test_equal_results_alone_are_no_card_that_shares(tmp_path):
    equal = Claim("same results", Verdict.HELD, "as without sharing")
    unread = Claim("one workspace", Verdict.UNCHECKED, "the card's memory cannot be read")
    told = "nothing was seen to be shared: the card's memory cannot be read"
    assert passed([unread, equal]) == (False, told)
    assert passed([unread, replace(equal, name=MIXTURE)]) == (False, told)
    assert passed([unread, replace(unread, name="GE pair", verdict=Verdict.HELD), equal])[0]
    assert passed([unread, replace(equal, verdict=Verdict.FAILED)]) == (False, "")


def test_what_cannot_be_checked_is_no_failure():
    bench = Bench("emulated", 0, missing={"acl": "no model to try", "other": "only one card"})
    with pytest.raises(UncheckedError, match="no model to try"):
        claims.one_workspace(bench)
    with pytest.raises(UncheckedError, match="only one card"):
        claims.each_card(Bench("emulated", 0, missing={"other": "only one card"}))
