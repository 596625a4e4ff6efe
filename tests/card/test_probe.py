"""The throw-away process: what it measures, and how its failures come back."""

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from actors import emulator
from actors.errors import LoadError
from actors.files.modelfiles import weightless
from actors.messages import ModelOrder
from actors.probe import measure
from tests import models
from tests.card.conftest import with_times


def test_sizes_and_times_of_every_gear(mlp: ModelOrder) -> None:
    order = with_times(mlp, 30)
    own = {**order.config["emulated_card"], "copy_in_ms": "2", "copy_out_ms": "3"}
    found = measure(replace(order, config={**order.config, "emulated_card": own}), kind="emulated")
    sizes = emulator.calibration(mlp.path, "", mlp.config)
    assert found.weight_bytes == sizes.weight_bytes == 2 * (64 * 64 + 64) * 4
    assert found.workspace_bytes == sizes.workspace_bytes
    assert found.tensor_bytes == (4 * 64 * 4, 4 * 64 * 4)
    assert [gear.gear for gear in found.gears] == list(mlp.gears or ())
    assert [gear.tensor_bytes for gear in found.gears] == [(256, 256), (1024, 1024)]
    for gear in found.gears:
        assert 29.999 < gear.execute_ms < 60
        assert (gear.copy_in_ms, gear.copy_out_ms) == (2, 3)
    assert found.inputs[0].shape == (-1, 64)
    assert not found.dynamic
    assert found.library.startswith("emulated mindspore_lite 2.")


def test_failures_come_back_as_one_clear_error(tmp_path: Path, mlp: ModelOrder) -> None:
    garbage = models.write_garbage(tmp_path, "garbage")
    with pytest.raises(LoadError) as caught:
        measure(ModelOrder("bad", str(garbage)), kind="emulated")
    assert str(caught.value).startswith(f"card probe: model bad ({garbage}) did not load: ")
    assert "not an ONNX model" in str(caught.value)
    with pytest.raises(LoadError, match=r"measuring took longer than 0\.001 s"):
        measure(mlp, kind="emulated", timeout_seconds=0.001)


def test_a_model_without_weights_is_measured_though_the_library_groups_none(tmp_path: Path) -> None:
    path = models.write_weightless(tmp_path, "empty", width=4096)
    found = measure(ModelOrder("empty", str(path)), kind="emulated")
    assert (found.weight_bytes, found.tensor_bytes) == (0, (4096 * 4, 4096 * 4))
    assert found.workspace_bytes > 0


def test_one_of_which_only_the_library_knows_it_is_measured_anew_in_no_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlp: ModelOrder
) -> None:
    """A process that answers as the library does where nobody can read the compiled file."""
    problem = "build_from_file failed! | native log: Weight size if 0!"
    refused = LoadError("probe", "empty", "/m/empty.mindir", problem)
    second = replace(measure(mlp, kind="emulated"), weight_bytes=0)
    for name, answer in (("first", refused), ("second", second)):
        (tmp_path / name).write_bytes(pickle.dumps(answer))
    program = tmp_path / "python"
    program.write_text(
        f"#!/bin/sh\ncd {tmp_path}\ncp $5 job\n"
        "if [ -e asked ]; then cp second $6; else touch asked; cp first $6; fi\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    assert measure(ModelOrder("empty", "/m/empty.mindir"), kind="ascend") == second
    asked = pickle.loads((tmp_path / "job").read_bytes()).order
    assert weightless(asked, "ascend")


def test_a_dynamic_model_is_measured_from_a_script_without_a_main_guard(
    tmp_path: Path, dynamic: ModelOrder
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from actors.messages import ModelOrder\n"
        "from actors.probe import measure\n"
        "from actors.shapes import Gear\n"
        f"order = ModelOrder('dynamic', {dynamic.path!r}, gears={dynamic.gears!r},\n"
        f"    dynamic=True, config={dynamic.config!r})\n"
        "found = measure(order, kind='emulated')\n"
        "print(found.weight_bytes, found.dynamic, [dict(g.gear.inputs) for g in found.gears])\n"
        "assert found.workspace_bytes > 0\n"
    )
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "33280 True [{'x': (8, 64)}]\n"
