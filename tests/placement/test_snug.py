"""What fills the rest of a card: against every choice of a few."""

import itertools

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.placement.search.snug import _PARTS, snug

MIB = 1 << 20


def loss(chosen, sizes, costs, room):
    return room - sum(sizes[i] for i in chosen) + sum(costs[i] for i in chosen)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60 * MIB), st.floats(0, 40 * MIB)), max_size=7),
    st.integers(-MIB, 100 * MIB),
    st.floats(0, 60 * MIB),
)
@example([(50 * MIB, 5.0), (30 * MIB, 0.0), (20 * MIB, 0.0)], 50 * MIB, 9.0)
@example([(50 * MIB + 9000, 0.0)] * 2 + [(45 * MIB, 0.0)], 100 * MIB, 0.0)
def test_no_choice_of_a_few_loses_less_but_for_rounding(groups, room, most):
    sizes = np.array([size for size, _ in groups], np.int64)
    costs = np.array([cost for _, cost in groups], float)
    chosen = snug(sizes, costs, room, most)
    assert len(set(chosen)) == len(chosen)
    if room <= 0:
        assert chosen == []
        return
    assert sizes[chosen].sum() <= room
    assert costs[chosen].sum() <= most
    # What fits by some units, so that no rounding makes it too much.
    spare = (len(groups) + 1) * room / _PARTS
    best = min(
        loss(some, sizes, costs, room)
        for count in range(len(groups) + 1)
        for some in itertools.combinations(range(len(groups)), count)
        if sizes[list(some)].sum() <= room - spare and costs[list(some)].sum() <= most
    )
    assert loss(chosen, sizes, costs, room) <= best + spare
