"""Several drivers on one card: none is blamed for another's request, none waits behind a flood."""

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.messages import CardStats
from actors.queue import AHEAD
from orchestrator import CardLostError, Orchestrator, RequestFailedError
from orchestrator.runtime.calls.following import Borrowed
from orchestrator.runtime.cluster.connect import Connection
from orchestrator.runtime.options import Options
from tests.models import write_mlp
from tests.runtime.deployments import WIDTH, model, planned, rows

X = {"x": rows(1)}


@pytest.fixture
def shared(cluster: Connection, folder: Path) -> Iterator[Orchestrator]:
    """Two models on one card, 200 ms a batch."""
    models = [
        model(
            name,
            write_mlp(folder, name, width=WIDTH, rows=1, seed=seed),
            emulated={"execute": "200ms"},
        )
        for seed, name in enumerate(["first", "second"], 7)
    ]
    with Orchestrator(planned(*models, count=1, name="shared")) as started:
        yield started


@contextlib.contextmanager
def drivers(shared: Orchestrator, count: int) -> Iterator[list[Borrowed]]:
    """Further drivers of its cards, each with a desk and ids of its own."""
    running = shared._traffic()
    made = [
        Borrowed(Options(), running.seen(), lambda *lost: None, running.pardon)
        for _ in range(count)
    ]
    unwatch = [running.watch(lambda one=one: one.apply(running.seen())) for one in made]
    yield made
    for over, one in zip(unwatch, made, strict=True):
        over()
        one.end()


def card_stats(shared: Orchestrator) -> CardStats | None:
    [slot] = shared._traffic().slots()
    with contextlib.suppress(CardLostError):
        return slot.serving.stats().result() if slot.serving else None
    return None


def test_what_is_on_a_card_that_another_driver_s_request_kills_is_answered(
    shared, poison: np.ndarray
) -> None:
    over, answered = threading.Event(), []

    def keep_asking(other: Borrowed) -> None:
        while not over.is_set():
            sent = [other.submit("second", X, None, True, "online") for _ in range(2)]
            answered.extend(one.result() for one in sent)

    with drivers(shared, 1) as [other]:
        asking = threading.Thread(target=keep_asking, args=[other])
        asking.start()
        while not card_stats(shared).working:
            assert asking.is_alive()
        guilty = shared.model("first").submit({"x": poison})
        wait([guilty])
        over.set()
        asking.join()
    with pytest.raises(RequestFailedError, match="set aside: 2 cards died while it was") as told:
        guilty.result()
    assert told.value.blamed
    while (card := shared.status().cards[0]).state != "ready":
        time.sleep(0.1)
    assert card.restarts == 3
    assert answered
    assert all(np.array_equal(one["y"], answered[0]["y"]) for one in answered)


def test_an_online_call_does_not_wait_behind_the_calls_of_many_flooding_drivers(shared) -> None:
    with drivers(shared, 12) as flooding:
        sent = [one.submit("first", X, None, True, "batch") for one in flooding for _ in range(6)]
        while (seen := card_stats(shared)).models["first"].queued < 24:
            assert not all(one.done() for one in sent)
        between = []
        for _ in range(3):
            before = card_stats(shared).models["first"].batches
            shared.model("second").predict(X)
            between.append(card_stats(shared).models["first"].batches - before)
        assert not all(one.done() for one in sent)
        for one in sent:
            one.cancel()
    assert seen.models["first"].queued >= 24
    assert min(between) <= AHEAD + 2, "what had begun, and a turn of priority batch"
    assert max(between) < 24, "those that were there before it"


def test_a_driver_whose_deployment_is_over_keeps_no_thread(shared) -> None:
    before = set(threading.enumerate())
    with drivers(shared, 1) as [other]:
        new = set(threading.enumerate()) - before
        started = [one for one in new if one.name.startswith("orchestrator-")]
        assert any(one.name == "orchestrator-router" for one in started)
        other.apply(replace(shared._traffic().seen(), over=True))
        for thread in started:  # that of the metrics too, where Ray exports any
            thread.join(60)
        assert [one.name for one in started if one.is_alive()] == []
