"""Divisions of many items put together from halves, against all of them one by one."""

import random

import numpy as np
import pytest

from orchestrator.placement.search import halves
from orchestrator.placement.search.halves import Every, Weighed


def fitting(sizes, levels, least, rooms):
    """Numbers of the divisions that fit, each looked at by itself."""
    found = []
    for number in range(1 << len(sizes)):
        held = [[i for i in range(len(sizes)) if number >> i & 1 != turn] for turn in (0, 1)]
        if all(
            sum(sizes[i] for i in items) + max([level, *(levels[i] for i in items)]) <= room
            for items, level, room in zip(held, least, rooms, strict=True)
        ):
            found.append(number)
    return found


def drawn(seed, count=9):
    rng = random.Random(seed)
    sizes = [rng.randint(1, 60) for _ in range(count)]
    levels = sorted((rng.randint(0, 20) for _ in range(count)), reverse=True)
    least = [rng.randint(0, 12), rng.randint(0, 12)]
    half = sum(sizes) // 2
    return sizes, levels, least, [half + rng.randint(10, 40), half + rng.randint(10, 40)]


def judged(ways, at, sizes, levels):
    """By number, what both cards take of sizes and levels."""
    first, largest = ways.sums(sizes), ways.largest(levels)
    return {
        int(number): (int(first[i]), int(largest[0][i]), int(largest[1][i]))
        for i, number in zip(at, ways.numbers(at), strict=True)
    }


@pytest.mark.parametrize("seed", range(6))
def test_no_division_that_fits_is_missing_and_each_is_judged_as_among_all(seed):
    sizes, levels, least, rooms = drawn(seed)
    ways, every = Weighed(sizes, levels, least, rooms), Every()
    some, whole = (np.arange(len(one.sums(sizes))) for one in (ways, every))
    found = judged(ways, some, sizes, levels)
    assert len(found) == len(some)
    wanted = set(fitting(sizes, levels, least, rooms))
    assert wanted
    assert wanted <= found.keys()
    assert len(found) < 2 ** len(sizes) // 2
    of_all = judged(every, whole, sizes, levels)
    assert all(found[number] == of_all[number] for number in found)


def test_of_too_many_some_are_taken_from_among_all(monkeypatch):
    sizes, levels, least, rooms = drawn(1, count=11)
    every = len(Weighed(sizes, levels, least, rooms).sums(sizes))
    monkeypatch.setattr(halves, "_MOST", 20)
    ways = Weighed(sizes, levels, least, rooms)
    some = np.arange(len(ways.sums(sizes)))
    numbers = ways.numbers(some).tolist()
    assert every > 40
    assert 10 <= len(set(numbers)) == len(numbers) <= 20
    assert {number >> 5 & 1 for number in numbers} == {0, 1}


def test_where_nothing_fits_there_is_no_division():
    ways = Weighed([50] * 12, [0] * 12, [0, 0], [100, 100])
    assert len(ways.sums([50] * 12)) == 0
