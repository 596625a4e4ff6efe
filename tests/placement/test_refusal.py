"""Refusals: one model or the smallest set, the bytes that lack, and changes that are proved."""

from dataclasses import replace

import pytest

from orchestrator.errors import PlanRefusedError
from orchestrator.placement import Problem, solve
from orchestrator.placement.changes import Trials
from orchestrator.placement.refusal import refusal
from tests.placement.build import MIB, cards, model, problem

DET = model("det", 5, 60, 12, threads=2)
REC = model("rec", 11, 20, 3, threads=2)
CLS = model("cls", 1, 2, 1)


def refused(models, slots, **rest):
    data = Problem.from_dict(problem(models, slots, **rest))
    with pytest.raises(PlanRefusedError) as caught:
        solve(data)
    return data, caught.value


def test_a_model_that_fits_on_no_card():
    _, error = refused([DET, REC, CLS], cards(2, 64))
    assert str(error) == (
        "det fits on no card by 26,214,400 bytes (25.0 MiB)\n"
        "  det: 89.0 MiB a card (weights 5,242,880 + shared workspace 62,914,560 + io 25,165,824), "
        "2 threads\n"
        "  local/0: needs 89.0 MiB, free 64.0 MiB of 64.0 MiB: "
        "26,214,400 bytes too few\n"
        "  local/1: needs 89.0 MiB, free 64.0 MiB of 64.0 MiB: "
        "26,214,400 bytes too few\n"
        "  fits if: cards of 89.0 MiB (93,323,264 bytes)"
    )


def test_a_set_that_does_not_fit_together_names_no_bystander():
    data, error = refused([DET, REC, CLS], cards(1, 100))
    assert error.reason == "det + rec: do not fit together on 1 card"
    assert "at least 2 such cards are needed (fractional)" in error.details
    assert "at least 6,291,456 bytes (6.0 MiB) too few on each card" in error.details
    assert error.changes == (
        "threads of det <= 1",
        "1 more card of 100.0 MiB",
        "cards of 108.0 MiB (113,246,208 bytes)",
    )
    one_thread = tuple(replace(m, threads=1) if m.name == "det" else m for m in data.models)
    assert solve(replace(data, models=one_thread)).cards_used == 1
    for size, fits in ((108, True), (107, False)):
        larger = tuple(replace(card, capacity_bytes=size * MIB) for card in data.cards)
        if fits:
            solve(replace(data, cards=larger))
        else:
            with pytest.raises(PlanRefusedError):
                solve(replace(data, cards=larger))


def test_models_that_need_no_replica_but_have_demand_are_counted_in_memory():
    timed = {"service_ms": 10, "demand_rps": 10}
    asked = [model("a", 50, 10, min_replicas=0, **timed), model("b", 50, 10)]
    _, error = refused(asked, cards(1, 100))
    assert error.reason == "a + b: do not fit together on 1 card"


def test_as_many_cards_are_offered_as_the_demand_takes():
    data, error = refused([model("a", 10, service_ms=1000, demand_rps=79.5)], cards(1, 100))
    assert "79 more cards of 100.0 MiB" in error.changes
    more = Problem.from_dict(problem([CLS], cards(80, 100))).cards
    assert solve(replace(data, cards=more)).cards_used == 80
    _, error = refused([model("a", 10, spread_nodes=100_000)], cards(1, 100))
    assert error.changes == ("a not spread over 100000 nodes",)
    assert "not every change was tried that might let it fit" in error.details


def test_streams_are_told_where_memory_is_not_what_lacks():
    models = [model("one", 1, 2, 1, streams=600), model("two", 1, 2, 1, streams=300, threads=2)]
    _, error = refused(models, cards(1, 100, streams=1024))
    assert error.reason.startswith("one + two: no way was found to fit them together on 1 card")
    told = "\n".join(error.details)
    assert "2 threads, 600 streams\n" in told
    assert "local/0: 100.0 MiB for models, 1024 streams" in told
    assert "threads of two <= 1" in error.changes


def test_sharing_and_pins_are_offered_where_they_are_to_blame():
    pinned = [
        {**DET, "cards": ["local/0"]},
        {**REC, "cards": ["local/0"], "share_workspace": False},
    ]
    _, error = refused(pinned, cards(2, 120))
    assert error.reason == "det + rec: do not fit together on the 1 card that they may use"
    assert set(error.changes) >= {
        "threads 1 for det, rec",
        "sharing workspace on for rec",
        "det not pinned to local/0",
        "rec not pinned to local/0",
    }


def test_weights_that_are_not_shared():
    _, error = refused([model("a", 40, threads=3, share_weights=False)], cards(1, 100))
    assert "sharing weights on for a" in error.changes
    assert "threads of a <= 2" in error.changes


def test_more_replicas_than_cards():
    _, error = refused([{**CLS, "min_replicas": 3}], cards(2, 100))
    assert str(error) == (
        "3 replicas of cls need as many cards, and 2 cards can hold it\n"
        "  fits if: replicas of cls <= 2, or 1 more card of 100.0 MiB"
    )


def test_bytes_are_those_that_would_do():
    apart = {"share_workspace": False, "widens_workspace": True}
    pair = [model("x", 28, 56, **apart), model("y", 19, 15)]
    _, error = refused(pair, cards(1, 80), affinity=[["x", "y"]])
    assert error.reason == f"x + y fits on no card by {38 * MIB:,} bytes (38.0 MiB)"
    late = [model("x", 20, 50, max_delay_ms=5, service_ms=1), model("y", 20, 50, batch_ms=20)]
    _, error = refused(late, cards(1, 80), affinity=[["x", "y"]])
    assert error.reason == f"x + y fits on no card by {60 * MIB:,} bytes (60.0 MiB)"
    few = [*cards(1, 80, streams=1), *cards(1, 60, start=1)]
    _, error = refused([model("x", 50, 40, streams=2)], few)
    assert error.reason == f"x fits on no card by {30 * MIB:,} bytes (30.0 MiB)"


