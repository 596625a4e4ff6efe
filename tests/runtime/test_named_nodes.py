"""A named deployment on nodes that are drained, lost, and back after a reboot."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from orchestrator import Deployment, DeploymentError, Orchestrator
from orchestrator.cli import main
from orchestrator.runtime.cluster.connect import Connection
from orchestrator.runtime.deployments.named import drain, status_of
from orchestrator.runtime.deployments.status import CardStatus, Status
from tests.models import write_mlp
from tests.runtime.deployments import (
    WIDTH,
    Truth,
    all_ready,
    deployment,
    model,
    rows,
    standing,
    until,
)
from tests.runtime.nodes import RESOURCE, NodeProcess, further_node

NAME = "nodes"


def on_far_nodes(folder: Path) -> Deployment:
    """One model on all three cards."""
    path = write_mlp(folder, "all", width=WIDTH, rows=1)
    near = deployment(model("all", path, replicas=3), count=3, name=NAME)
    cards = {**near.cards.model_dump(), "resource": RESOURCE}
    return Deployment.model_validate({**near.model_dump(), "cards": cards})


@pytest.fixture(scope="module")
def node(cluster: Connection) -> Iterator[NodeProcess]:
    """Two cards; there is another node with one."""
    with further_node(2) as first, further_node():
        yield first


@pytest.fixture(scope="module")
def driver(node: NodeProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestrator]:
    wanted = on_far_nodes(tmp_path_factory.mktemp("nodes"))
    with standing(wanted), Orchestrator.connect(NAME) as joined:
        yield joined


def cards_on(node: NodeProcess, status: Status) -> list[CardStatus]:
    return [card for card in status.cards if card.node_id == node.node_id]


def name_of(node: NodeProcess) -> str:
    return cards_on(node, until(NAME, all_ready))[0].slot.rpartition("/")[0]


def answered(driver: Orchestrator, during: Callable[[], object]) -> None:
    """Requests before and after something happens are all answered, and rightly."""
    x, handle = rows(100), driver.model("all")
    before = [handle.submit({"x": x[i : i + 1]}) for i in range(100)]
    during()
    after = list(handle.map({"x": x[i : i + 1]} for i in range(100)))
    y = np.concatenate([one["y"] for one in (*(future.result() for future in before), *after)])
    truth = Truth(Path(driver.plan.deployment.model("all").path))(x)
    assert np.allclose(y, np.concatenate([truth] * 2), atol=1e-5)


def test_two_cards_of_a_node_that_die_at_once_come_back(
    node: NodeProcess, driver: Orchestrator
) -> None:
    first = cards_on(node, until(NAME, all_ready))
    pids = {card.pid for card in first if card.pid}
    assert len(pids) == 2
    answered(driver, lambda: [os.kill(pid, signal.SIGKILL) for pid in pids])
    after = until(NAME, lambda s: all_ready(s) and not pids & {card.pid for card in s.cards})
    assert [card.restarts for card in cards_on(node, after)] == [1, 1]


def test_a_drained_node_is_left_empty_until_undo(node: NodeProcess, driver: Orchestrator) -> None:
    name = name_of(node)
    answered(driver, lambda: main(["drain", name]))
    drained = status_of(NAME, 250.0)
    assert [card.state for card in cards_on(node, drained)] == ["drained"] * 2
    assert main(["drain", name, "--undo"]) == 0
    assert len(cards_on(node, until(NAME, all_ready))) == 2


def test_a_lost_node_that_is_back_after_a_reboot_is_used_again(
    node: NodeProcess, driver: Orchestrator, capsys: pytest.CaptureFixture[str]
) -> None:
    name = name_of(node)
    slots = [card.slot for card in cards_on(node, until(NAME, all_ready))]
    answered(driver, node.kill)
    gone = until(
        NAME, lambda status: bool(status.notes) and all(s in status.notes[0] for s in slots)
    )
    assert "every model is still served" in gone.notes[0]
    with pytest.raises(DeploymentError, match="is gone: start Ray there again, or plan without it"):
        drain(NAME, name, undo=True)
    with further_node(2) as again:
        capsys.readouterr()
        assert main(["drain", name, "--undo"]) == 0
        assert capsys.readouterr().out == f"starting again: {', '.join(slots)}\n"
        back = until(NAME, all_ready)
        assert back.notes == ()
        assert [card.slot for card in cards_on(again, back)] == slots
        answered(driver, lambda: None)
        assert main(["drain", name]) == 0
