"""What a request costs does not depend on how many models there are that nobody asks for."""

import cProfile
from collections.abc import Callable

from actors.entries import Entry
from actors.queue import CardQueue, Terms
from orchestrator.dispatch import Desk, Route
from orchestrator.dispatch.retry import Ticket


def calls_of(work: Callable[[], None]) -> int:
    """Functions that are called, generators resumed."""
    profile = cProfile.Profile()
    profile.runcall(work)
    return sum(entry.callcount for entry in profile.getstats())


def at_a_desk(models: int) -> int:
    desk = Desk([Route(f"m{number}", "n/0") for number in range(models)])
    desk.serving("n/0", 1)

    def one_request() -> None:
        desk.submit(Ticket(1, "m0", 1, 64, 0.0))
        assert not desk.stalled()
        [bundle] = desk.dispatch(0.0)
        assert desk.answered(bundle, {1: None}, 1.0) == ([1], [])

    return calls_of(one_request)


def on_a_card(models: int) -> int:
    queue: CardQueue[str] = CardQueue({f"m{number}": Terms() for number in range(models)})

    def one_request() -> None:
        queue.put(Entry("m0", (), 1, 8, 0.0, "a", "online", 1, 60.0))
        assert queue.next(0.0) == ["m0"]
        batch = queue.take("m0", 0.0)
        assert batch is not None
        queue.finished(batch, 1.0)
        assert queue.next(1.0) == []

    return calls_of(one_request)


def test_a_driver_may_know_thousands() -> None:
    assert at_a_desk(2000) == at_a_desk(2)


def test_a_card_may_have_hundreds() -> None:
    assert on_a_card(500) == on_a_card(2)
