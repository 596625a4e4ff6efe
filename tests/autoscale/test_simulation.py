"""Bursts, steady load, jobs, and nothing at all: bounds are kept, and nothing flaps."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.autoscale import Rules
from tests.autoscale.simulation import ROW_SECONDS, World

RULES = Rules(least=0, most=8, idle=30.0)


@pytest.mark.parametrize("offered", [0.05, 0.5, 0.79, 0.81, 1.0, 1.5, 2.4, 3.3, 5.0, 6.3])
def test_a_steady_load_gets_its_cards_and_keeps_them(offered: float) -> None:
    world = World(RULES)
    world.run(120, lambda now: offered / ROW_SECONDS)
    settled = world.cards[-1]
    world.run(600, lambda now: offered / ROW_SECONDS)
    assert settled * RULES.busy >= offered * 0.99
    world.run(300, lambda now: offered / ROW_SECONDS)
    assert len(set(world.cards[-300:])) == 1
    assert world.waiting == 0
    assert world.cards[-1] <= offered / (0.75 * RULES.busy) + 1


def test_more_than_the_most_is_not_taken() -> None:
    world = World(RULES)
    world.run(200, lambda now: 20 / ROW_SECONDS)
    assert world.cards[-1] == max(world.cards) == RULES.most


def test_a_burst_is_served_and_given_back() -> None:
    world = World(RULES)
    world.run(40, lambda now: 4 / ROW_SECONDS)
    world.run(60, lambda now: 0.0)
    top = max(world.cards)
    assert 4 < top <= RULES.most
    rises = world.cards[: world.cards.index(top) + 1]
    assert rises == sorted(rises)
    falls = world.cards[len(rises) :]
    assert falls == sorted(falls, reverse=True)
    assert world.waiting == 0


def test_without_work_there_is_no_card_and_one_request_starts_one() -> None:
    world = World(RULES)
    world.run(50, lambda now: 0.0)
    assert set(world.cards) == {0}
    world.run(1, lambda now: 1.0)
    assert world.cards[-1] == 1
    world.run(30, lambda now: 0.0)
    assert world.cards[-1] == 1
    assert world.waiting == 0
    world.run(7, lambda now: 0.0)
    assert world.cards[-1] == 0
    assert world.why[-1] == "there was nothing to do for 30 s"


def test_a_request_now_and_then_keeps_one_card() -> None:
    world = World(RULES)
    world.run(600, lambda now: float(now % 20 == 0))
    assert set(world.cards[20:]) == {1}


def test_a_job_gets_all_cards_at_once_and_none_that_would_come_too_late() -> None:
    world = World(Rules(least=1, most=4), load_seconds=8.0, coming=20_000.0)
    world.run(12, lambda now: 0.0)
    assert world.cards[-1] == 4
    late = World(Rules(least=1, most=4), load_seconds=8.0, coming=1_000.0)
    late.run(12, lambda now: 0.0)
    assert set(late.cards) == {1}


def test_why_no_further_card_is_started_is_told() -> None:
    world = World(Rules(least=1, most=4), load_seconds=60.0, coming=4_000.0)
    world.run(4, lambda now: 0.0)
    assert world.scaler.held.startswith("the work will be done in ")
    assert world.scaler.held.endswith(" s, and a card takes 60 s to load")
    many = World(Rules(least=0, most=8, starts_per_minute=2))
    many.run(30, lambda now: 6 / ROW_SECONDS)
    assert many.cards[-1] == 2
    assert many.scaler.held == "2 cards were started within a minute, the most allowed"


@settings(max_examples=60)
@given(
    least=st.integers(0, 2),
    more=st.integers(0, 4),
    load_seconds=st.sampled_from([1.0, 5.0, 20.0]),
    phases=st.lists(st.tuples(st.integers(1, 30), st.floats(0, 6)), min_size=1, max_size=4),
    cap=st.integers(1, 8),
)
def test_bounds_are_kept_whatever_comes(least, more, load_seconds, phases, cap) -> None:
    rules = Rules(least, max(least + more, 1), idle=20.0, starts_per_minute=cap)
    world = World(rules, load_seconds)
    for seconds, offered in phases:
        world.run(seconds, lambda now, offered=offered: offered / ROW_SECONDS)
    assert all(rules.least <= cards <= rules.most for cards in world.cards)
    for at in world.starts:
        assert sum(at - 60 < other <= at for other in world.starts) <= cap
    moves = [
        (second, b - a)
        for second, (a, b) in enumerate(zip(world.cards, world.cards[1:], strict=False))
        if a != b
    ]
    for (before, _), (after, change) in itertools.pairwise(moves):
        assert change > 0 or after - before >= rules.idle
    world.run(800, lambda now: 0.0)  # whatever waits is done, and all is given back
    assert world.waiting == 0
    assert world.cards[-1] == rules.least
