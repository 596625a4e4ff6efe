"""Replica choice and call sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dispatch import Replica, Route, TransportRules
from orchestrator.dispatch.routing import call_rows, choose

RULES = TransportRules()


def replica(slot: str, **changes: float) -> Replica:
    return Replica(Route("det", slot, **changes))


def test_the_least_expected_wait_wins() -> None:
    slow, fast = replica("n/0", row_seconds=0.010), replica("n/1", row_seconds=0.002)
    assert choose([slow, fast], 1) is fast
    fast.sent(10)
    assert choose([slow, fast], 1) is slow


def test_nothing_to_choose_from() -> None:
    assert choose([], 1) is None


def test_planned_shares_decide_until_something_is_learnt() -> None:
    small, large = replica("n/0", share=0.25), replica("n/1", share=1.0)
    sent = {small: 0, large: 0}
    for _ in range(100):
        chosen = choose([small, large], 1)
        chosen.sent(1)
        sent[chosen] += 1
    assert sent[large] == pytest.approx(80, abs=2)


def test_a_card_that_turns_slow_gets_less() -> None:
    one, two = replica("n/0"), replica("n/1")
    for _ in range(20):
        one.observed(0.1, 1)
        two.observed(0.01, 1)
    sent = {one: 0, two: 0}
    for _ in range(110):
        chosen = choose([one, two], 1)
        chosen.sent(1)
        sent[chosen] += 1
    assert sent[two] == pytest.approx(100, abs=3)


def test_a_call_carries_about_the_target_of_work() -> None:
    quick = replica("n/0", row_seconds=0.0001)
    assert call_rows(quick, waiting=10_000, free_calls=1, rules=RULES) == 200
    slow = replica("n/0", row_seconds=0.050, rows_per_call=2)
    assert call_rows(slow, waiting=10_000, free_calls=1, rules=RULES) == 2


def test_waiting_requests_spread_over_free_calls() -> None:
    quick = replica("n/0", row_seconds=0.0001)
    assert call_rows(quick, waiting=12, free_calls=6, rules=RULES) == 2


@given(
    row_seconds=st.floats(0, 10),
    waiting=st.integers(1, 100_000),
    free=st.integers(1, 64),
    rows=st.integers(1, 64),
)
def test_a_call_is_never_empty_and_never_too_large(row_seconds, waiting, free, rows) -> None:
    one = replica("n/0", row_seconds=row_seconds, rows_per_call=rows)
    assert 1 <= call_rows(one, waiting, free, RULES) <= waiting