def test_more_nodes_than_there_are():
    _, error = refused([{**CLS, "spread_nodes": 2}], cards(2, 100))
    assert error.reason == "cls must be on 2 nodes, and its cards are on 1"
    assert error.changes == (
        "cls not spread over 2 nodes",
        "1 more card of 100.0 MiB on another node",
    )
    _, error = refused([{**CLS, "spread_nodes": 4}], cards(2, 100))
    assert error.changes[-1] == "3 more cards of 100.0 MiB, each on another node"


def test_a_pin_to_a_card_that_is_too_small():
    slots = [*cards(1, 10), *cards(1, 100, start=1)]
    _, error = refused([{**DET, "cards": ["local/0"]}], slots)
    assert error.reason == "det fits on no card by 82,837,504 bytes (79.0 MiB)"
    assert "local/1: det is pinned to local/0" in error.details
    assert error.changes == (
        "det not pinned to local/0",
        "79.0 MiB (82,837,504 bytes) more on every card",
    )


def test_demand_that_no_card_can_serve():
    heavy = {**CLS, "service_ms": 10, "demand_rps": 300}
    _, error = refused([heavy], cards(2, 100), max_utilisation=0.85)
    assert error.reason == (
        "the demand of cls takes 3 card-seconds a second (at speed 1): "
        "2 cards can hold it, with room for 1.7"
    )
    assert error.changes == ("2 more cards of 100.0 MiB", "at most 56 % of the demand")


def test_replica_limit_below_the_demand():
    heavy = {**CLS, "service_ms": 10, "demand_rps": 150, "max_replicas": 1}
    _, error = refused([heavy], cards(2, 100))
    assert error.reason.endswith("2 cards can hold it and 1 may, with room for 1")
    assert error.changes[0] == "no upper limit on the replicas of cls (1 now)"


def test_demand_that_only_together_is_too_much():
    pair = [model(n, service_ms=10, demand_rps=70) for n in ("a", "b")]
    _, error = refused(pair, cards(1, 100), max_utilisation=0.85)
    assert error.reason == "a + b: fit in memory, but the demand is too much for 1 card"
    assert "the best plan found serves 0.607 of the demand" in error.details
    assert error.changes == ("1 more card of 100.0 MiB", "at most 60 % of the demand")


def test_utilisation_is_offered_when_it_is_enough():
    _, error = refused(
        [model("a", service_ms=10, demand_rps=90)], cards(1, 100), max_utilisation=0.85
    )
    assert "max_utilisation 1 (0.85 now)" in error.changes


def test_enemies_on_one_card():
    _, error = refused([DET, CLS], cards(1, 200), anti_affinity=[["det", "cls"]])
    assert error.reason == "cls + det: do not fit together on 1 card"
    assert "no anti_affinity of det, cls" in error.changes


def test_a_delay_that_cannot_be_kept():
    quick = model("quick", 1, 60, max_delay_ms=5, service_ms=1)
    slow = model("slow", 1, 60, service_ms=20)
    _, error = refused([quick, slow], cards(1, 100))
    assert "no max_delay for quick (5 ms now)" in error.changes


def test_a_large_set_is_narrowed_down():
    many = [model(f"m{i}", 1) for i in range(30)] + [model("x", 60), model("y", 60)]
    _, error = refused(many, cards(1, 100))
    assert error.reason.startswith("x + y:")


def test_what_is_tried_is_limited_and_nothing_is_said_that_was_not_tried():
    data = Problem.from_dict(problem([DET, REC], cards(1, 100)))
    one, two = (replace(data, models=data.models[:count]) for count in (1, 2))
    trials = Trials(4)
    assert trials.fits(one)
    assert trials.misfits(two)
    assert (trials.left, trials.made, trials.cut) == (1, 2, False)
    assert trials.misfits(two)  # the last may go beyond
    assert not trials.fits(one)
    assert not trials.misfits(two)
    assert (trials.left, trials.made, trials.cut) == (-1, 3, True)


def test_parts_of_what_may_be_tried_come_back():
    data = Problem.from_dict(problem([DET], cards(1, 100)))
    trials = Trials(9)
    part = trials.part(3)
    assert (part.left, trials.left) == (3, 6)
    assert part.fits(data)
    trials.take_back(part)
    assert (trials.left, trials.made, trials.cut) == (8, 1, False)


def test_a_refusal_that_is_interrupted_says_so():
    data = Problem.from_dict(problem([DET, REC, CLS], cards(1, 100)))
    cut = refusal(data, interrupted=lambda: True)
    assert cut.reason == "cls + det + rec: do not fit together on 1 card"
    assert cut.details[-2:] == (
        "more of these models could be left out: not all of that was tried",
        "not every change was tried that might let it fit",
    )
    assert cut.changes == ()


def test_a_long_set_is_told_by_its_first_names_and_largest_models():
    many = [model(f"m{i}", 10) for i in range(1, 31)]
    _, error = refused(many, cards(1, 99))
    assert error.reason == (
        "m20 + m21 + m22 + m23 + m24 + m25 + m26 + m27 and 2 more: do not fit together on 1 card"
    )
    assert "and 2 more models, none of which is larger" in error.details


def test_many_cards_too_few_are_counted_from_the_bound():
    many = [model(f"m{i}", 60) for i in range(90)]
    _, error = refused(many, cards(2, 100))
    assert "88 more cards of 100.0 MiB" in error.changes
