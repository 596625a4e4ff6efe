"""The YAML blocks of the page load, those that are a part of a file within a small whole."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from orchestrator.config import load_deployment
from orchestrator.errors import DeploymentError

PAGE = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
INI = re.findall(r"^```ini\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TEXT = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
WHOLE = """\
name: whole
cards: {kind: emulated, count: 2, capacity: 160MiB}
models: [{name: det, path: models/det.mindir}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    for name in ("det", "rec", "cls", "embed"):
        for suffix in (".onnx", ".mindir"):
            (tmp_path / "models" / name).with_suffix(suffix).write_text("never run here")
    (ini,) = INI
    (tmp_path / "models" / "rec.ini").write_text(ini)
    (tmp_path / "models" / "det.ini").write_text("[acl_init_options]\nge.engineType=AiCore\n")
    return tmp_path


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_loads(block, folder):
    whole = YAML(typ="safe", pure=True).load(WHOLE) | YAML(typ="safe", pure=True).load(block)
    with (folder / "deployment.yaml").open("w") as file:
        YAML().dump(whole, file)
    assert load_deployment(folder / "deployment.yaml").orders()


def test_the_ini_of_the_page_decides_the_shapes(folder):
    (folder / "deployment.yaml").write_text(BLOCKS[0])
    rec = load_deployment(folder / "deployment.yaml").model("rec")
    assert rec.shapes is not None
    assert rec.shapes.gears == ({"x": (1, 3, 48, 320)}, {"x": (6, 3, 48, 320)})


def test_the_messages_of_the_page_are_the_real_ones(folder, monkeypatch):
    text = (
        WHOLE.replace("[{name: det, path: models/det.mindir}]", "")
        + "\n" * 6
        + "  - name: det\n    path: models/det.mindir\n    replica: 2\n"
        + "    batching:\n      max_wait: 5\n"
    )
    monkeypatch.chdir(folder)
    Path("deployment.yaml").write_text(text)
    with pytest.raises(DeploymentError) as caught:
        load_deployment("deployment.yaml")
    assert f"{caught.value}\n" == TEXT[0]
