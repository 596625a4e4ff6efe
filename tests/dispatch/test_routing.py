"""Replica choice and call sizes."""

import heapq

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.dispatch import Bundle, Desk, Replica, Route, Ticket, TransportRules
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


def with_calls(calls: int, slot: str = "n/0", **changes: float) -> Replica:
    """A replica with so many calls to spare."""
    made = replica(slot, **changes)
    for _ in range(RULES.calls - calls):
        made.sent(0)
    return made


def test_a_call_carries_about_the_target_of_work() -> None:
    quick = with_calls(1, row_seconds=0.0001)
    assert call_rows(quick, waiting=800, free=[quick], rules=RULES) == 200
    slow = with_calls(1, row_seconds=0.050, rows_per_call=2)
    assert call_rows(slow, waiting=10_000, free=[slow], rules=RULES) == 2


def test_a_call_grows_with_what_waits_but_not_beyond_all_bounds() -> None:
    one, two = with_calls(1, row_seconds=0.005), with_calls(1, "n/1", row_seconds=0.005)
    assert call_rows(one, waiting=16, free=[one, two], rules=RULES) == 4
    assert call_rows(one, waiting=96, free=[one, two], rules=RULES) == 12
    assert call_rows(one, waiting=9_600, free=[one, two], rules=RULES) == 20


def test_waiting_requests_spread_over_free_calls() -> None:
    one, two = with_calls(3, row_seconds=0.0001), with_calls(3, "n/1", row_seconds=0.0001)
    assert call_rows(one, waiting=12, free=[one, two], rules=RULES) == 2


def test_calls_that_travel_for_long_carry_more_but_leave_the_others_their_part() -> None:
    one, two = with_calls(3, row_seconds=0.005), with_calls(3, "n/1", row_seconds=0.005)
    for _ in range(20):
        one.travelled(0.040, 0.005, 1)
    assert one.rows_that_fill == 12
    assert call_rows(one, waiting=60, free=[one, two], rules=RULES) == 12
    assert call_rows(one, waiting=10, free=[one, two], rules=RULES) == 5


@given(
    row_seconds=st.floats(0, 10),
    waiting=st.integers(1, 100_000),
    free=st.integers(1, 3),
    rows=st.integers(1, 64),
    travel=st.floats(0, 10),
    on_card=st.floats(0, 10),
)
@example(row_seconds=0.001, waiting=5, free=1, rows=1, travel=10.0, on_card=1e-311)
def test_a_call_is_never_empty_and_never_too_large(
    row_seconds, waiting, free, rows, travel, on_card
) -> None:
    one = with_calls(free, row_seconds=row_seconds, rows_per_call=rows)
    one.travelled(travel, on_card, rows)
    assert 1 <= call_rows(one, waiting, [one], RULES) <= waiting


@given(travel=st.floats(0.0005, 0.08), row=st.floats(0.001, 0.02))
@settings(deadline=None, max_examples=25)
def test_a_card_is_never_idle_however_long_calls_travel(travel: float, row: float) -> None:
    """One card that works off rows in order; calls travel half of ``travel`` each way."""
    desk = Desk([Route("det", "n/0", row_seconds=row)])
    desk.serving("n/0", 1)
    for number in range(3000):
        desk.submit(Ticket(number, "det", 1, 100, 0.0))
    now, free_at = 0.0, 0.0
    on_the_way: list[tuple[float, int, float, Bundle]] = []
    idle_since_half = busy_since_half = 0.0
    while len(desk):
        for bundle in desk.dispatch(now):
            arrives = now + travel / 2
            starts = max(arrives, free_at)
            if len(desk) < 1500:
                idle_since_half += starts - free_at
                busy_since_half += bundle.rows * row
            free_at = starts + bundle.rows * row
            back = free_at + travel / 2
            heapq.heappush(on_the_way, (back, bundle.id, free_at - arrives, bundle))
        now, _, on_card, bundle = heapq.heappop(on_the_way)
        desk.answered(bundle, dict.fromkeys(t.id for t in bundle.tickets), now, on_card)
    assert idle_since_half <= 0.02 * busy_since_half
