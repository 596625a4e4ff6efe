"""A node that is lost: its raylet is killed, and what its cards did the other nodes do.

Where cards follow the work, that is also so while another node has yet to come.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from actors.messages import Arrays
from orchestrator import Deployment
from orchestrator.runtime.cards.slots import SlotState
from orchestrator.runtime.cluster.connect import Connection
from orchestrator.runtime.deployments.accounts import card_documents
from orchestrator.runtime.deployments.running import Running
from orchestrator.runtime.options import Options, RestartRules
from tests.models import write_mlp
from tests.runtime.deployments import WIDTH, Truth, deployment, model, rows
from tests.runtime.nodes import RESOURCE, further_node

REQUESTS = 300


def far(folder: Path) -> Deployment:
    """One model on two cards of one node each."""
    path = write_mlp(folder, "both", width=WIDTH, rows=1)
    near = deployment(model("both", path, replicas=2), count=2, name="far")
    cards = {**near.cards.model_dump(), "resource": RESOURCE}
    return Deployment.model_validate({**near.model_dump(), "cards": cards})


def test_what_a_lost_node_had_is_done_by_the_others(cluster: Connection, tmp_path: Path) -> None:
    with further_node() as lost, further_node():
        running = Running(Options(restarts=RestartRules(most_failures=2)))
        running.start(far(tmp_path))
        try:
            x = rows(REQUESTS)

            def submit() -> list:
                return [
                    running.submit("both", {"x": x[i : i + 1]}, None, True, "online")
                    for i in range(REQUESTS)
                ]

            futures = submit()
            lost.kill()
            futures += submit()
            got = np.concatenate([future.result()["y"] for future in futures])
            expected = Truth(tmp_path / "both.mindir")(x)
            assert np.allclose(got, np.concatenate([expected] * 2), atol=1e-5)

            (gone,) = (slot.name for slot in running.slots() if slot.node_id == lost.node_id)
            note = f"planned without {gone}: every model is still served"
            while not (seen := running.status(5.0)).notes:
                time.sleep(0.1)
            assert seen.notes == (note,)
            assert [card.state for card in seen.cards if card.slot == gone] == ["given up"]
            planned = [
                one["planned_bytes"] is not None for one in card_documents(running.plan, seen)
            ]
            assert planned == [card.slot != gone for card in seen.cards]
            answer = running.submit("both", {"x": x}, None, True, "online").result()["y"]
            assert np.allclose(answer, expected, atol=1e-5)
        finally:
            running.close()


def test_work_waits_for_another_node_when_its_own_is_gone(
    cluster: Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Ray's autoscaler may take a node back while a card there is about to start."""
    path = write_mlp(tmp_path, "one", width=WIDTH, rows=1)
    near = deployment(model("one", path, emulated={"execute": "1s"}), count=1, name="moves")
    cards = {**near.cards.model_dump(), "resource": RESOURCE}
    autoscale = {"min_cards": 0, "idle": "1s"}
    wanted = {**near.model_dump(), "cards": cards, "autoscale": autoscale}
    x = rows(1)
    caplog.set_level(logging.INFO, "orchestrator.events")
    with further_node() as lost:
        running = Running(Options())
        running.start(Deployment.model_validate(wanted))
        try:
            until_so(lambda: not running.slots())
            answers: list[Future[Arrays]] = []

            def states() -> list[SlotState]:
                """While there is always something to do."""
                if all(answer.done() for answer in answers):
                    answers.append(running.submit("one", {"x": x}, None, True, "online"))
                return [slot.state for slot in running.slots()]

            until_so(lambda: states() == [SlotState.LOADING])
            lost.kill()
            until_so(lambda: states() in ([SlotState.DRAINED], [SlotState.GIVEN_UP]))
            assert states() == [SlotState.DRAINED]
            assert "it is let go, as its node is gone" in caplog.text
            with further_node() as other:
                for answer in answers:
                    assert np.allclose(answer.result()["y"], Truth(path)(x), atol=1e-5)
                assert [slot.node_id for slot in running.slots()] == [other.node_id]
        finally:
            running.close()


def until_so(seen: Callable[[], bool]) -> None:
    while not seen():
        time.sleep(0.01)
