"""An emulated card gives the memory of a killed process back late, and the next one waits for it.

A real process: it loads a card with a model, and is killed with it.
"""

import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from actors.card import CardActor
from actors.errors import DoesNotFitError
from actors.memory import card_memory
from actors.messages import CardOrder, LoadReport, ModelOrder
from tests.card.conftest import card_order

LOADED_AND_KILLED = """
import os, pickle, signal, sys
from actors.card import CardActor
card = CardActor()
card.identify("node", sys.argv[1], 0)
card.load(pickle.loads(bytes.fromhex(sys.argv[2])))
os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_a_loaded_card(npu_id: str, order: CardOrder) -> None:
    child = subprocess.run(
        [sys.executable, "-c", LOADED_AND_KILLED, npu_id, pickle.dumps(order).hex()],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert child.returncode == -9, child.stderr


def load(npu_id: str, order: CardOrder) -> LoadReport:
    card = CardActor()
    card.identify("node", npu_id, 0)
    report = card.load(order)
    card.stop()
    return report


def test_a_restarted_card_waits_for_the_memory_of_its_own_dead_process(conv: ModelOrder) -> None:
    assert conv.footprint is not None
    taken = card_memory([conv.footprint]).total
    room = 2 * taken - 1
    mine, other = "late", "another"
    order = card_order(conv, capacity_bytes=room, memory_return_seconds=1e6)
    kill_a_loaded_card(mine, order)
    seen = time.time()
    with pytest.raises(DoesNotFitError) as caught:
        load(mine, replace(order, memory_wait_seconds=0))
    assert f"others hold {taken:,} of the {room:,} bytes that it has" in str(caught.value)
    assert "(emulated), still after 0 s: end them" in str(caught.value)
    assert load(other, order).memory.others_bytes == 0, "another card is not concerned"
    report = load(mine, replace(order, memory_return_seconds=2))
    assert time.time() >= seen + 2, "its memory was not there before"
    assert report.memory.measured_bytes == report.memory.planned.total == taken
    assert report.memory.others_bytes == 0
