"""Explanations: every replica's card, its bytes by part, and a reason for every other card."""

from dataclasses import replace

from orchestrator.placement import Problem, explain, solve
from orchestrator.placement.explain import reasons
from tests.placement.build import MIB, cards, model, problem

DATA = problem(
    [
        model("det", 5, 60, 12, threads=2, service_ms=20, demand_rps=20),
        model("rec", 11, 20, 3, threads=2, service_ms=5, demand_rps=20),
        model("own", 4, 10, 1, dynamic=True, cards=["local/1"]),
    ],
    [*cards(2, 120), *cards(1, 50, start=2), *cards(1, 200, start=3)],
)


def made(**rest):
    read = Problem.from_dict({**DATA, **rest})
    return read, solve(read)


def test_text():
    assert (
        explain(*made())
        == """\
3 models, 3 replicas on 2 of 4 cards (min_cards), serves 2.5 x the demand
det/0 -> local/1  89.0 MiB  weights 5.0 MiB + workspace 60.0 MiB (the shared one) + io 24.0 MiB, \
20 items/s of 20 ms
  local/0  not taken: fits, but would be one card more
  local/2  rejected: needs 69.0 MiB, free 13.0 MiB of 50.0 MiB (holds rec): 58,720,256 bytes too few
  local/3  not taken: fits, but would be one card more
own/0 -> local/1  15.0 MiB  weights 4.0 MiB + workspace 10.0 MiB of its own + io 1.0 MiB
  local/0  rejected: own is pinned to local/1
  local/2  rejected: own is pinned to local/1
  local/3  rejected: own is pinned to local/1
rec/0 -> local/2  37.0 MiB  weights 11.0 MiB + workspace 20.0 MiB (the shared one) + io 6.0 MiB, \
20 items/s of 5 ms
  local/0  not taken: fits, but would be one card more
  local/1  rejected: needs 17.0 MiB, free 16.0 MiB of 120.0 MiB (holds det, own): \
1,048,576 bytes too few
  local/3  not taken: fits, but would be one card more
card local/1: 104.0 MiB of 120.0 MiB, 16.0 MiB free; without any sharing 65.0 MiB more
card local/2: 37.0 MiB of 50.0 MiB, 13.0 MiB free; without any sharing 31.0 MiB more
no plan uses fewer cards than 2 (exact): gap 0.00%, bound reached"""
    )


def test_members_of_a_shared_workspace_and_where_sizes_come_from():
    data = problem([model("a", 1, 20), model("b", 1, 10)], cards(1, 100))
    read = Problem.from_dict(data)
    plan = replace(solve(read), origins=(("a", "measured"), ("b", "estimated")))
    text = explain(read, plan)
    assert "b/0 -> local/0  1.0 MiB  weights 1.0 MiB + workspace 10.0 MiB inside that of a" in text
    assert text.count("[measured]") == text.count("[estimated]") == 1
    assert "a, b share one workspace and run one at a time" in text
    assert "note: sizes of b are estimated, not measured" in text


def test_many_cards_are_counted_by_kind_of_reason():
    data = problem([model("a", 1, cards=["local/0"])], cards(30, 100))
    read = Problem.from_dict(data)
    assert "  and 21 more cards: 21 pinned" in explain(read, solve(read))


def test_parts_of_every_replica_sum_up_to_the_card():
    read, plan = made()
    for held in plan.cards:
        on = [reason for reason in reasons(read, plan) if reason.card == held.card]
        assert {reason.model for reason in on} == set(held.models)
        sized = {reason.sized_by for reason in on if reason.shared}
        assert len(sized) <= 1
        assert sum(reason.total for reason in on) <= 200 * MIB


def test_every_other_card_has_a_reason():
    read, plan = made()
    for reason in reasons(read, plan):
        assert {r.card for r in reason.rejected} == {c.name for c in read.cards} - {reason.card}
        for rejection in reason.rejected:
            if reason.model == "own":
                assert rejection.text == "rejected: own is pinned to local/1"


def test_what_a_card_lacks_is_counted_from_how_it_may_run():
    apart = {"share_workspace": False, "widens_workspace": True}
    models = [
        model("a", 0, 10),
        model("b", 0, 60, **apart),
        model("c", 15, service_ms=1, demand_rps=1),
    ]
    held = [{**one, "cards": ["local/0"]} for one in models[:2]]
    read = Problem.from_dict(problem([*held, models[2]], cards(2, 80), "max_alpha"))
    text = explain(read, solve(read))
    assert (
        "rejected: needs 15.0 MiB, free 10.0 MiB of 80.0 MiB (holds a, b): 5,242,880 bytes" in text
    )
