"""What a card can swap with the others: up to two groups against up to two, or part of a load."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from orchestrator.placement.layout import Layout
from orchestrator.placement.sheet import Numbers, Sheet

#: Cards with more groups than this swap single groups only.
_PAIRED = 20
#: Swaps that are looked at in one step.
MOST_SWAPS = 120_000


@dataclass(frozen=True)
class Bundles:
    """What may leave a card: nothing, one group or two.

    ``size`` bytes and ``load`` units leave with it; ``level`` is the workspace it brings elsewhere,
    ``rest`` the workspace that stays. ``first`` and ``second`` are groups, -1 for none.
    """

    size: Numbers
    load: Numbers
    level: Numbers
    rest: Numbers
    first: Numbers
    second: Numbers


@dataclass(frozen=True)
class Swap:
    """``go`` leaves ``card`` for ``other``, ``come`` the other way; or ``part`` units of ``go``."""

    card: int
    other: int
    go: tuple[int, ...]
    come: tuple[int, ...]
    part: int | None
    delta: float


@lru_cache(maxsize=64)
def _pairs(count: int) -> tuple[Numbers, Numbers]:
    first, second = np.triu_indices(count, 1)
    return first, second


def bundles(layout: Layout, card: int) -> Bundles:
    """Everything that may leave the card at once."""
    sheet, held = layout.sheet, layout.on[card]
    groups = np.fromiter(held, np.int64, len(held))
    loads = np.fromiter(held.values(), np.int64, len(held))
    count = len(groups)
    one, two = _pairs(count) if count <= _PAIRED else _pairs(0)
    singles = np.arange(count)
    first = np.concatenate([singles, one])
    second = np.concatenate([np.full(count, -1), two])
    size, level = sheet.always[groups], sheet.level[groups]
    padded = np.append(level, 0)
    top = np.append(np.argsort(-level, kind="stable")[:3], [count] * 3)
    rest = np.where(
        (first != top[0]) & (second != top[0]),
        padded[top[0]],
        np.where((first != top[1]) & (second != top[1]), padded[top[1]], padded[top[2]]),
    )
    groups, loads, size = np.append(groups, -1), np.append(loads, 0), np.append(size, 0)
    return Bundles(
        size=_headed(0, size[first] + size[second]),
        load=_headed(0, loads[first] + loads[second]),
        level=_headed(0, np.maximum(padded[first], padded[second])),
        rest=_headed(int(layout.level[card]), rest),
        first=_headed(-1, groups[first]),
        second=_headed(-1, groups[second]),
    )


def _headed(head: int, values: Numbers) -> Numbers:
    found: Numbers = np.concatenate([[head], values])
    return found


class Market:
    """All cards' bundles, made anew only for cards that changed, and the best swap of one card."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.known: list[Bundles | None] = [None] * layout.sheet.cards

    def changed(self, *cards: int) -> None:
        """Forget what was known of these cards."""
        for card in cards:
            self.known[card] = None

    def of(self, card: int) -> Bundles:
        """The card's bundles."""
        found = self.known[card]
        if found is None:
            found = self.known[card] = bundles(self.layout, card)
        return found

    def swaps(self, card: int, others: list[int], scale: float, barred: Numbers) -> list[Swap]:
        """The best swaps of a card with the others, best first: few, as some may break a rule.

        Loads are measured against ``scale`` times what a card can do; ``barred`` groups stay.
        """
        mine = self.of(card)
        some = [self.of(other) for other in others]
        theirs = Bundles(
            *(
                np.concatenate([getattr(one, name) for one in some])
                for name in ("size", "load", "level", "rest", "first", "second")
            )
        )
        at = np.repeat(others, [len(one.size) for one in some])
        here = np.zeros(self.layout.sheet.groups + 1, bool)
        here[list(self.layout.on[card])] = True
        stays = np.append(barred, False)
        columns = np.flatnonzero(~(here | stays)[theirs.first] & ~(here | stays)[theirs.second])
        rows = np.flatnonzero(~stays[mine.first] & ~stays[mine.second])
        theirs, at = _only(theirs, columns), at[columns]
        table = _Table(self.layout, card, _only(mine, rows), theirs, at, scale)
        return sorted([*table.best(), *table.best_parts()], key=lambda swap: swap.delta)


def _only(some: Bundles, index: Numbers) -> Bundles:
    return Bundles(
        some.size[index],
        some.load[index],
        some.level[index],
        some.rest[index],
        some.first[index],
        some.second[index],
    )


