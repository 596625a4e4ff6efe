"""What goes from a node's cache when there is no more room: only what no process uses."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actors.files.cacheroom import DRAFT, LIMIT, Room
from actors.files.modelcache import ModelCache
from actors.files.modelfiles import LocalFolder, ModelFileError
from actors.messages import ModelOrder

SIZE = 100_000
#: Stages a model, says so, and lives until its input ends.
USER = """
import sys
from pathlib import Path
from actors.messages import ModelOrder
from actors.files.modelcache import ModelCache
from actors.files.modelfiles import LocalFolder
folder, name, cache = map(Path, sys.argv[1:])
order = ModelOrder(str(name), str(folder / f"{name}.mindir"))
print(ModelCache(cache).stage(order, "emulated", LocalFolder(folder)).path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def source(tmp_path):
    """Models of as many bytes each, which no library will read."""
    folder = tmp_path / "source"
    folder.mkdir()
    for index, name in enumerate("abcd"):
        (folder / f"{name}.onnx").write_bytes(bytes([index]) * SIZE)
    return folder


@pytest.fixture
def cache(tmp_path):
    return ModelCache(tmp_path / "node")


@pytest.fixture
def use(source, cache):
    """A process that uses a model; ends by SIGKILL with the test at the latest."""
    users = []

    def used(name):
        user = subprocess.Popen(
            [sys.executable, "-c", USER, str(source), name, str(cache.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        users.append(user)
        assert user.stdout.readline().endswith(f"{name}.mindir\n")
        return user

    yield used
    for user in users:
        user.kill()
        user.communicate()


def stage(cache, source, name):
    order = ModelOrder(name, str(source / f"{name}.mindir"))
    return Path(cache.stage(order, "emulated", LocalFolder(source)).path)


def kept(cache):
    return sorted(home.name.partition("-")[0] for home in (cache.folder / "sets").iterdir())


def small_disk(monkeypatch, cache, nbytes):
    """As if the cache's disk had so many bytes, and nothing else on it."""
    real = shutil.disk_usage

    def usage(path):
        used = Room(cache.folder).nbytes()
        return real(path)._replace(total=nbytes, used=used, free=max(nbytes - used, 0))

    monkeypatch.setattr(shutil, "disk_usage", usage)
    monkeypatch.setenv(LIMIT, str(nbytes))


def test_a_full_disk_is_freed_of_what_nobody_uses_the_longest_unused_first(
    cache, source, use, monkeypatch
):
    first = use("a")
    for name in "bc":
        ended = use(name)
        ended.kill()
        ended.wait()
    os.utime(next((cache.folder / "used").glob("b-*")), (0, 0))
    small_disk(monkeypatch, cache, 3 * SIZE)
    assert stage(cache, source, "d").with_suffix(".onnx").stat().st_size == SIZE
    assert kept(cache) == ["a", "c", "d"]
    assert len(list((cache.folder / "files").iterdir())) == 3
    assert len(list((cache.folder / "sound").iterdir())) == 3
    assert first.poll() is None


def test_a_disk_full_of_what_is_used_says_so_and_a_killed_process_uses_nothing(
    cache, source, use, monkeypatch
):
    users = [use(name) for name in "abc"]
    small_disk(monkeypatch, cache, 3 * SIZE)
    with pytest.raises(ModelFileError) as told:
        stage(cache, source, "d")
    assert f"free {SIZE:,} bytes there (models that are used now take {3 * SIZE:,} of it)" in str(
        told.value
    )
    assert kept(cache) == ["a", "b", "c"]
    users[1].kill()
    users[1].wait()
    stage(cache, source, "d")
    assert kept(cache) == ["a", "c", "d"]


def test_what_is_above_the_limit_goes_though_the_disk_has_room(cache, source, use, monkeypatch):
    for name in "abc":
        ended = use(name)
        ended.kill()
        ended.wait()
    monkeypatch.setenv(LIMIT, f"{2 * SIZE / 1024} KiB")
    stage(cache, source, "d")
    assert kept(cache) == ["c", "d"]
    assert Room(cache.folder).nbytes() == 2 * SIZE


def test_a_limit_that_is_no_number_is_told(cache, source, monkeypatch):
    monkeypatch.setenv(LIMIT, "plenty")
    with pytest.raises(ModelFileError) as told:
        stage(cache, source, "a")
    assert str(told.value) == f"{LIMIT}=plenty: write a number of bytes, such as 200GiB"


def test_a_folder_that_is_none_is_told(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelFileError) as told:
        stage(ModelCache(tmp_path / "file" / "models"), source, "a")
    folder = tmp_path / "file" / "models"
    assert str(told.value) == f"the model cache {folder} cannot be used: Not a directory"


def test_drafts_of_processes_that_were_killed_go_after_a_day(cache, source):
    stage(cache, source, "a")
    old, new = (cache.folder / "files" / f"{DRAFT}{name}" for name in ("old", "new"))
    for draft in (old, new):
        draft.write_bytes(b"half a model")
    a_day_ago = time.time() - 25 * 3600
    os.utime(old, (a_day_ago, a_day_ago))
    stage(cache, source, "b")
    assert not old.exists()
    assert new.exists()


def test_models_that_share_a_file_keep_it_for_each_other(cache, source, use):
    shutil.copy(source / "a.onnx", source / "b.onnx")
    for name in "ab":
        user = use(name)
    user.kill()
    user.wait()
    assert Room(cache.folder).make(1) is False  # b's only file is a's, too
    assert kept(cache) == ["a"]
    assert [file.stat().st_nlink for file in (cache.folder / "files").iterdir()] == [2]
