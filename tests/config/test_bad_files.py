"""Every file in bad/ is refused with exactly the text beside it."""

import os
from pathlib import Path

import pytest

from orchestrator.config import load_deployment
from orchestrator.errors import DeploymentError

HERE = Path(__file__).parent
CASES = sorted((HERE / "bad").glob("*.yaml"))


def message(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(path.parent)
    with pytest.raises(DeploymentError) as caught:
        load_deployment(path.name)
    return str(caught.value).replace(str(HERE), "<tests>") + "\n"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_message_is_the_one_expected(path, monkeypatch):
    found = message(path, monkeypatch)
    expected = path.with_suffix(".txt")
    if os.environ.get("WRITE_EXPECTED"):
        expected.write_text(found, encoding="utf-8")
    assert found == expected.read_text(encoding="utf-8")


def test_nothing_of_the_validation_library_shows():
    text = "".join(path.with_suffix(".txt").read_text(encoding="utf-8") for path in CASES)
    for word in ("pydantic", "Input should", "validation error", "type=", "Extra inputs", "tuple"):
        assert word not in text
