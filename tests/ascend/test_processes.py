"""In which processes the vendor's two packages are: those of cards, and children of their own.

What a user runs on a machine with a card, on stand-ins that write down who imported them.
"""

import sys

import pytest

from actors.claims.networks import write_conv
from tests.ascend.test_two_cards import children, compiled, own_dev, verify

__all__ = ["own_dev", "verify"]

#: Of the commands that meet the library or a card; then whether this process has met them, too.
SCRIPT = """
import sys
from orchestrator.cli import main
for words in (
    ["check", "d.yaml"],
    ["doctor", "--address", "local"],
    ["profile", "d.yaml"],
    ["plan", "d.yaml"],
    ["convert", "conv16.onnx", "--out", "made.mindir"],
):
    main(words)
print(sorted({"acl", "mindspore_lite"} & set(sys.modules)))
"""
DEPLOYMENT = """
name: d
cards: {kind: ascend, type: 310P, count: 1}
models: [{name: conv16, path: conv16.mindir, compile_at_build: true}]
"""


@pytest.mark.timeout(600)
def test_no_command_imports_them_into_its_own_process(verify, tmp_path, monkeypatch):
    compiled(write_conv(tmp_path, "conv16", 16))
    (tmp_path / "d.yaml").write_text(DEPLOYMENT)
    monkeypatch.setenv("STANDIN_IMPORTS", str(tmp_path / "imports"))
    done = verify("0", command=[sys.executable, "-c", SCRIPT])
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert children(tmp_path / "imports") == {"files.compiled", "files.convert"}
