"""Actors that wait for a card, so that Ray adds nodes; they keep none from our own processes."""

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, wait

import pytest
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.inventory import ray_resources
from orchestrator.runtime.cluster.connect import Connection
from orchestrator.runtime.cluster.scouts import Scouts
from tests.runtime.nodes import RESOURCE as FAR
from tests.runtime.nodes import further_node

#: Of which the package's Ray has one card.
RESOURCE = "GPU"
SECONDS = 300.0


@pytest.fixture
def scouts(cluster: Connection) -> Iterator[Scouts]:
    wanted = Scouts(RESOURCE)
    yield wanted
    wanted.close()


def _until_found(scouts: Scouts) -> str:
    """The node of the one card, once a scout has it."""
    asked = [one.found for one in scouts._scouts]
    wait(asked, SECONDS, return_when=FIRST_COMPLETED)
    return scouts.found()[-1]


def test_a_scout_that_waits_does_not_keep_the_card_that_was_given_back_for_us(
    scouts: Scouts,
) -> None:
    scouts.want(2)
    node = _until_found(scouts)
    scouts.release()
    assert _until_found(scouts) == node, "the scout that waited for a card has it now"

    @ray.remote(num_cpus=0)
    class Pinned:
        def here(self) -> str:
            return ray.get_runtime_context().get_node_id()

    pinned = Pinned.options(
        **ray_resources({RESOURCE: 1}),
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    ).remote()
    answer = pinned.here.remote()
    assert ray.wait([answer], timeout=1)[0] == []
    scouts.make_way({"elsewhere": 1})
    assert scouts.found() == [node]
    scouts.make_way({node: 1})
    assert ray.get(answer, timeout=SECONDS) == node
    assert scouts._scouts == [], "nobody is in its way"
    scouts.make_way({})
    assert len(scouts._scouts) == 1, "what is wanted beside it is wanted as before"
    assert scouts.found() == []
    ray.kill(pinned)
    assert _until_found(scouts) == node
    assert scouts.node_seconds is None, "no node was started for any of them"


def test_how_long_a_node_takes_is_told_by_those_alone_that_waited_for_it(
    cluster: Connection,
) -> None:
    scouts = Scouts(FAR)
    try:
        asked = time.monotonic()
        scouts.want(1)
        with further_node() as first:
            assert _until_found(scouts) == first.node_id
            assert 0 < (took := scouts.node_seconds or 0) <= time.monotonic() - asked
            scouts.make_way({first.node_id: 1})
            scouts.make_way({})
            assert _until_found(scouts) == first.node_id, "nobody else took the card"
            assert scouts.node_seconds == took, "it had waited for no node"
    finally:
        scouts.close()
