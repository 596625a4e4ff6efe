"""Model files in a node's cache: what the library sees is what was planned."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnx
import pytest

from actors.errors import LoadError
from actors.files.modelcache import ModelCache
from actors.files.modelfiles import InPlace, LocalFolder, ModelFileError, files_of
from actors.messages import ModelOrder
from orchestrator.config import load_deployment
from orchestrator.errors import DeploymentError
from orchestrator.profiles.cache import model_path
from orchestrator.runtime.cards.staging import staged, with_sources
from orchestrator.sources import known_files, local_path
from tests import models
from tests.card.conftest import answer, card_order, expected, gears_of, planned, rows


@pytest.fixture
def order(tmp_path):
    """A model with weights in a file beside it, an .ini of its name, and a config file."""
    folder = tmp_path / "source"
    folder.mkdir()
    path = models.write_mlp(folder, "m", gears=[1, 4])
    file = path.with_suffix(".onnx")
    onnx.save(
        onnx.load(file), file, save_as_external_data=True, location="m.data", size_threshold=0
    )
    config = tmp_path / "own.ini"
    config.write_text("[emulated_card]\nexecute_ms=1\n")
    gears = gears_of((1, 64), (4, 64))
    return ModelOrder("m", str(path), gears=gears, config_path=str(config))


@pytest.fixture
def cache(tmp_path):
    return ModelCache(tmp_path / "node")


def stage(cache, order):
    return cache.stage(order, "emulated", LocalFolder(order_folder(order)))


def order_folder(order):
    return local_path(order.path, "emulated").parent


def test_all_that_belongs_to_a_model_lies_beside_it_read_only(order, cache):
    copy = stage(cache, order)
    home = local_path(copy.path, "emulated").parent
    assert home.parent.parent == cache.folder
    found = sorted(str(file.relative_to(home)) for file in home.rglob("*") if file.is_file())
    assert found == ["config/own.ini", "m.data", "m.ini", "m.onnx"]
    assert copy.config_path == str(home / "config/own.ini")
    for name in ("m.onnx", "m.data", "m.ini"):
        assert (home / name).read_bytes() == (order_folder(order) / name).read_bytes()
        assert (home / name).stat().st_mode & 0o222 == 0
    assert copy.files == known_files(order, "emulated")


def test_what_was_planned_is_loaded_whatever_is_written_to_the_source(order, cache):
    order = replace(order, files=known_files(order, "emulated"))
    before = stage(cache, order)
    (order_folder(order) / "m.onnx").write_bytes(b"something else")
    assert stage(cache, order) == before
    shutil.rmtree(order_folder(order))
    assert stage(cache, order) == before


def test_another_node_with_other_bytes_refuses_them(order, tmp_path):
    order = replace(order, files=known_files(order, "emulated"))
    folder = order_folder(order)
    size = (folder / "m.onnx").stat().st_size
    (folder / "m.onnx").write_bytes(b"other bytes")
    other = ModelCache(tmp_path / "other")
    with pytest.raises(ModelFileError) as told:
        stage(other, order)
    assert str(told.value).startswith("m.onnx has 11 bytes (SHA-256 ")
    assert f"and the plan was made with {size:,} bytes (SHA-256 " in str(told.value)
    assert f"copy the planned file to {folder} on this node, or plan again" in str(told.value)
    (folder / "m.onnx").unlink()
    with pytest.raises(ModelFileError, match=f"there is no file m.onnx in {folder}"):
        stage(other, order)


def test_equal_paths_with_other_options_stay_apart_and_take_the_disk_once(order, cache):
    fast = stage(cache, order)
    slow = stage(cache, replace(order, config={"emulated_card": {"execute_ms": "9"}}))
    assert fast.path != slow.path
    assert fast.files.digest != slow.files.digest
    one, other = (local_path(o.path, "emulated").with_suffix(".onnx") for o in (fast, slow))
    assert one.samefile(other)
    assert stage(cache, replace(order, name="n")).path != fast.path


def test_processes_of_a_node_copy_a_file_once(order, cache, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        copies = list(pool.map(lambda _: stage(ModelCache(cache.folder), order), range(16)))
    assert {copy.path for copy in copies} == {copies[0].path}
    assert len(list((cache.folder / "files").iterdir())) == 4
    assert len(list((cache.folder / "sets").rglob("*"))) == 6  # its folder, config/, four files


def test_a_full_disk_says_how_much_is_missing(order, cache, monkeypatch):
    size = (order_folder(order) / "m.onnx").stat().st_size
    usage = shutil.disk_usage(cache.folder.parent)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ModelFileError) as told:
        stage(cache, order)
    assert str(told.value) == (
        f"m.onnx has {size:,} bytes and the disk of the model cache {cache.folder} has 10 free: "
        f"free {size - 10:,} bytes there (models that are used now take 0 of it), or set "
        "ASCEND_ORCHESTRATOR_CACHE to a folder on a larger disk"
    )
    assert list((cache.folder / "files").iterdir()) == []


def test_a_file_that_was_damaged_in_the_cache_is_put_there_again(order, cache):
    copy = stage(cache, replace(order, files=known_files(order, "emulated")))
    file = local_path(copy.path, "emulated").with_suffix(".onnx")
    file.unlink()
    assert stage(cache, copy_of(order, copy)).path == copy.path
    assert file.is_file()


def test_a_file_with_other_bytes_of_as_many_is_copied_again(order, cache):
    order = replace(order, files=known_files(order, "emulated"))
    file = local_path(stage(cache, order).path, "emulated").with_suffix(".onnx")
    right = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(bytes(reversed(right)))
    assert stage(cache, order).path == str(file.with_suffix(".mindir"))
    assert file.read_bytes() == right
    file.chmod(0o644)
    file.write_bytes(bytes(reversed(right)))
    (order_folder(order) / "m.onnx").unlink()
    with pytest.raises(ModelFileError, match=r"there is no file m\.onnx in"):
        stage(cache, order)


def copy_of(order, copy):
    return replace(order, files=copy.files)


def test_weights_outside_of_the_folder_are_refused(tmp_path):
    path = models.write_mlp(tmp_path, "far").with_suffix(".onnx")
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="w", size_threshold=0)
    path.write_bytes(path.read_bytes().replace(b"\x01w", b"\x01/"))
    order = ModelOrder("far", str(path.with_suffix(".mindir")))
    with pytest.raises(ModelFileError, match=r"far.onnx has weights in /, outside of its own"):
        files_of(order, "emulated", LocalFolder(tmp_path), InPlace())


def test_a_card_runs_what_was_staged_and_speaks_of_the_source(order, load, tmp_path):
    wanted = planned(replace(order, files=known_files(order, "emulated")))
    told = staged(card_order(wanted))
    inputs = rows(1)
    right = expected(wanted, x=inputs)["y"]
    (order_folder(order) / "m.onnx").write_bytes(b"something else")
    card = load(*staged(card_order(wanted)).models)
    assert np.allclose(answer(card, "m", x=inputs)["y"], right, atol=1e-5)
    copy = told.models[0].path
    assert copy != order.path
    error = LoadError("local/0", "m", copy, f"{copy} is no model")
    assert str(with_sources(error, card_order(wanted), told)) == (
        f"card local/0: model m ({order.path}) did not load: {order.path} is no model"
    )


def test_a_card_refuses_other_bytes_with_one_message(order, monkeypatch, tmp_path):
    wanted = replace(order, files=known_files(order, "emulated"))
    (order_folder(order) / "m.data").write_bytes(b"short")
    monkeypatch.setenv("ASCEND_ORCHESTRATOR_CACHE", str(tmp_path / "empty"))
    with pytest.raises(LoadError) as told:
        staged(card_order(wanted))
    assert str(told.value).startswith(
        f"card local/0: model m ({order.path}) did not load: m.data has 5 bytes (SHA-256 "
    )


def test_a_url_is_planned_and_staged_like_a_path(order, monkeypatch, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    memory, folder = fsspec.filesystem("memory"), order_folder(order)
    for name in ("m.onnx", "m.data", "m.ini"):
        memory.pipe(f"/models/{name}", (folder / name).read_bytes())
    monkeypatch.setenv("ASCEND_ORCHESTRATOR_CACHE", str(tmp_path / "empty"))
    here = known_files(order, "emulated")
    for url in ("memory://models/m.mindir", f"file://{folder}/m.mindir"):
        far = replace(order, path=url)
        assert known_files(far, "emulated") == here
        assert model_path(far, "emulated").read_bytes() == (folder / "m.onnx").read_bytes()
        copy = staged(card_order(replace(far, files=here))).models[0]
        assert (order_folder(copy) / "m.data").read_bytes() == (folder / "m.data").read_bytes()
    with pytest.raises(DeploymentError) as told:
        local_path("memory://models/none.mindir", "emulated")
    assert str(told.value) == (
        "memory://models/none.mindir: there is no file none.onnx in memory://models"
    )


def test_a_card_copies_a_url_by_itself(order, monkeypatch, tmp_path):
    far = replace(order, path=f"file://{order_folder(order)}/m.mindir")
    monkeypatch.setenv("ASCEND_ORCHESTRATOR_CACHE", str(tmp_path / "empty"))
    copy = staged(card_order(far)).models[0]
    assert copy.files == known_files(order, "emulated")
    (order_folder(order) / "m.onnx").unlink()
    shutil.rmtree(tmp_path / "empty")
    with pytest.raises(LoadError, match=r"m \(file:.*: there is no file m.onnx in file:"):
        staged(card_order(far))


def test_a_deployment_file_may_name_a_url(tmp_path):
    path = models.write_mlp(tmp_path, "m", gears=[1, 4])
    text = "name: d\ncards: {{kind: emulated, count: 1, capacity: 64MiB}}\nmodels:\n  - {}\n"
    (tmp_path / "d.yaml").write_text(text.format(f"{{name: m, path: 'file://{path}'}}"))
    deployment = load_deployment(tmp_path / "d.yaml")
    assert deployment.models[0].path == f"file://{path}"
    assert len(deployment.orders()[0].gears) == 2  # from the .ini beside it
    path.with_suffix(".onnx").unlink()
    with pytest.raises(DeploymentError) as told:
        load_deployment(tmp_path / "d.yaml")
    assert str(told.value) == (
        f"{tmp_path}/d.yaml:4: models[0] (m): path: file://{path}: there is no file m.onnx in "
        f"file://{tmp_path}"
    )
