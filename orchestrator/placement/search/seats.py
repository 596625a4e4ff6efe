"""Every copy gets a card before pairs of cards are divided or sets are traded; some find none."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.placement.search.fill import open_for
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.outline import outline
from orchestrator.placement.search.pairs import THIN
from orchestrator.placement.search.sheet import Numbers, Sheet
from orchestrator.placement.search.snug import snug

#: A copy is hot that takes more than this share of the fastest card's time; and by what share of
#: its own a card must be busier to be no longer as good as another.
_HOT, _LIKE = 0.3, 64
#: What of its time a card keeps for what is to fill its memory: shares of what so many bytes take
#: on average. With none, time is spent on large workspaces, and nothing fills what is left. Where
#: few models share a card only the first: there is no choice of what is to fill it.
_KEPT = (0.0, 0.03, 0.06, 0.12, 0.25, 0.4, 0.55, 0.7)
#: The share of a card's time that hot copies take of one that is filled before all others.
_FULL = 0.8
#: The bytes that a card's time beyond its limit counts as much as, as a share of the roomiest's.
_OVER = 0.25


@dataclass(frozen=True)
class Seats:
    """A layout, and the copies without a place in it."""

    layout: Layout
    homeless: list[int]


def equal_load(sheet: Sheet, copies: Sequence[int], group: int) -> int:
    """What each of so many copies of a group has to do."""
    return -(-int(sheet.work[group]) // max(copies[group], 1))


def seated(sheet: Sheet, copies: Sequence[int], cards: Sequence[int]) -> Seats:
    """So many copies of each group on these cards, the largest workspaces first.

    Each goes to the roomiest card with memory for it.
    """
    seating = _Seating(sheet, copies, cards, Layout(sheet))
    for group in seating.order:
        for _ in range(copies[group]):
            seating.settle(group, -sheet.room)
    return Seats(seating.layout, seating.homeless)


def seated_in_time(
    sheet: Sheet, copies: Sequence[int], cards: Sequence[int], limit: Numbers
) -> Seats:
    """So many copies of each group on these cards, which may be busy up to ``limit`` units.

    Hot ones come before all others, each where it is least busy, and of such cards where its
    workspace makes least of a difference. Where many models share a card, what hot copies leave of
    theirs is filled next. Then card by card is filled, with the largest workspaces, in some ways:
    the one stays that needs least memory and time. What is left then goes where there is memory for
    it, and least to do.
    """
    first = _Seating(sheet, copies, cards, Layout(sheet))
    hot = [group for group in first.order if first.load[group] > _HOT * sheet.fastest]
    rest = [group for group in first.order if first.load[group] <= _HOT * sheet.fastest]
    first.seat_hot(sorted(hot, key=lambda group: -first.load[group]))
    thin = sheet.groups <= THIN * len(cards)
    filled = [] if thin else first.fill_beside(rest, limit)
    found = []
    for kept in _KEPT[:1] if thin else _KEPT:
        seating = _Seating(sheet, copies, cards, first.layout.copy())
        seating.homeless = list(first.homeless)
        seating.fill(rest, limit, kept, filled)
        found.append(Seats(seating.layout, seating.homeless))
    return min(found, key=lambda seats: _cost(seats, cards, limit))


def _cost(seats: Seats, cards: Sequence[int], limit: Numbers) -> float:
    """Bytes of those without a place and of workspaces, and of time beyond the limit."""
    layout, sheet = seats.layout, seats.layout.sheet
    over = np.maximum(layout.busy[cards] / limit[cards] - 1, 0).sum()
    needed = sheet.always[seats.homeless].sum() + layout.level.sum()
    return float(needed + _OVER * over * sheet.room.max())


class _Seating:
    """``load``: what a copy of each group has to do."""

    def __init__(
        self, sheet: Sheet, copies: Sequence[int], cards: Sequence[int], layout: Layout
    ) -> None:
        self.layout, self.copies = layout, copies
        self.homeless: list[int] = []
        self.among = np.zeros(sheet.cards, bool)
        self.among[list(cards)] = True
        self.order = np.lexsort((np.arange(sheet.groups), -sheet.always, -sheet.level)).tolist()
        self.load = [equal_load(sheet, copies, group) for group in range(sheet.groups)]

    def _planned(self) -> Numbers:
        """By card, the workspace that it is to have, or has."""
        sheet, copies = self.layout.sheet, np.array(self.copies)
        planned = outline(sheet, copies, np.where(self.among, sheet.speed, -1))
        found: Numbers = np.maximum(planned, self.layout.level)
        return found

    def seat_hot(self, groups: Sequence[int]) -> None:
        """Each copy where it is least busy, and its workspace makes the least of a difference."""
        layout, sheet = self.layout, self.layout.sheet
        planned = self._planned()
        for group in [hot for hot in groups for _ in range(self.copies[hot])]:
            ok = self.among & open_for(layout, group)
            if not ok.any():
                self.homeless.append(group)
                continue
            level = np.maximum(planned, layout.level)
            growth = np.maximum(sheet.level[group] - level, 0)
            full = (layout.busy + self.load[group]) * _LIKE // sheet.speed
            card = np.lexsort((level, growth, full, ~ok))[0]
            layout.add(group, int(card), self.load[group])

    def fill_beside(self, groups: Sequence[int], limit: Numbers) -> list[int]:
        """Fill the cards of which hot copies take most time; which those are.

        The busiest first, with groups that have one copy and a workspace that the card is to have,
        and where a share of the time counts as much as that of the memory.
        """
        layout, sheet = self.layout, self.layout.sheet
        planned, load = self._planned(), np.array(self.load)
        full = np.where(self.among, layout.busy / limit, 0.0)
        cards = [c for c in np.argsort(-full, kind="stable").tolist() if full[c] > _FULL]
        byte = sheet.fastest / float(sheet.room.max())
        waiting = np.array([group for group in groups if self.copies[group] == 1], np.int64)
        for card in cards:
            left, level = int(limit[card] - layout.busy[card]), int(planned[card])
            some = waiting[(load[waiting] <= left) & (sheet.level[waiting] <= level)]
            room = int(sheet.room[card] - layout.always[card]) - level
            taken = snug(sheet.always[some], load[some] / byte, room, left / byte)
            for group in some[taken].tolist():
                if sheet.plain or open_for(layout, group)[card]:
                    layout.add(group, card, self.load[group])
            waiting = np.array([g for g in waiting.tolist() if not layout.at[g]], np.int64)
        return cards

    def fill(
        self, groups: Sequence[int], limit: Numbers, kept: float, filled: Sequence[int] = ()
    ) -> None:
        """Fill card by card in time; what is left goes to the least busy that takes it."""
        sheet = self.layout.sheet
        waiting, left = np.array(groups, np.int64), np.array(self.copies, np.int64)
        left[waiting] -= np.array([len(self.layout.at[group]) for group in groups], np.int64)
        load, empty = np.array(self.load), self.among.copy()
        empty[list(filled)] = False
        waiting = waiting[left[waiting] > 0]
        while len(waiting) and empty.any():
            card = self._next(empty, int(sheet.level[waiting[0]]))
            empty[card] = False
            many = left[waiting]
            common = float(
                (many * load[waiting]).sum() / max((many * sheet.always[waiting]).sum(), 1)
            )
            for group in self._taken(card, waiting, load[waiting], int(limit[card]), kept * common):
                left[group] -= 1
            waiting = waiting[left[waiting] > 0]
        for group in waiting.tolist():
            for _ in range(left[group]):
                self.settle(group, self.layout.busy / sheet.speed)

    def _next(self, empty: Numbers, level: int) -> int:
        """The roomiest card; of those the one with most of such a workspace, or the least busy."""
        layout, room = self.layout, np.where(empty, self.layout.sheet.room, -1)
        least = np.where(layout.level >= level, -layout.level, layout.busy)
        return int(np.lexsort((least, -room))[0])

    def _taken(
        self, card: int, groups: Numbers, load: Numbers, limit: int, each: float
    ) -> list[int]:
        """Those that the card takes in this order, and keeps ``each`` unit for a byte left."""
        layout, sheet = self.layout, self.layout.sheet
        always, level = sheet.always[groups], sheet.level[groups]
        taken: list[int] = []
        at = 0
        while at < len(groups):
            free = sheet.room[card] - layout.always[card] - always[at:]
            free -= np.maximum(level[at:], layout.level[card])
            ok = (free >= 0) & (limit - layout.busy[card] - load[at:] >= each * free)
            if not ok.any():
                break
            at += int(np.argmax(ok))
            group = int(groups[at])
            if sheet.plain or open_for(layout, group)[card]:
                layout.add(group, card, int(load[at]))
                taken.append(group)
            at += 1
        return taken

    def settle(self, group: int, least: Numbers) -> None:
        """On the card with memory for it of which this is least, by card."""
        ok = self.among & open_for(self.layout, group)
        if ok.any():
            card = int(np.argmin(np.where(ok, least, np.inf)))
            self.layout.add(group, card, self.load[group])
        else:
            self.homeless.append(group)
