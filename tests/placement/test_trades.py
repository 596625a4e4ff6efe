"""One card's trades with all others: all that fit, by hand, and packings that come of them."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.placement import Problem
from orchestrator.placement.groups import world
from orchestrator.placement.search.balance import Budget
from orchestrator.placement.search.fill import FEW, fill
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.sheet import sheet
from orchestrator.placement.search.squeeze import squeeze
from orchestrator.placement.search.timely import timely
from orchestrator.placement.search.trades import Trades
from tests.placement.build import cards, model
from tests.placement.test_pairs import SIZES, TIGHT, written
from tests.placement.worlds import problems


def scattered(seed, each, count=3, room=100, **rest):
    """So many models on each of the cards, of sizes such that some sets of them change places."""
    rng = random.Random(seed)
    models = [
        model(
            f"m{i}",
            rng.randint(1, 20),
            rng.randint(0, 20),
            service_ms=10,
            demand_rps=rng.randint(1, 40),
            **rest,
        )
        for i in range(each * count)
    ]
    page = written(models, cards(count, room))
    layout = Layout(page)
    for group in range(page.groups):
        layout.add(group, group % count, int(page.work[group]))
    return page, layout


def subsets(held):
    return [
        set(some) for size in range(len(held) + 1) for some in itertools.combinations(held, size)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_all_trades_that_fit_are_offered_and_judged_as_if_they_were_made(seed):
    page, layout = scattered(seed, 3, room=70)
    trades = Trades(layout, range(3), random.Random(0))
    offers = trades.offers(0)
    offered = {}
    for at, (other, mine, its) in enumerate(
        zip(offers.others.tolist(), offers.mine.tolist(), offers.its.tolist(), strict=True)
    ):
        given_, got = (
            frozenset(name for name, chosen in zip(names, sets[index], strict=True) if chosen)
            for names, sets, index in (
                (trades.names[0], trades.sets[0], mine),
                (trades.names[other], trades.sets[other], its),
            )
        )
        offered[other, given_, got] = at
    assert len(offered) == len(offers.others)
    for other in (1, 2):
        for given_, got in itertools.product(subsets(layout.on[0]), subsets(layout.on[other])):
            made = layout.copy()
            for group in given_:
                made.add(group, other, made.remove(group, 0))
            for group in got:
                made.add(group, 0, made.remove(group, other))
            fits = all(made.always + made.level <= page.room)
            # Two cards alike that change all that they have change nothing.
            fits &= bool(given_ or got) and (given_, got) != (
                set(layout.on[0]),
                set(layout.on[other]),
            )
            key = other, frozenset(given_), frozenset(got)
            assert fits == (key in offered)
            if fits:
                at = offered[key]
                for turn, card in enumerate((0, other)):
                    assert offers.used[turn][at] == made.always[card] + made.level[card]
                    assert offers.busy[turn][at] == made.busy[card]


def test_all_that_two_cards_have_changes_places_where_they_are_of_two_sorts():
    models = [model("hot", 50, service_ms=10, demand_rps=90), model("cold", 50)]
    for other, offered in [(cards(1, 100, start=1), 0), (cards(1, 100, start=1, speed=2.0), 1)]:
        page = written(models, [*cards(1, 100), *other])
        layout = Layout(page)
        for group in range(2):
            layout.add(group, group, int(page.work[group]))
        offers = Trades(layout, range(2), random.Random(0)).offers(0)
        whole = (offers.mine == 1) & (offers.its == 1)
        assert whole.sum() == offered


def test_of_very_many_trades_some_are_offered_each_time_others():
    page, layout = scattered(3, 4, count=60, room=200)
    trades = Trades(layout, range(60), random.Random(0))
    first = trades.offers(0)
    assert len(set(first.others.tolist())) > 30
    assert len({tuple(trades.offers(0).its.tolist()) for _ in range(9)}) > 1
    for at in range(0, len(first.others), 7):
        made = Trades(layout.copy(), range(60), random.Random(0))
        other = int(first.others[at])
        assert made.make(0, first, at)
        for turn, card in enumerate((0, other)):
            used = made.layout.always[card] + made.layout.level[card]
            assert used == first.used[turn][at] <= page.room[card]


def test_cards_that_changed_are_offered_again_when_more_than_a_tenth_have():
    _, layout = scattered(3, 2, count=40, room=70)
    trades = Trades(layout, range(40), random.Random(0))
    for card in (5, 6, 7, 8):
        trades.note(card)
        assert card not in trades.offers(0).others
    trades.note(9)
    assert {5, 6, 7, 8, 9} <= set(trades.offers(0).others.tolist())


def test_a_trade_is_made_as_it_was_offered():
    page, layout = scattered(7, 9, count=4, room=200)
    rng = random.Random(1)
    trades = Trades(layout, range(4), rng)
    for _ in range(50):
        one = rng.randrange(4)
        offers = trades.offers(one)
        at = rng.randrange(len(offers.others))
        other = int(offers.others[at])
        assert trades.make(one, offers, at)
        for turn, card in enumerate((one, other)):
            assert layout.always[card] + layout.level[card] == offers.used[turn][at]
            assert layout.busy[card] == offers.busy[turn][at]
    assert sorted(group for held in layout.on for group in held) == list(range(page.groups))


def test_of_many_groups_the_widest_may_leave_together():
    wide = [model(f"w{i}", 1, 50) for i in range(4)]
    page = written([*wide, *(model(f"m{i}", 1) for i in range(40))], cards(2, 200), "min_cards")
    layout = Layout(page)
    for group in range(page.groups):
        layout.add(group, 0, 0)
    offers = Trades(layout, range(2), random.Random(0)).offers(0)
    assert min(offers.used[0].tolist()) <= 40 << 20


def test_two_cards_of_many_groups_part_by_workspace_at_once():
    models = [model(f"m{level}", 2, level) for level in range(1, 41)]
    page = written(models, cards(2, 100), "min_cards")
    layout = Layout(page)
    for group in np.argsort(page.level, kind="stable").tolist():
        layout.add(group, int(page.level[group] >> 20) % 2, 0)
    trades = Trades(layout, range(2), random.Random(0))
    before = int((layout.always + layout.level).sum())
    # The 20 largest workspaces on one card and the 20 smallest on the other save 19 of 79 MiB.
    offers = [trades.offers(0) for _ in range(9)]
    best = min(int((offer.used[0] + offer.used[1]).min()) for offer in offers)
    assert before - best >= 15 << 20


def test_no_group_comes_to_a_card_twice_or_where_a_rule_forbids_it():
    models = [
        model("twice", 10, min_replicas=2),
        model("pinned", 10, cards=["local/0"]),
        model("foe", 10),
        model("wide", 10, min_replicas=2, spread_nodes=2),
        model("free", 10),
    ]
    slots = [*cards(2, 100), *cards(1, 100, "other")]
    page = written(models, slots, anti_affinity=[["foe", "twice"]])
    at = {group.name: index for index, group in enumerate(page.world.groups)}
    layout = Layout(page)
    for name, card in [("twice", 0), ("pinned", 0), ("wide", 0), ("wide", 2), ("free", 0)]:
        layout.add(at[name], card, 0)
    layout.add(at["twice"], 1, 0)
    layout.add(at["foe"], 2, 0)
    trades = Trades(layout, range(3), random.Random(0))
    before = [dict(held) for held in layout.on]
    offers, moved = trades.offers(0), set()
    for index in range(len(offers.others)):
        given_ = frozenset(np.array(trades.names[0])[trades.sets[0][offers.mine[index]] > 0])
        if trades.make(0, offers, index):
            moved.add((int(offers.others[index]), given_))
            assert all(map(layout.legal, range(3)))
            assert layout.spread_kept(at["wide"])
            for card, held in enumerate(before):
                layout.refill(card, dict(held))
                trades.note(card)
        assert [dict(held) for held in layout.on] == before
    assert (1, frozenset([at["free"]])) in moved
    assert (1, frozenset([at["wide"]])) in moved
    for card, groups in moved:
        assert at["pinned"] not in groups
        assert at["twice"] not in groups or card == 2
        assert at["wide"] not in groups or card == 1


def packed(page, copies, peak=100.0, spare=(), steps=20_000, seed=0):
    return timely(page, copies, spare, peak, Budget(steps), seed, range(page.cards))


def test_what_no_constructor_packs_is_packed_by_trades():
    page = written(TIGHT, cards(4, 101), "min_cards")
    assert all(fill(page, variant, page.speed) is None for variant in FEW)
    found = packed(page, [1] * len(SIZES))
    assert sorted(group for held in found.on for group in held) == list(range(len(SIZES)))
    assert all(found.always + found.level <= page.room)
    assert packed(page, [1] * len(SIZES)).on == found.on


def test_what_is_too_much_is_not_packed():
    page = written([*TIGHT, model("x", 5)], cards(4, 101), "min_cards")
    assert packed(page, [1] * 17, steps=200) is None


def test_what_must_not_wait_is_left_to_pairs():
    page = written([model(f"m{i}", 1, 5, max_delay_ms=9) for i in range(4)], cards(2, 100))
    assert packed(page, [1] * 4) is None
    assert squeeze(page, [1] * 4, Budget(100), 0, range(2)) is not None


def test_hot_copies_are_on_cards_of_their_own_beside_what_takes_no_time():
    sizes = [size for size in SIZES if size not in (9, 10)]
    hot = [model(f"hot{i}", 9, 3, service_ms=10, demand_rps=80) for i in range(4)]
    rest = [model(f"m{i}", size, service_ms=10, demand_rps=1) for i, size in enumerate(sizes)]
    page = written([*hot, *rest], cards(4, 111), "max_alpha")
    for seed in range(4):
        found = packed(page, [1] * page.groups, peak=0.87, seed=seed)
        assert found.peak() <= 0.87
        assert all(found.always + found.level <= page.room)
        assert [len(at) for at in found.at] == [1] * page.groups


def test_a_large_workspace_is_on_as_many_cards_as_its_users_keep_busy():
    # By memory alone, all eight large workspaces go on one card, which is busy for more than two.
    hot = [model(f"hot{i}", 5, 40, service_ms=10, demand_rps=25) for i in range(8)]
    cold = [model(f"cold{i}", 14, service_ms=10, demand_rps=1) for i in range(17)]
    page = written([*hot, *cold], cards(4, 100))
    once = [1] * page.groups
    tight = squeeze(page, once, Budget(500), 0, range(4))
    found = packed(page, once, peak=1.1)
    assert sum(tight.level > 0) == 1 < tight.peak()
    assert sum(found.level > 0) == 2
    assert found.peak() <= 1.1
    assert all(found.always + found.level <= page.room)


def test_a_copy_more_is_made_of_what_nothing_fits_beside():
    # With one copy of it, a card is busy for 0.95 and what fills its memory.
    models = [model("hot", 10, service_ms=10, demand_rps=95)]
    models += [model(f"m{i}", 30, service_ms=10, demand_rps=12) for i in range(8)]
    page = written(models, cards(3, 100))
    hot = next(i for i, group in enumerate(page.world.groups) if group.name == "hot")
    once = [1] * page.groups
    alone = packed(page, once, peak=0.8)
    found = packed(page, once, peak=0.8, spare=[hot])
    assert alone.peak() > 0.9
    assert len(alone.at[hot]) == 1
    assert found.peak() <= 0.8
    assert len(found.at[hot]) == 2
    for layout in (alone, found):
        for group, at in enumerate(layout.at):
            assert sum(layout.on[card][group] for card in at) == page.work[group]
    # Where there is time for all, there is no copy that nobody needs.
    assert len(packed(page, once, peak=1.5, spare=[hot]).at[hot]) == 1


def kept(page, found, copies):
    """Every rule, every copy, and all of the demand."""
    assert all(map(found.legal, range(page.cards)))
    assert all(map(found.spread_kept, range(page.groups)))
    for group, at in enumerate(found.at):
        done = sum(found.on[card][group] for card in at)
        assert copies[group] <= len(at) <= page.high[group]
        assert page.work[group] <= done <= page.work[group] + len(at)


@pytest.mark.parametrize("seed", range(6))
def test_full_cards_with_rules_are_packed_and_every_rule_is_kept(seed):
    rng = random.Random(seed)
    rules = [{"min_replicas": 2, "spread_nodes": 2}, {"cards": ["a/0", "b/3"]}, {"max_replicas": 1}]
    models = [
        model(
            f"m{i}",
            rng.randint(4, 40),
            rng.randint(0, 12),
            service_ms=10,
            demand_rps=rng.randint(1, 400) / 9,
            **(rng.choice(rules) if i % 6 == 0 else {}),
        )
        for i in range(40)
    ]
    size = sum(one["weight_bytes"] * one.get("min_replicas", 1) for one in models) >> 20
    slots = [*cards(3, size // 6 + 14, "a"), *cards(3, size // 6 + 14, "b", start=3)]
    page = written(models, slots, anti_affinity=[["m1", "m2", "m3"]])
    copies = [max(1, low) for low in page.low]
    even = float(page.work.sum() / page.speed.sum())
    found = packed(page, copies, peak=1.02 * even, spare=range(page.groups), seed=seed)
    kept(page, found, copies)
    assert found.peak() < 1.1 * even
    assert packed(page, copies, 1.02 * even, range(page.groups), seed=seed).on == found.on


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(problems(), st.integers(0, 3))
def test_every_packing_keeps_all_rules_and_serves_all_demand(data, seed):
    for one in data["models"]:
        for key in ("max_delay_ms", "overlap", "widens_workspace"):
            one.pop(key, None)  # Such a problem's cards are not traded among.
    page = sheet(world(Problem.from_dict(data)))
    copies, spare = list(page.low), range(page.groups)
    found = packed(page, copies, peak=0.7, spare=spare, steps=1500, seed=seed)
    if found is not None:
        kept(page, found, copies)
