"""Copies where room is left: they even out what no exchange does, and keep every limit."""

import pytest

from orchestrator.placement import Problem
from orchestrator.placement.groups import world
from orchestrator.placement.search.balance import Budget
from orchestrator.placement.search.copies import STEPS, copied
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.sheet import sheet
from tests.placement.build import cards, model, problem


def placed(models, slots, on, **rest):
    """A layout with these models on these cards, each with all its load on the first of them."""
    page = sheet(world(Problem.from_dict(problem(models, slots, "max_alpha", **rest))))
    layout = Layout(page)
    for group, at in enumerate(on):
        for index, card in enumerate(at):
            layout.add(group, card, 0 if index else int(page.work[group]))
    return layout


def busy(name, rps, weights=10, **rest):
    return model(name, weights, service_ms=10, demand_rps=rps, **rest)


def where(layout):
    return [sorted(at) for at in layout.at]


def test_a_copy_goes_to_the_card_that_has_time_and_room():
    before = placed([busy("a", 90), busy("b", 50), busy("c", 10)], cards(3, 20), [[0], [0], [1, 2]])
    after = copied(before, 0.0, Budget(1000))
    assert before.peak() == pytest.approx(1.4)
    assert where(before) == [[0], [0], [1, 2]]
    assert after.peak() == pytest.approx(0.5)
    assert all(len(held) <= 2 for held in after.on)


def test_loads_are_passed_on_by_a_card_that_is_full_itself():
    # The first has no room left where there is time: the second takes from it and passes on.
    models = [busy("a", 90, 10), busy("b", 60, 10), busy("c", 10, 10), busy("huge", 0, 20)]
    before = placed(models, cards(3, 30), [[0, 1], [1, 2], [0], [2]])
    after = copied(before, 0.0, Budget(1000))
    assert where(after) == [[0, 1], [1, 2], [0], [2]]
    assert after.peak() == pytest.approx(1.6 / 3)


@pytest.mark.parametrize(
    ("rest", "others"),
    [
        ({"max_replicas": 1}, {}),
        ({"cards": ["local/0"]}, {}),
        ({}, {"anti_affinity": [["a", "b"]]}),
        ({"weights": 21}, {}),
    ],
)
def test_no_copy_goes_where_a_rule_or_memory_forbids_it(rest, others):
    before = placed([busy("a", 90, **rest), busy("b", 10)], cards(2, 30), [[0], [1]], **others)
    after = copied(before, 0.0, Budget(1000))
    assert where(after)[0] == [0]
    assert after.peak() == pytest.approx(0.9)


def test_a_copy_that_is_not_needed_is_dropped():
    before = placed([busy("a", 50), busy("b", 50)], cards(2, 30), [[0, 1], [1]])
    assert where(copied(before, 0.0, Budget(1000))) == [[0], [1]]


def test_without_steps_only_the_loads_are_divided():
    before = placed([busy("a", 90), busy("b", 50)], cards(3, 30), [[0, 1], [1]])
    after = copied(before, 0.0, Budget(STEPS - 1))
    assert where(after) == [[0, 1], [1]]
    assert after.peak() == pytest.approx(0.7)
