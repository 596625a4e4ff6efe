"""The library in every form that can be had here: each emulated release, and the genuine one."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ruamel.yaml import YAML

import actors.emulator
from actors.emulator.releases import RELEASES
from tests import models

Contract = dict[str, Any]
CONTRACTS: dict[str, Contract] = {
    path.stem: YAML(typ="safe").load(path) for path in sorted(Path(__file__).parent.glob("*.yaml"))
}
NEVER_INSTALLED = "mindspore_lite is not installed here"


@dataclass(frozen=True)
class Library:
    """A library and the contract that it is held against."""

    lite: ModuleType
    contract: Contract
    emulated: bool


def numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split(".")[:3] if part.isdigit())


def contract_of(version: str) -> str:
    """The newest contract that is no newer than an installed release."""
    return max((name for name in CONTRACTS if numbers(name) <= numbers(version)), key=numbers)


def cases() -> Iterator[Any]:
    for release in RELEASES:
        yield pytest.param(release, id=f"emulated {release}")
    missing = importlib.util.find_spec("mindspore_lite") is None
    marks = pytest.mark.skip(reason=NEVER_INSTALLED) if missing else ()
    yield pytest.param(None, id="genuine", marks=marks)


@pytest.fixture(params=list(cases()))
def library(request: pytest.FixtureRequest) -> Iterator[Library]:
    if request.param is None:
        genuine = pytest.importorskip("mindspore_lite", reason=NEVER_INSTALLED)
        yield Library(genuine, CONTRACTS[contract_of(genuine.__version__)], emulated=False)
        return
    actors.emulator.configure([64 << 20], release=request.param)
    yield Library(actors.emulator, CONTRACTS[request.param], emulated=True)
    actors.emulator.reset()


@pytest.fixture(scope="session")
def onnx_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three small models as ONNX files, which is what an emulated card serves."""
    folder = tmp_path_factory.mktemp("contract")
    models.write_mlp(folder, "mlp", rows=4)
    models.write_mlp(folder, "open")
    models.write_pair(folder, "pair", rows=2)
    return folder


@pytest.fixture
def folder(library: Library, onnx_files: Path) -> Path:
    """The same folder, with the MindIR files that the genuine library needs."""
    for onnx in [] if library.emulated else sorted(onnx_files.glob("*.onnx")):
        if not onnx.with_suffix(".mindir").exists():
            converter = library.lite.Converter()
            converter.save_type = library.lite.ModelType.MINDIR
            stem = str(onnx.with_suffix(""))
            converter.convert(library.lite.FmkType.ONNX, str(onnx), stem)
    return onnx_files