class _Table:
    """All swaps of one card's bundles (rows) with those of other cards (columns)."""

    def __init__(
        self,
        layout: Layout,
        card: int,
        mine: Bundles,
        theirs: Bundles,
        at: Numbers,
        scale: float,
    ) -> None:
        self.layout, self.card, self.mine, self.theirs, self.at = layout, card, mine, theirs, at
        sheet = layout.sheet
        self.speed = float(sheet.speed[card]) * scale
        self.speeds = sheet.speed[at] * scale
        self.busy = float(layout.busy[card])
        self.others = layout.busy[at].astype(float)
        self.room = int(sheet.room[card] - layout.always[card])
        self.rooms = sheet.room[at] - layout.always[at] + theirs.size
        self.count = 1 if sheet.plain else 24

    def _delta(self, mine: Numbers, theirs: Numbers) -> Numbers:
        """Change of the sum of eighth powers of how full two cards are, weighted by speed."""
        before = self.speed * (self.busy / self.speed) ** 8
        befores = self.speeds * (self.others / self.speeds) ** 8
        found: Numbers = self.speed * _eighth(mine / self.speed) - before
        found += self.speeds * _eighth(theirs / self.speeds) - befores
        return found / self.speed

    def _least(self, delta: Numbers, ok: Numbers) -> list[tuple[int, int]]:
        """Row and column of the smallest changes among those that are possible."""
        delta = np.where(ok, delta, np.inf)
        if self.count == 1:
            flat = [int(np.argmin(delta))]
        else:
            count = min(self.count, delta.size)
            some = np.argpartition(delta.ravel(), count - 1)[:count]
            flat = [int(index) for index in some]
        found = [divmod(index, delta.shape[1]) for index in flat]
        return [(row, column) for row, column in found if np.isfinite(delta[row, column])]

    def best(self) -> list[Swap]:
        """Whole bundles against whole bundles."""
        mine, theirs = self.mine, self.theirs
        if not (mine.size.size and theirs.size.size):
            return []
        room = self.room + mine.size[:, None]
        ok = theirs.size[None, :] + np.maximum(mine.rest[:, None], theirs.level[None, :]) <= room
        ok &= (
            mine.size[:, None] + np.maximum(theirs.rest[None, :], mine.level[:, None])
            <= self.rooms[None, :]
        )
        self._forbid_doubles(ok, (mine.first, mine.second))
        flow = (theirs.load[None, :] - mine.load[:, None]).astype(float)
        delta = self._delta(self.busy + flow, self.others[None, :] - flow)
        return [
            Swap(
                self.card,
                int(self.at[column]),
                tuple(int(g) for g in (mine.first[row], mine.second[row]) if g >= 0),
                tuple(int(g) for g in (theirs.first[column], theirs.second[column]) if g >= 0),
                None,
                float(delta[row, column]),
            )
            for row, column in self._least(delta, ok)
        ]

    def best_parts(self) -> list[Swap]:
        """Part of one group's load to a new replica of it, for whatever comes back."""
        sheet, mine, theirs = self.layout.sheet, self.mine, self.theirs
        rows = np.array(
            [
                row
                for row, group in enumerate(mine.first)
                if group >= 0
                and mine.second[row] < 0
                and mine.load[row] > 0
                and len(self.layout.at[group]) < sheet.high[group]
            ],
            dtype=np.int64,
        )
        if not (rows.size and theirs.size.size):
            return []
        group = mine.first[rows]
        level = int(self.layout.level[self.card])
        ok = (theirs.size + np.maximum(level, theirs.level) <= self.room)[None, :] & (
            sheet.always[group][:, None]
            + np.maximum(theirs.rest[None, :], sheet.level[group][:, None])
            <= self.rooms[None, :]
        )
        self._forbid_doubles(ok, (group,))
        busy, others = self.busy + theirs.load, self.others - theirs.load
        even = (busy * self.speeds - others * self.speed) / (self.speed + self.speeds)
        part = np.clip(even[None, :], 0.0, mine.load[rows][:, None])
        part = np.floor(part)
        ok &= part > 0
        delta = self._delta(busy[None, :] - part, others[None, :] + part)
        return [
            Swap(
                self.card,
                int(self.at[column]),
                (int(group[row]),),
                tuple(int(g) for g in (theirs.first[column], theirs.second[column]) if g >= 0),
                int(part[row, column]),
                float(delta[row, column]),
            )
            for row, column in self._least(delta, ok)
        ]

    def _forbid_doubles(self, ok: Numbers, leaving: tuple[Numbers, ...]) -> None:
        """No card holds a group twice."""
        for groups in leaving:
            for row, group in enumerate(groups):
                if group >= 0 and len(self.layout.at[group]) > 1:
                    there = np.zeros(len(self.layout.on), bool)
                    there[list(self.layout.at[group])] = True
                    ok[row] &= ~there[self.at]


def _eighth(values: Numbers) -> Numbers:
    values = values * values
    values *= values
    values *= values
    return values


def apply(layout: Layout, swap: Swap) -> bool:
    """Make the swap; False, and nothing changed, if a rule forbids it."""
    card, other = swap.card, swap.other
    if swap.part is not None:
        _shift(layout, swap.go[0], card, other, swap.part)
        came = [(group, layout.remove(group, other)) for group in swap.come]
        went: list[tuple[int, int]] = []
    else:
        went = [(group, layout.remove(group, card)) for group in swap.go]
        came = [(group, layout.remove(group, other)) for group in swap.come]
    for group, load in went:
        layout.add(group, other, load)
    for group, load in came:
        layout.add(group, card, load)
    if layout.sheet.plain or _keeps_rules(layout, swap):
        return True
    for group, _ in came:
        layout.remove(group, card)
    for group, _ in went:
        layout.remove(group, other)
    for group, load in went:
        layout.add(group, card, load)
    for group, load in came:
        layout.add(group, other, load)
    if swap.part is not None:
        _shift(layout, swap.go[0], other, card, swap.part)
    return False


def _keeps_rules(layout: Layout, swap: Swap) -> bool:
    return (
        layout.legal(swap.card)
        and layout.legal(swap.other)
        and all(layout.spread_kept(group) for group in (*swap.go, *swap.come))
    )


def _shift(layout: Layout, group: int, card: int, other: int, part: int) -> None:
    """Move part of a load; a replica is made where there is none, and one without need goes."""
    left = layout.remove(group, card) - part
    layout.add(group, other, part)
    if left > 0 or not spare(layout.sheet, layout, group):
        layout.add(group, card, left)


def spare(sheet: Sheet, layout: Layout, group: int) -> bool:
    """Whether the group has the replicas and the nodes that it must have."""
    return len(layout.at[group]) >= sheet.low[group] and layout.spread_kept(group)
