"""Two cards divided anew: every division by hand, and packings that only come of many of them."""

import random

import numpy as np
import pytest

from orchestrator.placement import Problem
from orchestrator.placement.groups import world
from orchestrator.placement.search.balance import HEAT, Budget, balance
from orchestrator.placement.search.fill import FEW, Variant, fill
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.pairs import Aim, Pair, drawn
from orchestrator.placement.search.sheet import sheet
from orchestrator.placement.search.squeeze import squeeze
from tests.placement.build import cards, model, problem

#: Four cards of 101 that they almost fill, in a few ways only.
SIZES = (42, 26, 7, 25, 26, 26, 4, 44, 9, 46, 14, 31, 43, 23, 24, 10)
TIGHT = [model(f"m{i}", size) for i, size in enumerate(SIZES)]


def written(models, slots, objective="max_alpha", **rest):
    return sheet(world(Problem.from_dict(problem(models, slots, objective, **rest))))


def drawn_world(seed, slots, **rest):
    """Six models at random, all that are on two cards, and where they are."""
    rng = random.Random(seed)
    models = [
        model(
            f"m{i}",
            rng.randint(1, 30),
            rng.randint(0, 30),
            service_ms=10,
            demand_rps=rng.randint(1, 40),
            **rest,
        )
        for i in range(6)
    ]
    page = written(models, slots)
    layout = Layout(page)
    for group in range(6):
        fits = np.flatnonzero(layout.fitting(group))
        if len(fits):
            layout.add(group, int(fits[rng.randrange(len(fits))]), int(page.work[group]))
    return page, layout


@pytest.mark.parametrize("seed", range(5))
def test_every_division_is_judged_as_if_it_were_made(seed):
    slots = [*cards(1, 100), *cards(1, 80, start=1, speed=2.0)]
    page, layout = drawn_world(seed, slots)
    free = {group: load for held in layout.on for group, load in held.items()}
    pair = Pair(layout, (0, 1), free, {}, Aim(even=0.5))
    where = {int(division): at for at, division in enumerate(pair.divisions)}
    for division in range(2 ** len(free)):
        made = Layout(page)
        for bit, (group, load) in enumerate(zip(pair.free, pair.loads, strict=True)):
            made.add(group, 0 if division >> bit & 1 else 1, load)
        assert all(made.always + made.level <= page.room) == (division in where)
        if division in where:
            at = where[division]
            assert tuple(made.on) == pair.held(at)
            assert made.busy.tolist() == [int(busy[at]) for busy in pair.busy]
            again = Pair(made, (0, 1), free, {}, Aim(even=0.5))
            assert again.now() == pytest.approx(pair.energy[at])
    best = pair.best(4)
    assert [pair.energy[at] for at in best] == sorted(pair.energy)[: len(best)]


