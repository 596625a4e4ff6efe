"""Sizes of a model that was compiled for Ascend, asked of its OM through a stand-in for pyACL."""

from pathlib import Path

import pytest

from actors.files.compiled import CompiledError, compiled_measurement, compiled_sizes
from actors.files.mindir import NotAMindIRError, read_om
from actors.messages import ModelOrder
from orchestrator.config import parse_deployment
from orchestrator.errors import DeploymentError
from orchestrator.profiles import ProfileCache, collect, missing
from orchestrator.runtime.cluster.measure import measure_missing
from tests.card.conftest import gears_of
from tests.mindirs import write_mindir
from tests.oms import write_om

STANDINS = Path(__file__).parent / "standins"
X = {"x": (-1, 64)}
GEARS = [{"x": (1, 64)}, {"x": (4, 64)}]
#: What the stand-in answers is not what the file says, so that each can be told from the other.
OM = write_om(X, gears=GEARS, name=b"work 4096 weights 8192", weights=64, workspace=256, streams=3)


@pytest.fixture
def acl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(STANDINS)


def compiled(folder: Path, om: bytes, shape: tuple[int, ...] = (-1, 64)) -> Path:
    """A converted model whose OM lies in a file beside it."""
    path = write_mindir(folder / "m.mindir", {"x": shape}, om=om, beside="m_om")
    (folder / "m_om").write_bytes(om)
    return path


def test_the_om_is_read_from_the_model_or_from_beside_it(tmp_path: Path) -> None:
    assert read_om(compiled(tmp_path, OM)) == OM
    assert read_om(write_mindir(tmp_path / "in.mindir", X, om=OM)) == OM
    with pytest.raises(NotAMindIRError, match="was not converted for Ascend"):
        read_om(write_mindir(tmp_path / "cpu.mindir", {"x": (1,)}))


def test_a_compiled_file_tells_weights_and_workspace(tmp_path: Path, acl: None) -> None:
    order = ModelOrder("m", str(compiled(tmp_path, OM)), gears=gears_of((1, 64), (4, 64)))
    found = compiled_measurement(order)
    assert (found.weight_bytes, found.workspace_bytes, found.compiled) == (8192, 4096, True)
    assert found.tensor_bytes == (4 * 64 * 4, 4 * 64 * 4), "outputs are taken to be as large"
    assert found.streams == 3 + 1, "the library makes one of its own"
    assert found.library == "compiled file as pyACL answers"


@pytest.mark.parametrize(
    ("om", "told"),
    [
        (b"damaged", "acl.mdl.query_size_from_mem answered 500002, and its OM cannot be read: "),
        (write_om(X, name=b"work 0 weights 1"), "its shapes are open, so that its workspace dep"),
    ],
)
def test_an_om_that_does_not_tell(tmp_path: Path, acl: None, om: bytes, told: str) -> None:
    with pytest.raises(CompiledError, match=told) as caught:
        compiled_sizes(str(compiled(tmp_path, om)))
    assert str(caught.value).startswith("what m.mindir was compiled to take is not available: ")


def test_without_an_idle_card_a_plan_takes_what_compiled_files_tell(
    tmp_path: Path, acl: None
) -> None:
    compiled(tmp_path, OM, shape=(4, 64))
    model = {"name": "m", "path": "m.mindir"}
    data = {"name": "d", "cards": {"kind": "ascend", "type": "310P", "count": 1}, "models": [model]}
    deployment = parse_deployment(data, folder=str(tmp_path))
    cache = ProfileCache(tmp_path / "cache")
    assert measure_missing(deployment, cache) == ("m",)
    profile = collect(deployment, cache)["m"]
    assert (profile.label, profile.service_ms) == (
        "compiled file as pyACL answers, io estimated",
        None,
    )
    assert (profile.sizes.weights, profile.sizes.workspace) == (8192, 4096)
    assert len(missing(deployment, cache)) == 1, "a card may still measure it"


def test_a_type_that_numpy_does_not_have_is_told_with_its_input(tmp_path: Path, acl: None) -> None:
    path = write_mindir(tmp_path / "m.mindir", {"x": (4, 64)}, dtype=16, om=OM)
    with pytest.raises(CompiledError, match="input x is of type bfloat16, which numpy does not ha"):
        compiled_measurement(ModelOrder("m", str(path)))


@pytest.fixture(params=["ImportError", "OSError"])
def no_acl(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not installed, or of a CANN that is broken."""
    (tmp_path / "acl.py").write_text(f"raise {request.param}('libascendcl.so: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)


def test_without_pyacl_the_compiled_file_itself_tells(tmp_path: Path, no_acl: None) -> None:
    order = ModelOrder("m", str(compiled(tmp_path, OM)), gears=gears_of((1, 64), (4, 64)))
    found = compiled_measurement(order)
    assert (found.weight_bytes, found.workspace_bytes, found.streams) == (64, 256, 4)
    assert found.library == "compiled file as it says"
    with pytest.raises(CompiledError, match="its shapes are open, so that its workspace depends"):
        compiled_sizes(str(compiled(tmp_path, write_om(X))))


@pytest.mark.parametrize(
    ("acl", "told"),
    [
        ("def init(): return 507008", "acl.init answered 507008"),
        (
            "def init(): return 100002\n"
            "class mdl: query_size_from_mem = lambda pointer, size: (0, 0, 107002)",
            "acl.mdl.query_size_from_mem answered 107002",
        ),
    ],
    ids=["no driver", "no device set"],
)
def test_where_pyacl_does_not_answer_the_compiled_file_tells_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, acl: str, told: str
) -> None:
    (tmp_path / "acl.py").write_text(acl)
    monkeypatch.syspath_prepend(tmp_path)
    found = compiled_sizes(str(compiled(tmp_path, OM)))
    assert (found.weights, found.workspace, found.streams) == (64, 256, 4)
    assert found.source.startswith(f"as it says ({told}")


def test_without_pyacl_and_with_an_om_of_an_unknown_layout_it_is_said_that_nobody_tells(
    tmp_path: Path, no_acl: None
) -> None:
    compiled(tmp_path, b"PK" + bytes(300), shape=(4, 64))
    model = {"name": "m", "path": "m.mindir"}
    data = {"name": "d", "cards": {"kind": "ascend", "type": "310P", "count": 1}, "models": [model]}
    deployment = parse_deployment(data, folder=str(tmp_path))
    with pytest.raises(DeploymentError) as caught:
        measure_missing(deployment, ProfileCache(tmp_path / "cache"))
    assert "not measured yet on kind ascend: m" in str(caught.value)
    told = str(caught.value)
    assert (
        "what m.mindir was compiled to take is not available: pyACL, which comes with CANN, is not "
        "here (" in told
    )
    assert "libascendcl.so: cannot open" in told
    assert "), and its OM cannot be read: an OM begins with IMOD and " in told
