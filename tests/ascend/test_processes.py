"""In which processes the vendor's two packages are: those of cards, and children of their own.

What a user runs on a machine with a card, on stand-ins that write down who imported them.
"""

from actors.claims.networks import write_conv
from tests.ascend.machine import compiled, processes, run

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


def test_no_command_imports_them_into_its_own_process(own_dev, tmp_path):
    compiled(write_conv(tmp_path, "conv16", 16))
    (tmp_path / "d.yaml").write_text(DEPLOYMENT)
    done = run(tmp_path, "0", "-c", SCRIPT, STANDIN_IMPORTS=str(tmp_path / "imports"))
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    found = processes(tmp_path / "imports")
    assert {one.of for one in found} == {
        "child actors.files.compiled",
        "child actors.files.convert",
    }
    assert {name for one in found for name in one.imported} == {"acl", "mindspore_lite"}