@pytest.mark.parametrize("overlap", [1.0, 1.2])
def test_of_many_groups_those_divisions_are_judged_that_fit(monkeypatch, overlap):
    rng = random.Random(3)
    models = [
        model(
            f"m{i}",
            rng.randint(1, 30),
            rng.randint(0, 9),
            service_ms=10,
            demand_rps=rng.randint(1, 40),
            overlap=overlap,
        )
        for i in range(13)
    ]
    size = sum(one["weight_bytes"] for one in models) >> 21
    page = written(models, cards(2, size + 25))
    assert page.special == (overlap > 1)
    layout = Layout(page)
    stays, fluid = 2, 5
    layout.add(stays, 1, int(page.work[stays]))
    for card in (0, 1):
        layout.add(fluid, card, int(page.work[fluid]) // 2)
    free = {group: int(page.work[group]) for group in range(13) if group not in (stays, fluid)}
    parted = {}
    for most in (4, 11):
        monkeypatch.setattr("orchestrator.placement.search.pairs.MOST_FREE", most)
        pair = Pair(layout, (0, 1), free, {fluid: int(page.work[fluid])}, Aim(even=0.5))
        columns = (pair.divisions, *pair.busy, pair.energy)
        parted[most] = sorted(zip(*(column.tolist() for column in columns), strict=True))
    assert parted[4] == parted[11]
    assert 0 < len(parted[4]) < 2**10


def test_more_groups_are_divided_where_less_memory_is_free():
    models = [model(f"m{i}", 10) for i in range(40)]
    counts = []
    for size in (400, 230, 210, 200):
        page = written(models, cards(2, size))
        layout = Layout(page)
        for group in range(40):
            layout.add(group, group % 2, 0)
        free, _ = drawn(layout, 0, 1, random.Random(0), copies=False)
        counts.append(len(free))
    assert counts[0] == 11
    assert counts == sorted(counts)
    assert 14 <= counts[-1] <= 18


def test_a_group_on_both_cards_levels_what_the_others_leave():
    heavy = [
        model(name, 10, service_ms=10, demand_rps=load)
        for name, load in zip("abc", (60, 30, 40), strict=True)
    ]
    page = written(heavy, cards(2, 100))
    layout = Layout(page)
    for group in range(3):
        layout.add(group, 0, int(page.work[group]))
    free, fluid = {0: layout.on[0][0], 1: layout.on[0][1]}, {2: layout.on[0][2]}
    pair = Pair(layout, (0, 1), free, fluid, Aim(even=0.5, free=0.0))
    assert pair.make(pair.best(1)[0])
    assert layout.at[2] == {0, 1}
    assert abs(int(layout.busy[0]) - int(layout.busy[1])) <= 1


def test_rules_and_limits_on_moves_are_kept():
    slots = [*cards(2, 100, "a"), *cards(2, 100, "b", start=2)]
    models = [
        model("foe", 10, service_ms=10, demand_rps=90),
        model("pinned", 10, cards=["a/0"], service_ms=10, demand_rps=80),
        model("wide", 10, spread_nodes=2, service_ms=10, demand_rps=70),
        *(model(f"m{i}", 10, service_ms=10, demand_rps=20 + i) for i in range(6)),
    ]
    before = [{"card": "a/0", "models": [f"m{i}" for i in range(6)]}]
    page = written(models, slots, anti_affinity=[["foe", "pinned"]], previous_plan=before)
    start = fill(page, Variant("choice", "tightest"), page.speed * 4)
    assert start is not None
    for most in (2, 5, None):
        found = balance(start.copy(), 0.0, Budget(300), 3, most_moves=most)
        assert all(map(found.legal, range(4)))
        assert all(map(found.spread_kept, range(page.groups)))
        assert [int(found.busy[card]) for card in range(4)] == [
            sum(found.on[card].values()) for card in range(4)
        ]
        assert sum(sum(held.values()) for held in found.on) == int(page.work.sum())
        assert found.peak() <= start.peak()


def test_closed_cards_are_left_as_they_are():
    _, layout = drawn_world(1, cards(4, 100))
    before = [dict(held) for held in layout.on]
    found = balance(layout, 0.0, Budget(200), 0, closed=[2, 3])
    assert found.on[2:] == before[2:]


def test_what_no_constructor_packs_is_squeezed_in():
    page = written(TIGHT, cards(4, 101), "min_cards")
    assert all(fill(page, variant, page.speed) is None for variant in FEW)
    found = squeeze(page, [1] * len(SIZES), Budget(2000), 0, range(4))
    assert found is not None
    assert sorted(group for held in found.on for group in held) == list(range(len(SIZES)))
    assert all(found.always + found.level <= page.room)
    again = squeeze(page, [1] * len(SIZES), Budget(2000), 0, range(4))
    assert again.on == found.on


def test_copies_are_squeezed_onto_cards_of_their_own_and_nodes_of_their_own():
    models = [*TIGHT, model("wide", 10, 5, spread_nodes=2), model("foe", 15)]
    slots = [*cards(4, 110, "a"), *cards(2, 60, "b", start=4)]
    page = written(models, slots, "min_cards", anti_affinity=[["wide", "foe"]])
    wanted = [2 if group.name in ("wide", "foe") else 1 for group in page.world.groups]
    found = squeeze(page, wanted, Budget(3000), 0, range(6))
    assert found is not None
    assert [len(cards) for cards in found.at] == wanted
    assert all(map(found.legal, range(6)))
    assert all(map(found.spread_kept, range(page.groups)))


def test_what_is_too_much_is_not_squeezed_in():
    page = written([*TIGHT, model("x", 5)], cards(4, 101), "min_cards")
    assert squeeze(page, [1] * 17, Budget(50), 0, range(4)) is None


def test_groups_that_may_not_change_cards_are_not_divided():
    models = [model("pinned", 10, cards=["local/0"]), model("a", 10), model("b", 10)]
    page = written(models, cards(2, 100))
    layout = Layout(page)
    for group in range(3):
        layout.add(group, 0, 0)
    names = [group.name for group in page.world.groups]
    free, both = drawn(layout, 0, 1, random.Random(0), copies=False)
    assert sorted(names[group] for group in free) == ["a", "b"]
    assert both == {}


@pytest.mark.parametrize("seed", range(3))
def test_cooler_and_cooler_rounds_even_out_what_is_left(seed):
    rng = random.Random(seed)
    models = [
        model(
            f"m{i}",
            rng.randint(4, 40),
            rng.randint(0, 6),
            service_ms=10,
            demand_rps=rng.randint(1, 400) / 7,
        )
        for i in range(36)
    ]
    room = round(1.3 * sum(one["weight_bytes"] for one in models) / 9) >> 20
    page = written(models, cards(9, room + 6))
    even = page.work.sum() / page.speed.sum()
    start = fill(page, FEW[0], page.speed * 4)
    hot = balance(start.copy(), even, Budget(3000)).peak()
    layout = start
    for heat in (HEAT, HEAT / 10, HEAT / 100, HEAT / 1000):
        layout = balance(layout, even * (1 + 5e-5), Budget(750), heat=heat)
    assert layout.peak() / even - 1 < 1e-3 < hot / even - 1


def test_squeezed_copies_share_their_load_equally():
    # Copies that leave and come back on the way would else take loads along, or bring too little.
    models = [model(f"m{i}", size, service_ms=10, demand_rps=1 + i) for i, size in enumerate(SIZES)]
    page = written(models, cards(4, 112))
    copies = [2 if size < 15 else 1 for size in SIZES]
    for seed in range(5):
        found = squeeze(page, copies, Budget(20_000), seed, range(4))
        assert found is not None
        for group, at in enumerate(found.at):
            loads = {found.on[card][group] for card in at}
            assert len(at) == copies[group]
            assert loads == {-(-int(page.work[group]) // copies[group])}
