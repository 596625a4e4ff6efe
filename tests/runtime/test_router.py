"""The router between callers and cards whose calls go wrong in every way: all callers hear of it.

The cards here are none: what they answer, and when, is the test's to say.
"""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
import pytest
from ray.exceptions import ObjectStoreFullError

from actors.messages import Answers, Reply, Request
from actors.shapes import BatchRule
from orchestrator.dispatch import Desk, RetryRules, Route, TransportRules
from orchestrator.errors import CardLostError, NoRoomError, NotServingError, RequestFailedError
from orchestrator.runtime.calls.asked import Answer, Asked
from orchestrator.runtime.calls.router import Router
from orchestrator.runtime.cards.fleet import ours

X = {"x": np.ones((1, 2), np.float32)}


def answers(requests: Sequence[Request]) -> Answers:
    return Answers([Reply(r.id, {"y": r.inputs["x"] * 2}) for r in requests], 0.001)


class OneCard:
    """A card that does with a call what it was told to."""

    def __init__(self, does: Callable[[Sequence[Request]], Answers] = answers) -> None:
        self.does = does

    def predict_many(self, requests: Sequence[Request], reservation: int = 0) -> "Future[Answers]":
        """Raises what it is told to raise; a real one never does."""
        answer: Future[Answers] = Future()
        answer.set_result(self.does(requests))
        return answer

    def predict_here(self, requests: Sequence[Request]) -> Answers:
        return self.does(requests)

    def reserve(self) -> "Future[int]":
        granted: Future[int] = Future()
        granted.set_result(1)
        return granted

    def forget(self, request_ids: Sequence[int]) -> None:
        """It has none that are not answered."""


