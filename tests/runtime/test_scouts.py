"""Actors that wait for a card, so that Ray adds nodes; they keep none from our own processes."""

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, wait

import pytest
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.inventory import ray_resources
from orchestrator.runtime.cluster.connect import Connection
from orchestrator.runtime.cluster.scouts import Scouts

#: Of which the package's Ray has one card.
RESOURCE = "GPU"
SECONDS = 30.0


@pytest.fixture
def scouts(cluster: Connection) -> Iterator[Scouts]:
    wanted = Scouts(RESOURCE)
    yield wanted
    wanted.close()


def _until_found(scouts: Scouts) -> str:
    """The node of the one card, once a scout has it."""
    asked = [one.found for one in scouts._scouts]
    done, _ = wait(asked, SECONDS, return_when=FIRST_COMPLETED)
    return done.pop().result()


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
    while not ray.wait([answer], timeout=1)[0]:  # the scout that came instead may be asked first
        scouts.make_way({node: 1})
    assert ray.get(answer) == node
    assert len(scouts._scouts) == 1, "what is wanted beside it is wanted as before"
    assert scouts.found() == []
    ray.kill(pinned)
    assert _until_found(scouts) == node
