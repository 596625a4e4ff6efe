"""What a card's process imports before the library, and how it ends: in a child, to the end."""

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from actors.messages import ModelOrder
from tests.card.conftest import card_order

STANDINS = Path(__file__).parent / "standins"

SCRIPT = """
import atexit, pickle, sys
sys.path.insert(0, sys.argv[1])
import orchestrator.runtime
from actors.card import CardActor
from actors.machine.leaving import leave_early
print(sorted({name.partition(".")[0] for name in sys.modules} & set(sys.argv[3].split())))
import mindspore_lite
atexit.register(print, "the library finalises")
card = CardActor()
card.load(pickle.loads(open(sys.argv[2], "rb").read()))
leave_early(card.stop)
atexit.register(print, "later handlers run", end="")
"""


def test_a_card_process_ends_before_the_library_finalises(tmp_path: Path, conv: ModelOrder) -> None:
    Path(conv.path).write_bytes(b"not looked into here")
    order = tmp_path / "order"
    order.write_bytes(pickle.dumps(replace(card_order(conv), kind="cpu")))
    native = "acl mindspore_lite onnxruntime pyarrow pydantic_core scipy"
    arguments = [sys.executable, "-c", SCRIPT, str(STANDINS), str(order), native]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\nlater handlers run", "flushed, and nothing was finalised"
