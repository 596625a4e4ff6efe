"""What a job's output depends on: code of the pipeline, files of the models, bytes of the input."""

import asyncio
import functools
import importlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from orchestrator.runtime.io.files import InputFiles
from orchestrator.runtime.io.inputs import open_source
from orchestrator.runtime.jobs.facts import job_facts
from orchestrator.runtime.jobs.jobspec import JobSpec
from orchestrator.runtime.jobs.pipelinecode import pipeline_code
from tests.models import write_mlp
from tests.runtime.deployments import model, planned


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A user's package, with a helper that is imported late, and one that nobody imports."""
    folder = tmp_path / "project"
    files = {
        "mine/__init__.py": "",
        "mine/pipe.py": """
            from . import near
            async def f(batch, models):
                import far
                return near.scale(batch)
            """,
        "mine/near.py": "def scale(batch): return batch",
        "far.py": "import numpy",
        "other.py": "",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in ("mine", "mine.pipe", "mine.near"):
        sys.modules.pop(name, None)


def digest(pipeline, here):
    return pipeline_code(pipeline, here)[1]


def test_modules_of_the_user_count_and_no_others(project):
    f = importlib.import_module("mine.pipe").f
    name, before = pipeline_code(f, project)
    assert name == "mine.pipe:f"
    (project / "other.py").write_text("x = 1")
    assert digest(f, project) == before
    seen = {before}
    for file in ("mine/pipe.py", "mine/near.py", "far.py", "mine/__init__.py"):
        path = project / file
        path.write_text(path.read_text() + "\n# changed\n")
        seen.add(digest(f, project))
    assert len(seen) == 5


class Scaled:
    """A pipeline with state."""

    def __init__(self, factor, options=()):
        self.factor, self.options = factor, options
        self.lock = asyncio.Lock()

    async def __call__(self, batch, models):
        return batch

    async def run(self, batch, models):
        return batch


async def plain(batch, models, factor=1):
    return batch


def closed(factor):
    async def inner(batch, models):
        return batch if factor is None else models

    return inner


@pytest.mark.parametrize(
    "make",
    [
        Scaled,
        lambda value: Scaled(1, {"a": value}),
        lambda value: Scaled(value).run,
        lambda value: functools.partial(plain, factor=value),
        lambda value: functools.partial(Scaled(value), {}),
        closed,
        lambda value: functools.partial(closed(value)),
    ],
)
@pytest.mark.parametrize(
    ("value", "other"),
    [(1, 2), (np.zeros(3), np.ones(3)), ({"a", "b"}, {"a", "c"}), ([{"x": None}], [{"x": 0}])],
)
def test_what_is_bound_to_a_pipeline_counts(tmp_path, make, value, other):
    assert digest(make(value), tmp_path) == digest(make(value), tmp_path)
    assert digest(make(value), tmp_path) != digest(make(other), tmp_path)


_TYPED = """
import re, sys
from pathlib import Path
from orchestrator.runtime.jobs.pipelinecode import pipeline_code

LIMIT = {limit}
WORD = re.compile("a+")
UNUSED = {unused}

def helper(x):
    return x > LIMIT and x in {{"a", "b", "c"}}

class Model:
    __slots__ = ("kind",)
    def __init__(self, kind): self.kind = kind
    def scale(self): return {scale}

MODEL = Model("m")

async def f(batch, models):
    return [helper(MODEL.scale()), WORD, sorted({{"x", "y", "z"}})]

print(*pipeline_code(f, Path.cwd()))
"""


@pytest.mark.parametrize("how", ["script", "typed"])
def test_a_function_of_the_script_is_known_by_itself_and_what_it_uses(tmp_path, how):
    def told(**values):
        text = _TYPED.format(**{"limit": 1, "unused": 1, "scale": 1, **values})
        script = tmp_path / "script.py"
        script.write_text(text)
        command = [sys.executable, *([str(script)] if how == "script" else ["-c", text])]
        run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
        name, digest = run.stdout.split()
        assert name == "__main__:f"
        return digest

    before = told()
    assert told() == told(unused=2) == before
    assert told(limit=2) != before
    assert told(scale=2) != before


def test_bytes_that_changed_in_a_store_of_objects_are_seen():
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    store.pipe("/stamped/a.bin", b"one")
    before = InputFiles("memory://stamped").stamp("a.bin")
    assert InputFiles("memory://stamped").stamp("a.bin") == before
    store.pipe("/stamped/a.bin", b"two")
    assert InputFiles("memory://stamped").stamp("a.bin") != before
    assert InputFiles("memory://stamped/a.bin").stamp("a.bin") != before


def test_models_are_known_by_what_the_cards_were_told_to_load(tmp_path):
    path = write_mlp(tmp_path, "mlp", width=16, rows=1)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", np.zeros((3, 16), np.float32))
    spec = JobSpec(tmp_path / "in", tmp_path / "out", model="mlp")
    source = open_source(spec.input)
    plan = planned(model("mlp", path), model("other", path))
    facts = job_facts(spec, source, plan)
    assert facts == job_facts(spec, source, plan.deployment)
    assert (facts["the input format"], facts["the model that is run"]) == ("numpy", "mlp")
    assert "model other" not in facts, "nothing of the output depends on it"
    path.with_suffix(".ini").write_text("[ascend_context]\n")
    assert job_facts(spec, source, plan) == facts
    now = job_facts(spec, source, plan.deployment)
    assert [name for name in facts if now[name] != facts[name]] == ["model mlp"]
