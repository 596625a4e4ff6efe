"""The card's arithmetic: a table worked by hand, then what holds for every set of models."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import DoesNotFitError
from actors.memory import (
    ASCEND,
    EXACT,
    AllocationRule,
    CardMemory,
    Footprint,
    Sizes,
    apart,
    card_memory,
    footprint,
    require_fit,
    unshared,
)

KIB, MIB = 1 << 10, 1 << 20

# One row per model: bytes by hand, in KiB, for the Ascend rule (32 bytes more, 4 KiB pages up to
# 1 MiB, 2 MiB pages above).
#
#         weights     workspace    tensors                threads   io x threads
#   det   5000 KiB    57344 KiB    7920 KiB, 2640 KiB     2
#         -> 6144     -> 59392     -> 8192 + 4096         2         24576
#   rec   10742 KiB   20480 KiB    1080 KiB, 28 KiB       3
#         -> 12288    -> 22528     -> 2048 + 32           3         6240
#   llm   4096 KiB    300 KiB      64 KiB                 2         dynamic: own workspace
#         -> 6144     -> 304 x 2   -> 68                  2         136
DET = footprint("det", Sizes(5000 * KIB, 57344 * KIB, (7920 * KIB, 2640 * KIB)), ASCEND, threads=2)
REC = footprint("rec", Sizes(10742 * KIB, 20480 * KIB, (1080 * KIB, 28 * KIB)), ASCEND, threads=3)
LLM = footprint("llm", Sizes(4096 * KIB, 300 * KIB, (64 * KIB,), dynamic=True), ASCEND, threads=2)

# what                              weights  shared ws  private ws  io
WORKED = [
    ((DET,), True, (6144, 59392, 0, 24576)),
    ((DET, REC), True, (6144 + 12288, 59392, 0, 24576 + 6240)),
    ((REC, DET), True, (6144 + 12288, 59392, 0, 24576 + 6240)),
    ((DET, REC, LLM), True, (6144 + 12288 + 6144, 59392, 608, 24576 + 6240 + 136)),
    ((LLM,), True, (6144, 0, 608, 136)),
    ((DET, REC), False, (6144 + 12288, 0, 2 * 59392 + 3 * 22528, 24576 + 6240)),
    ((DET, apart(REC)), True, (6144 + 12288, 59392, 3 * 22528, 24576 + 6240)),
    ((unshared(DET), unshared(REC)), True, (2 * 6144 + 3 * 12288, 0, 186368, 30816)),
]


@pytest.mark.parametrize(("models", "share", "parts"), WORKED)
def test_worked_table(models, share, parts):
    used = card_memory(models, share_workspace=share)
    assert tuple(n // KIB for n in (used.weights, used.workspace, used.private, used.io)) == parts
    assert used.total == sum(parts) * KIB


@pytest.mark.parametrize(
    ("nbytes", "taken"),
    [
        (0, 0),
        (1, 4 * KIB),
        (4 * KIB - 32, 4 * KIB),
        (4 * KIB - 31, 8 * KIB),
        (MIB - 32, MIB),
        (MIB, MIB + 4 * KIB),
        (MIB + 1, 2 * MIB),
        (2 * MIB - 32, 2 * MIB),
        (2 * MIB, 4 * MIB),
    ],
)
def test_ascend_allocation(nbytes, taken):
    assert ASCEND.alloc(nbytes) == taken


def test_exact_allocation_adds_nothing():
    assert [EXACT.alloc(n) for n in (0, 1, 4097, 3 * MIB + 1)] == [0, 1, 4097, 3 * MIB + 1]


def test_objects_and_streams_count_once_per_thread():
    model = Footprint("a", weights=1, workspace=2, io=3, object_bytes=5, streams=2, threads=4)
    used = card_memory([model, model], overhead=100)
    assert used == CardMemory(100, weights=2, workspace=2, private=0, io=24, objects=40, streams=16)
    assert used.total == 168


def test_empty_card_holds_its_overhead():
    assert card_memory([], overhead=7) == CardMemory(overhead=7)
    assert card_memory([], overhead=7).parts() == "overhead 7"


def test_too_much_says_by_how_much():
    used = card_memory([DET, REC])
    require_fit("local/0", used, used.total)
    with pytest.raises(DoesNotFitError) as caught:
        require_fit("local/0", used, used.total + 9, reserve=10)
    assert str(caught.value) == (
        "card local/0: its models need 111,247,360 bytes (weights 18,874,368 + shared workspace "
        "60,817,408 + io 31,555,584) and it has 111,247,359: 1 bytes too few"
    )


sizes = st.integers(0, 5 * MIB)
rules = st.builds(
    AllocationRule,
    pad=st.integers(0, 64),
    granule=st.sampled_from([1, 512, 4 * KIB]),
    large_granule=st.sampled_from([4 * KIB, 2 * MIB]),
    large_above=st.sampled_from([0, MIB]),
)
models = st.builds(
    Footprint,
    name=st.just("m"),
    weights=sizes,
    workspace=sizes,
    io=sizes,
    object_bytes=st.integers(0, 1000),
    streams=st.integers(0, 3),
    threads=st.integers(1, 4),
    dynamic=st.booleans(),
    share_weights=st.booleans(),
    share_workspace=st.booleans(),
    widens_workspace=st.booleans(),
)


@given(rules, sizes, sizes)
def test_an_allocation_holds_what_was_asked_and_grows_with_it(rule, one, two):
    low, high = sorted((one, two))
    assert low <= rule.alloc(low)
    assert low == 0 or rule.alloc(low) % rule.granule == 0 or rule.granule > rule.large_granule
    if not (low <= rule.large_above < high and rule.large_granule < rule.granule):
        assert rule.alloc(low) <= rule.alloc(high)


@given(st.lists(models, max_size=6), st.integers(0, MIB), st.booleans())
def test_card_is_the_formula(held, overhead, share):
    used = card_memory(held, overhead, share_workspace=share)
    in_shared = [m for m in held if share and m.share_workspace and not m.dynamic]
    expected = overhead
    for m in held:
        expected += m.weights * (1 if m.share_weights else m.threads)
        expected += m.threads * (m.io + m.object_bytes)
        if m not in in_shared:
            expected += m.threads * m.workspace
    if any(m.workspace for m in in_shared):
        expected += max(m.workspace for m in held if m in in_shared or m.widens_workspace)
    assert used.total == expected
    assert used.streams == sum(m.threads * m.streams for m in held)


@given(st.lists(models, min_size=1, max_size=6), st.integers(0, 3 * MIB))
def test_a_measured_session_takes_its_peak_at_most(held, peak):
    members = [replace(m, session_bytes=peak) for m in held if not m.shares]
    others = [m for m in held if m.shares]
    apart, together = card_memory([*members, *others]), card_memory([*others, *members])
    alone = sum(m.own for m in members)
    assert apart.total == together.total
    saved = max(alone - peak, 0) if peak else 0
    assert (
        apart.total == card_memory([*held]).total - saved == card_memory(held).total - apart.saved
    )


@given(st.lists(models, max_size=6), st.randoms())
def test_order_is_moot_and_sharing_never_costs(held, random):
    mixed = list(held)
    random.shuffle(mixed)
    assert card_memory(mixed) == card_memory(held)
    narrow = [replace(m, widens_workspace=False) for m in held]
    assert card_memory(narrow).total <= card_memory(held).total
    shared, lone = card_memory(narrow), card_memory(held, share_workspace=False)
    assert shared.total <= lone.total <= card_memory([unshared(m) for m in held]).total
