"""What a demand makes of batches: rare requests run alone, frequent ones and waiting fill gears."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.queue import Terms
from orchestrator.dispatch import Route
from orchestrator.placement.joining import Joined, Joining
from orchestrator.profiles import BatchTime
from orchestrator.simulate import BatchTimes, Source, World, simulate

GEARS = (BatchTime(1, 2.0, 1.0), BatchTime(8, 6.0, 4.0))
ONLY_LARGE = (BatchTime(64, 320.0),)


def joining(times=GEARS, max_wait=0.0, utilisation=0.85, **rest):
    return Joining(times, times[-1].rows, max_wait, utilisation, **rest)


def test_rare_requests_run_alone_and_frequent_ones_in_full_batches():
    assert joining().under(0.01, 1, None).row_ms == pytest.approx(2.0, rel=1e-3)
    assert joining().under(1000, 1, None).row_ms == pytest.approx(0.75, rel=1e-2)
    assert joining().full == Joined(8.0, 0.75)


def test_a_large_gear_costs_what_few_rows_make_of_it():
    few = joining(ONLY_LARGE).under(2, 1, None)
    assert few.rows == pytest.approx(1 + 2 * 0.85 / 0.3 * 0.32)  # 2 a second for 2.83 batches
    assert few.row_ms == pytest.approx(320 / few.rows)


def test_waiting_joins_more():
    waited = joining(ONLY_LARGE, max_wait=5.0).under(2, 1, None)
    assert waited.rows == pytest.approx(1 + 2 * 5.0)


def test_a_job_fills_its_batches():
    assert joining(utilisation=1.0).under(0.01, 1, None) == joining().full
    assert joining().under(0.0, 1, None) == joining().full


def test_copies_count_where_nothing_runs_beside_them():
    one_thread = joining(copies=True)
    assert one_thread.full.row_ms == (6 + 4) / 8
    assert one_thread.under(0.01, 1, None).row_ms == pytest.approx(2 + 1, rel=1e-3)


def test_the_demand_is_split_over_the_replicas():
    alone = joining(ONLY_LARGE).under(2, 1, None)
    assert joining(ONLY_LARGE).under(6, 3, None) == alone
    assert joining(ONLY_LARGE).under(6, 3, 1).rows > alone.rows


@given(
    rps=st.floats(0.01, 1e5),
    utilisation=st.floats(0.05, 0.99),
    max_wait=st.sampled_from((0.0, 0.001, 0.1, 10.0)),
    gears=st.dictionaries(st.integers(1, 64), st.floats(0.01, 1000), min_size=1, max_size=4),
    fewest=st.integers(1, 3),
)
@example(rps=0.109375, utilisation=0.0625, max_wait=0.0, gears={2: 573.0}, fewest=1)
def test_whatever_is_joined(rps, utilisation, max_wait, gears, fewest):
    """From one row to a full batch, and never too much for the fewest cards that can do it."""
    ordered = zip(sorted(gears), sorted(gears.values()), strict=True)
    times = tuple(BatchTime(rows, ms) for rows, ms in ordered)
    one = joining(times, max_wait, utilisation)
    found = one.under(rps, fewest, None)
    assert 1 - 1e-9 <= found.rows <= one.most + 1e-9
    assert found.row_ms <= max(gears.values()) * (1 + 1e-9)
    longer = joining(times, max_wait + 1.0, utilisation).under(rps, fewest, None)
    assert longer.rows >= found.rows / 1.25 * (1 - 1e-5)
    replicas = max(fewest, math.ceil(rps * one.full.row_ms / 1000 / utilisation - 1e-9))
    enough = rps / replicas * found.row_ms / 1000 <= utilisation * (1 + 1e-6)
    assert enough or found.rows >= one.most * (1 - 1e-5)


@pytest.mark.parametrize(
    ("times", "rps", "max_wait"),
    [(GEARS, 50.0, 0.0), (GEARS, 50.0, 0.02), (ONLY_LARGE, 2.0, 0.0), (ONLY_LARGE, 0.5, 1.0)],
)
def test_a_card_serves_as_many_models_as_the_rule_says(times, rps, max_wait):
    """By the rules that cards join with, in simulated time."""
    found = joining(times, max_wait).under(rps, 1, None)
    count = int(0.85 / (rps * found.row_ms / 1000))
    names = [f"m{number}" for number in range(count)]
    gears = tuple((time.rows, time.execute_ms / 1000) for time in times)
    world = World(
        models={name: BatchTimes(gears, times[-1].rows, threads=2) for name in names},
        speeds={"n/0": 1.0},
        terms={"n/0": {name: Terms(max_wait) for name in names}},
        routes=tuple(Route(name, "n/0", row_seconds=found.row_ms / 1000) for name in names),
    )
    seen = simulate(world, [Source(name, rps) for name in names], 1000 / rps / count)
    assert count >= 2
    for model in seen.models.values():
        assert model.answered > 0.95 * model.arrived
        # As much again as it may gather, then its turn, and then its own batch.
        assert model.latency(0.5) < 2 * (max_wait + 3 * times[-1].execute_ms / 1000)
