"""A deployment of kind ascend over Ray, from the first command to its end, on stand-ins.

All of it is what runs on a server but for the vendor's two packages, which write down who imported
them, and ``npu-smi``. One run, one Ray.
"""

import json
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from actors.claims.networks import write_conv
from tests.ascend import drive
from tests.ascend.machine import compiled, processes, run, write_npu_smi
from tests.card.conftest import engine

DEPLOYMENT = """
name: d
cards: {kind: ascend, type: 310P, count: 1, overhead: 64MiB}
models:
  - {name: large, path: large.mindir}
  - {name: small, path: small.mindir, threads: 2}
"""
SIZES = {"large": 24, "small": 16}
SMI = """\
| NPU   Name    | Health | Power(W) Temp(C) |
| Chip          | Bus-Id | AICore(%)  Memory-Usage(MB) |
| 0     310P3   | OK     | NA 50 0 / 0 |
| 0     0       | 0000:01:00.0 | 0 64 / 1024 |
"""


@pytest.fixture(scope="module")
def found(own_dev, tmp_path_factory, cache_folder):
    """What the driver saw, and its folder; on its machine nothing was ever tried or measured."""
    folder = tmp_path_factory.mktemp("machine")
    write_npu_smi(folder, SMI)
    for name, size in SIZES.items():
        compiled(write_conv(folder, name, size))
    (folder / "cache").mkdir()
    (folder / "cache" / "emulator").symlink_to(cache_folder / "emulator")
    (folder / "d.yaml").write_text(DEPLOYMENT)
    rng = np.random.default_rng(0)
    inputs = {n: rng.random((9, 1, 3, s, s), np.float32) for n, s in SIZES.items()}
    np.savez(folder / "inputs.npz", **inputs)
    done = run(
        folder,
        "0",
        drive.__file__,
        "d.yaml",
        "inputs.npz",
        ASCEND_ORCHESTRATOR_CACHE=str(folder / "cache"),
        STANDIN_IMPORTS=str(folder / "imports"),
        STANDIN_ONNX=str(folder),
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads((folder / "seen.json").read_text())
    return SimpleNamespace(folder=folder, **seen)


def test_answers_are_the_models_own_in_order(found):
    answers, inputs = np.load(found.folder / "answers.npz"), np.load(found.folder / "inputs.npz")
    for name in SIZES:
        session = engine(str(found.folder / f"{name}.mindir"))
        expected = [session.run(["y"], {"x": one})[0] for one in inputs[name]]
        np.testing.assert_allclose(answers[name], np.stack(expected), rtol=1e-4, atol=1e-5)


def test_what_is_planned_is_what_the_card_measures(found):
    code, printed = found.plan
    plan = json.loads(printed)
    assert (code, plan["plan"]) == (
        0,
        [{"card": "local/0", "models": ["large", "small"], "share_workspace": True}],
    )
    assert plan["origins"] == dict.fromkeys(SIZES, "measured, copies estimated")
    (card,) = found.status["cards"]
    assert (card["state"], card["npu_id"], card["capacity_bytes"]) == ("ready", "0", 960 << 20)
    assert 64 << 20 < card["planned_bytes"] < card["unshared_bytes"]
    assert card["measured_bytes"] == card["planned_bytes"]
    assert card["warnings"] == []
    served = {one["model"]: (one["requests"], one["errors"]) for one in found.status["replicas"]}
    assert served == dict.fromkeys(SIZES, (9, 0))


def test_models_and_cards_are_found_before_and_beside_it(found):
    code, printed = found.check
    assert (code, json.loads(printed)["ok"]) == (0, True)
    before, beside = (
        {one["subject"]: one for one in json.loads(printed)["nodes"][0]["findings"] if one["ok"]}
        for _, printed in (found.doctor, found.joined)
    )
    assert before["cards"]["found"] == beside["cards"]["found"] == "1 of 1 /dev/davinci files"
    assert before["card 0 (310P3)"]["found"].startswith("960.0 MiB free of 1.0 GiB")
    assert beside.keys() - before.keys() == {"shared workspace", "Ray resource NPU"}
    assert beside["shared workspace"]["found"].endswith("shared runs answered as unshared ones")


def test_the_packages_are_in_card_processes_and_children_alone(found):
    seen = processes(found.folder / "imports")
    assert {one.of for one in seen if one.of.startswith("child ")} == {
        "child actors.claims",
        "child actors.copies",
        "child actors.files.compiled",
        "child actors.probe",
    }
    others = {one.pid: one for one in seen if not one.of.startswith("child ")}
    card = others.pop(found.status["cards"][0]["pid"])
    assert (card.of, card.for_ray) == ("ray::CardHost", ())
    # Whoever starts a Ray is asked by Ray itself how many cards there are; who joins one is not.
    (driver,) = others.values()
    assert drive.__file__ in driver.of
    assert driver.imported == driver.for_ray == ("acl",)
    both = {one.of: one.imported for one in seen if "mindspore_lite" in one.imported}
    assert both == dict.fromkeys(
        ("child actors.claims", "child actors.probe", "ray::CardHost"), ("mindspore_lite", "acl")
    )


def test_nothing_runs_when_it_has_ended(found):
    assert (found.left, found.connected) == ([], False)
    seen = processes(found.folder / "imports")
    assert [one for one in seen if psutil.pid_exists(one.pid)] == []