class HeldCard(OneCard):
    """A card that answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[tuple[Future[Answers], Sequence[Request]]] = []
        self.has_some = threading.Event()
        self.forgotten: list[int] = []

    def forget(self, request_ids: Sequence[int]) -> None:
        self.forgotten += request_ids

    def predict_many(self, requests: Sequence[Request], reservation: int = 0) -> "Future[Answers]":
        answer: Future[Answers] = Future()
        self.held.append((answer, requests))
        self.has_some.set()
        return answer

    def release(self) -> None:
        for answer, requests in self.held:
            answer.set_result(answers(requests))
        self.held.clear()


class SlowCard(OneCard):
    """A card that is inside a call until it is told to go on."""

    def __init__(self) -> None:
        super().__init__(self.wait)
        self.inside = threading.Event()
        self.go_on = threading.Event()

    def wait(self, requests: Sequence[Request]) -> Answers:
        self.inside.set()
        self.go_on.wait()
        return answers(requests)


@pytest.fixture
def start() -> Iterator[Callable[..., Router]]:
    """A router whose cards are these, as slots n/0, n/1, ... of a model det."""
    routers: list[Router] = []

    def started(*cards: OneCard, lost: Callable[[str, int, str], None] | None = None) -> Router:
        routes = [Route("det", f"n/{number}", rows_per_call=4) for number in range(len(cards))]
        desk = Desk(routes, RetryRules(pause=0.001, most_without_room=3), TransportRules(calls=2))
        router = Router(desk, lost or (lambda slot, life, reason: None))
        for number, card in enumerate(cards):
            router.serving(f"n/{number}", 1, card)
        router.start()
        routers.append(router)
        router.view().result()  # the cards are known now
        return router

    yield started
    for router in routers:
        router.close(0.0)


def asked(pieces: int = 1) -> Asked:
    return Asked("det", BatchRule(), [X] * pieces, [1] * pieces, [8] * pieces, 0.0)


def settled(router: Router) -> None:
    """Nothing is under way any more."""
    view = router.view().result()
    assert set(view.in_flight.values()) == {0}
    assert view.backlog == {}
    assert not router._books._requests


class Broken(Exception):
    """What a mistake of ours may raise."""


@pytest.mark.parametrize("here", [False, True])
@pytest.mark.parametrize(("error", "said"), [(Broken("oh"), "oh"), (MemoryError(), "no room")])
def test_a_call_that_cannot_be_sent_fails_its_requests_and_nobody_else(
    start, here, error, said
) -> None:
    def fails(requests: Sequence[Request]) -> Answers:
        raise error

    card = OneCard(fails)
    router = start(card)
    future = router.submit(asked(), here)
    with pytest.raises(RequestFailedError, match=said) as told:
        future.result()
    assert not told.value.blamed
    settled(router)
    card.does = answers
    assert np.array_equal(router.submit(asked(), here).result()["y"], X["x"] * 2)


def test_answers_that_cannot_be_joined_fail_their_request_alone(start) -> None:
    def differ(requests: Sequence[Request]) -> Answers:
        wrong = [Reply(r.id, {"y": np.ones((1, 2 + n))}) for n, r in enumerate(requests)]
        return Answers(wrong, 0.001)

    card = OneCard(differ)
    router = start(card)
    with pytest.raises(RequestFailedError, match="its answers could not be joined: ValueError"):
        router.submit(asked(pieces=2)).result()
    settled(router)
    card.does = answers
    assert np.array_equal(router.submit(asked()).result()["y"], X["x"] * 2)


def test_a_request_that_cannot_be_taken_fails_alone(start) -> None:
    router = start(OneCard())
    wrong = asked()._replace(rows=[1, 1])  # nobody makes such a one
    with pytest.raises(RequestFailedError, match="this driver could not take it: ValueError"):
        router.submit(wrong).result()
    settled(router)
    assert router.submit(asked()).result()["y"].shape == (1, 2)


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_caller_who_carries_its_request_gets_all_of_it(start, pieces) -> None:
    threads = set()

    def watched(requests: Sequence[Request]) -> Answers:
        threads.add(threading.current_thread())
        return answers(requests)

    router = start(OneCard(watched))
    got = router.submit(asked(pieces), here=True).result()
    assert np.array_equal(got["y"], np.full((pieces, 2), 2, np.float32))
    assert threading.current_thread() in threads
    settled(router)


def test_pieces_that_one_caller_does_not_carry_are_sent_to_other_cards(start) -> None:
    router = start(OneCard(), OneCard())
    got = router.submit(asked(pieces=20), here=True).result()
    assert np.array_equal(got["y"], np.full((20, 2), 2, np.float32))
    settled(router)


def test_a_card_that_dies_under_a_carried_request_is_lost_and_another_one_answers(start) -> None:
    lost = []

    def dies(requests: Sequence[Request]) -> Answers:
        cards[0].does = cards[1].does = answers
        raise CardLostError("n", "was killed")

    cards = OneCard(dies), OneCard(dies)
    router = start(*cards, lost=lambda slot, life, reason: lost.append((slot, life, reason)))
    got = router.submit(asked(), here=True).result()
    assert np.array_equal(got["y"], X["x"] * 2)
    assert [(life, reason) for _, life, reason in lost] == [(1, "was killed")]
    settled(router)


def test_ctrl_c_under_a_carried_request_leaves_nothing_behind(start) -> None:
    def interrupted(requests: Sequence[Request]) -> Answers:
        raise KeyboardInterrupt

    card = OneCard(interrupted)
    router = start(card)
    for _ in range(5):  # more than there may be calls in flight
        with pytest.raises(KeyboardInterrupt):
            router.submit(asked(), here=True)
        settled(router)
    card.does = answers
    assert router.submit(asked(), here=True).result()["y"].shape == (1, 2)


def test_a_router_that_closes_waits_for_a_carried_request(start) -> None:
    card = SlowCard()
    router = start(card)
    with ThreadPoolExecutor(2) as pool:
        carried = pool.submit(router.submit, asked(), True)
        card.inside.wait()
        closed = pool.submit(router.close, 60.0)
        while router._accepting:
            pass
        card.go_on.set()
        assert closed.result()
        assert carried.result().result()["y"].shape == (1, 2)


def test_a_router_that_closes_fails_a_carried_request_that_takes_too_long(start) -> None:
    card = SlowCard()
    router = start(card)
    with ThreadPoolExecutor(1) as pool:
        carried = pool.submit(router.submit, asked(), True)
        card.inside.wait()
        assert not router.close(0.0, "it was told to stop")
        card.go_on.set()
        with pytest.raises(RequestFailedError, match="it was told to stop"):
            carried.result().result()


def test_many_threads_that_carry_or_not_all_get_their_own_answers(start) -> None:
    router = start(OneCard(), OneCard())

    def call(number: int) -> bool:
        x = {"x": np.full((1, 2), number, np.float32)}
        one = Asked("det", BatchRule(), [x], [1], [8], 0.0)
        return bool((router.submit(one, here=number % 3 > 0).result()["y"] == 2 * number).all())

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(call, range(2000)))
    settled(router)


def test_a_request_that_comes_when_the_router_has_ended_is_told_so(start) -> None:
    """Its sender looked whether requests are taken just before they were not any more."""
    router = start(OneCard())
    router.close(1.0)
    with pytest.raises(NotServingError, match="it is closed"):
        router.submit(asked()).result()
    router._accepting = True
    with pytest.raises(RequestFailedError, match="the driver closed before it was answered"):
        router.submit(asked()).result()
    assert router.view().result().backlog == {}


def test_requests_and_closing_race_and_every_request_ends(start) -> None:
    for _ in range(20):
        router = start(HeldCard())
        with ThreadPoolExecutor(4) as pool:
            sent = [pool.submit(router.submit, asked()) for _ in range(50)]
            router.close(0.0)
        ends = [one.result().exception() for one in sent]
        assert all(isinstance(end, (RequestFailedError, NotServingError)) for end in ends)


def test_a_card_hears_of_what_was_cancelled_while_it_was_there_once(start) -> None:
    card = HeldCard()
    router = start(card)
    futures = [router.submit(asked()) for _ in range(3)]
    card.has_some.wait()
    while (
        sum(len(requests) for _, requests in card.held) + router.view().result().waiting["det"] < 3
    ):
        pass
    [on_card, *_] = [r.id for _, requests in card.held for r in requests]
    for future in futures:
        assert future.cancel()
    router.view().result()
    router.view().result()  # a card is told at the end of a turn
    assert on_card in card.forgotten
    assert len(set(card.forgotten)) == len(card.forgotten)
    card.release()
    settled(router)


def test_what_is_left_of_a_stream_that_nobody_reads_ends_once(start) -> None:
    """Whatever it is: answered, on a card, or waiting for one; its room is given back once."""
    card, ready, left = HeldCard(), SimpleQueue[Answer](), []
    router = start(card)
    answers = [Answer(place, ready.put) for place in range(4)]
    for answer in answers:
        answer.nbytes, answer.leave = answer.place, left.append
        router.send(asked(), answer)
        if not answer.place:
            card.has_some.wait()
            card.release()
            assert ready.get() is answer
    router.drop(answers)
    router.drop(answers)
    router.view().result()
    router.view().result()  # a card is told at the end of a turn
    assert sorted(left) == [0, 1, 2, 3]
    on_card = {request.id for _, requests in card.held for request in requests}
    assert on_card == set(card.forgotten)
    card.release()
    settled(router)
    assert sorted(left) == [0, 1, 2, 3]


def test_a_stream_hears_of_a_driver_that_is_closed(start) -> None:
    router, ready = start(OneCard()), SimpleQueue[Answer]()
    router.close(0.0)
    router.send(asked(), Answer(0, ready.put))
    with pytest.raises(NotServingError, match="closed"):
        ready.get().result()


def test_an_answer_that_was_taken_and_dropped_is_gone_at_once(start) -> None:
    """It must not wait for the garbage collector: large ones keep shared memory for as long."""
    router = start(OneCard())
    gc.disable()
    try:
        array = router.submit(asked()).result()["y"]
        gone = weakref.ref(array)
        router.view().result()
        del array
        assert gone() is None
    finally:
        gc.enable()


def test_deadlines_of_answered_requests_are_forgotten(start) -> None:
    router = start(OneCard())
    for _ in range(50):
        futures = [
            router.submit(asked()._replace(started=router._clock(), timeout=3600.0))
            for _ in range(200)
        ]
        for future in futures:
            future.result()
    router.view().result()
    assert len(router._books._deadlines) < 2000


@pytest.mark.parametrize(
    "error", [ObjectStoreFullError("it is full\nTip: ..."), MemoryError("it is full")]
)
def test_what_finds_no_memory_on_its_way_is_told_from_what_fails(error) -> None:
    found = ours(error, "n/0")
    assert isinstance(found, NoRoomError)
    assert str(found) == "card n/0: no room for a call on its way: it is full"


def test_a_death_while_another_call_had_the_card_to_itself_blames_nobody_who_waited(start) -> None:
    """Every call dies; the reservations of the suspect that follows never get that far."""

    class Reserved(OneCard):
        def reserve(self) -> "Future[int]":
            granted: Future[int] = Future()
            if serves > 1:
                granted.set_exception(CardLostError("n/0", "died of another driver's request"))
            else:
                granted.set_result(1)
            return granted

    def dies(requests: Sequence[Request]) -> Answers:
        raise CardLostError("n/0", "was killed")

    def back(slot: str, life: int, reason: str) -> None:
        nonlocal serves
        serves += 1
        router.serving(slot, life + 1, card)

    serves = 0
    card = Reserved(dies)
    router = start(card, lost=back)
    with pytest.raises(RequestFailedError) as told:
        router.submit(asked()).result()
    assert not told.value.blamed
    assert told.value.story[-1] == "gave up after 8 deaths"
    assert sum("it was alone on the card" in line for line in told.value.story) == 1
