"""A request that has the card to itself, and requests that nobody waits for any more."""

import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from actors.card import CardActor
from actors.errors import NotServingError, NotWantedError
from actors.messages import CardState, ModelOrder, Reply, Request
from tests.card.conftest import Door, Load, ask, changed, rows, with_times


def requests(count: int, first: int = 0, expires: float = math.inf) -> list[Request]:
    return [Request(first + n, "mlp", {"x": rows(4)}, "online", expires) for n in range(count)]


def alone(card: CardActor, sent: Sequence[Request]) -> list[Reply]:
    return card.predict_many(sent, card.reserve())


class Watched:
    """The library's models of a card: which threads were inside whenever one came in."""

    def __init__(self, card: CardActor) -> None:
        self.seen: list[set[int]] = []
        self._inside: set[int] = set()
        self._lock = threading.Lock()
        for place in card._work._idle["mlp"]:
            place.target._model = Model(self, place.target._model)

    def enter(self) -> None:
        with self._lock:
            self._inside.add(threading.get_ident())
            self.seen.append(self._inside.copy())

    def leave(self) -> None:
        with self._lock:
            self._inside.remove(threading.get_ident())


class Model:
    """One of them."""

    def __init__(self, watched: Watched, model: Any) -> None:
        self._watched, self._model = watched, model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, tensors: list[Any]) -> Any:
        self._watched.enter()
        try:
            return self._model.predict(tensors)
        finally:
            self._watched.leave()


@pytest.fixture
def card(load: Load, mlp: ModelOrder) -> CardActor:
    """One that runs two batches at a time, 100 ms each."""
    own = changed(mlp, threads=2, share_workspace=False)
    return load(with_times(own, 100))


def test_nothing_else_runs_beside_a_request_that_is_to_be_alone(card: CardActor) -> None:
    ids = []

    def reserved() -> list[Reply]:
        ids.append(threading.get_ident())
        return alone(card, requests(2, first=100))

    with ThreadPoolExecutor(8) as pool, Door(card, "mlp") as door:
        watched = Watched(card)  # who stands at the door is inside
        before = pool.submit(card.predict_many, requests(4))
        while card.stats().running < 2:
            pass
        asked = pool.submit(reserved)
        while not card._work.holds.count:
            pass
        behind = [pool.submit(ask, card, "mlp", {"x": rows(4)}) for _ in range(4)]
        door.open()
        assert [reply.error for reply in asked.result()] == [None] * 2
        replies = [reply for one in (before, *behind) for reply in one.result()]
    assert all(reply.error is None for reply in replies)
    first = next(number for number, inside in enumerate(watched.seen) if ids[0] in inside)
    assert watched.seen[first : first + 2] == [{ids[0]}] * 2
    assert max(map(len, watched.seen)) == 2
    assert len(watched.seen) == 10


def test_two_that_are_to_be_alone_follow_each_other(card: CardActor) -> None:
    watched = Watched(card)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(alone, card, requests(2)) for _ in range(3)]
        replies = [reply for one in asked for reply in one.result()]
    assert [reply.error for reply in replies] == [None] * 6
    assert [len(inside) for inside in watched.seen] == [1] * 6


@pytest.mark.parametrize("end", ["drain", "stop"])
def test_one_that_waits_to_be_alone_is_sent_back_when_the_card_ends(card: CardActor, end) -> None:
    with ThreadPoolExecutor(3) as pool, Door(card, "mlp") as door:
        before = pool.submit(card.predict_many, requests(2))
        while card.stats().running < 2:
            pass
        asked = pool.submit(alone, card, requests(1))
        while not card._work.holds.count:
            pass
        ended = pool.submit(card.drain, 250.0) if end == "drain" else pool.submit(card.stop)
        while card.stats().state is CardState.READY:
            pass
        door.open()
        assert ended.result() is (True if end == "drain" else None)
        with pytest.raises(NotServingError):
            asked.result()
        assert all(reply.error is None for reply in before.result())


def test_what_is_forgotten_is_answered_at_once_and_never_run(card: CardActor) -> None:
    with ThreadPoolExecutor(2) as pool, Door(card, "mlp") as door:
        first = pool.submit(card.predict_many, requests(2))
        while card.stats().running < 2:
            pass
        second = pool.submit(card.predict_many, requests(5, first=10))
        while card.stats().models["mlp"].queued < 5:
            pass
        card.forget(range(10, 14))
        assert card.stats().models["mlp"].queued == 1
        door.open()
        first.result()
        replies = second.result()
    assert [type(reply.error) for reply in replies] == [NotWantedError] * 4 + [type(None)]
    assert card.stats().models["mlp"].batches == 3


def test_what_was_cancelled_before_it_came_is_not_run(card: CardActor) -> None:
    card.forget([10, 12])
    replies = card.predict_many(requests(3, 10))
    assert [type(reply.error) for reply in replies] == [NotWantedError, type(None), NotWantedError]


def test_what_has_expired_is_not_run_and_what_waits_beside_it_is(card: CardActor) -> None:
    with ThreadPoolExecutor(3) as pool, Door(card, "mlp") as door:
        first = pool.submit(card.predict_many, requests(2))
        while card.stats().running < 2:
            pass
        late = pool.submit(card.predict_many, requests(3, 10, time.monotonic()))
        other = pool.submit(card.predict_many, requests(2, 20, time.monotonic() + 1000))
        while card.stats().models["mlp"].queued < 5:
            pass
        door.open()
        first.result()
        assert [type(reply.error) for reply in late.result()] == [NotWantedError] * 3
        assert [reply.error for reply in other.result()] == [None] * 2
    assert card.stats().models["mlp"].batches == 4


def test_a_reservation_that_nobody_claims_ends_and_its_call_reserves_anew(
    card: CardActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.holds._LEASE", 0.05)
    over = card.reserve()  # its driver is gone
    assert [reply.error for reply in card.predict_many(requests(2))] == [None] * 2
    assert [reply.error for reply in card.predict_many(requests(2), over)] == [None] * 2
    assert [reply.error for reply in card.predict_many(requests(2))] == [None] * 2


def test_a_card_that_drains_lets_go_of_a_reservation_that_nobody_has_claimed(
    card: CardActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.holds._LEASE", 3600.0)
    given = card.reserve()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(card.predict_many, requests(2))
        while card.stats().models["mlp"].queued < 2:
            pass
        assert card.drain(60.0)
        assert [reply.error for reply in waiting.result()] == [None] * 2
    with pytest.raises(NotServingError, match="it is draining"):
        card.predict_many(requests(1), given)
    for one in threading.enumerate():
        if isinstance(one, threading.Timer):  # it has been told to end
            one.join(60.0)
            assert not one.is_alive()
