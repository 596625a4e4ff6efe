"""Where copies sit before anything is traded: by hand, and every rule kept."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.placement import Problem
from orchestrator.placement.groups import world
from orchestrator.placement.search.seats import equal_load, seated, seated_in_time
from orchestrator.placement.search.sheet import sheet
from tests.placement.build import cards, model
from tests.placement.test_pairs import written
from tests.placement.worlds import problems


def timed(name, size, workspace, share):
    """A model that takes this share of a card's time."""
    return model(name, size, workspace, service_ms=10, demand_rps=100 * share)


def test_a_card_keeps_time_for_what_is_to_fill_its_memory():
    # With one of the middle models beside the wide ones a card has no time for all of the cold
    # ones that its memory is needed for.
    wide = [timed(f"wide{i}", 1, 40, 0.07) for i in range(10)]
    middle = [timed(f"middle{i}", 20, 20, 0.28) for i in range(3)]
    cold = [timed(f"cold{i}", 10, 0, 0.01) for i in range(17)]
    page = written([*wide, *middle, *cold], cards(3, 100))
    found = seated_in_time(page, [1] * page.groups, range(3), page.speed)
    assert found.homeless == []
    assert sorted(found.layout.level >> 20) == [0, 20, 40]
    assert all(found.layout.busy <= page.speed)
    assert all(found.layout.always + found.layout.level == page.room)


def test_hot_copies_come_first_each_on_a_card_of_its_own():
    page = written(
        [timed("hot", 10, 5, 1.8), *(timed(f"m{i}", 30, 50, 0.1) for i in range(3))], cards(3, 100)
    )
    hot = next(i for i, group in enumerate(page.world.groups) if group.name == "hot")
    copies = [1] * page.groups
    copies[hot] = 4
    found = seated_in_time(page, copies, range(3), page.speed)
    assert found.homeless == [hot]
    assert found.layout.at[hot] == {0, 1, 2}
    assert max(found.layout.busy / page.speed) < 0.56


def test_what_takes_least_time_fills_the_card_of_a_hot_copy():
    # In the order of their bytes the cold ones would be on the other cards.
    hot, cold = timed("hot", 20, 0, 0.9), [timed(f"cold{i}", 10, 0, 0.01) for i in range(8)]
    warm = [timed(f"warm{i}", 11 if i < 10 else 9, 0, 0.03) for i in range(20)]
    page = written([hot, *cold, *warm], cards(3, 100))
    found = seated_in_time(page, [1] * page.groups, range(3), page.speed)
    names = [{page.world.groups[group].name[:4] for group in held} for held in found.layout.on]
    assert {"hot", "cold"} in names
    assert all(found.layout.busy <= page.speed)


def test_what_has_no_time_left_goes_where_least_is_done_and_what_has_no_memory_nowhere():
    busy = [timed(f"busy{i}", 5, 0, 0.29) for i in range(8)]
    large = [timed(f"large{i}", 60, 0, 0.1) for i in range(3)]
    page = written([*busy, *large], cards(2, 100))
    found = seated_in_time(page, [1] * page.groups, range(2), page.speed)
    assert [page.world.groups[group].name[:-1] for group in found.homeless] == ["large"]
    assert [len(held) for held in found.layout.on] == [5, 5]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(problems(), st.data())
def test_every_copy_is_on_an_allowed_card_or_homeless(data, drawn):
    page = sheet(world(Problem.from_dict(data)))
    most = [max(ends) for ends in zip(page.low, page.high, strict=True)]
    copies = [drawn.draw(st.integers(0, high)) for high in most]
    some = sorted(drawn.draw(st.sets(st.integers(0, page.cards - 1), min_size=1)))
    limit = np.floor(page.speed * drawn.draw(st.floats(0.1, 1.5))).astype(np.int64)
    for found in (seated(page, copies, some), seated_in_time(page, copies, some, limit)):
        layout = found.layout
        assert all(layout.legal(card) for card in range(page.cards))
        assert {card for at in layout.at for card in at} <= set(some)
        for group, at in enumerate(layout.at):
            assert len(at) + found.homeless.count(group) == copies[group]
            for card in at:
                assert layout.on[card][group] == equal_load(page, copies, group)
