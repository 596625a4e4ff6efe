"""Every copy gets a card before pairs of cards are divided or sets are traded; some find none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.placement.search.fill import open_for
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.outline import outline
from orchestrator.placement.search.sheet import Numbers, Sheet

#: A copy is hot that takes more than this share of the fastest card's time; and by what share of
#: its own a card must be busier to be no longer as good as another.
_HOT, _LIKE = 0.3, 64


@dataclass(frozen=True)
class Seats:
    """A layout, and the copies without a place in it."""

    layout: Layout
    homeless: list[int]


def equal_load(sheet: Sheet, copies: Sequence[int], group: int) -> int:
    """What each of so many copies of a group has to do."""
    return -(-int(sheet.work[group]) // max(copies[group], 1))


def seated(
    sheet: Sheet,
    copies: Sequence[int],
    cards: Sequence[int],
    limit: Numbers | None = None,
) -> Seats:
    """So many copies of each group on these cards, the largest workspaces first.

    Each goes to the roomiest card with memory for it. With a ``limit``, units that cards may have,
    hot ones come before all others, each where it is least busy, and of such cards where its
    workspace makes least of a difference; then the card is to have time, too, or where none has
    any, it is the least busy.
    """
    seats = _Seating(sheet, copies, cards, limit)
    order = np.lexsort((np.arange(sheet.groups), -sheet.always, -sheet.level)).tolist()
    loads = [equal_load(sheet, copies, group) for group in order]
    most = math.inf if limit is None else _HOT * sheet.fastest
    hot = {group: load for group, load in zip(order, loads, strict=True) if load > most}
    seats.seat_hot(sorted(hot, key=lambda group: -hot[group]))
    for group in order:
        for _ in range(0 if group in hot else copies[group]):
            seats.settle(group)
    return Seats(seats.layout, seats.homeless)


class _Seating:
    def __init__(
        self, sheet: Sheet, copies: Sequence[int], cards: Sequence[int], limit: Numbers | None
    ) -> None:
        self.layout, self.copies, self.limit = Layout(sheet), copies, limit
        self.homeless: list[int] = []
        #: The roomiest first: they take the largest workspaces.
        self.cards = sorted(cards, key=lambda card: (-int(sheet.room[card]), card))

    def seat_hot(self, groups: Sequence[int]) -> None:
        layout, sheet = self.layout, self.layout.sheet
        limit = np.full(sheet.cards, -1, np.int64)
        limit[self.cards] = sheet.speed[self.cards]
        planned = outline(sheet, np.array(self.copies), limit)
        for group in [hot for hot in groups for _ in range(self.copies[hot])]:
            ok = open_for(layout, group) & (limit >= 0)
            if not ok.any():
                self.homeless.append(group)
                continue
            load = equal_load(sheet, self.copies, group)
            level = np.maximum(planned, layout.level)
            growth = np.maximum(sheet.level[group] - level, 0)
            full = (layout.busy + load) * _LIKE // sheet.speed
            card = np.lexsort((level, growth, full, ~ok))[0]
            layout.add(group, int(card), load)

    def settle(self, group: int) -> None:
        """On the first card that takes it and has time for it, else on the least busy."""
        layout, cards = self.layout, self.cards
        load = equal_load(layout.sheet, self.copies, group)
        ok = open_for(layout, group)[cards]
        if not ok.any():
            self.homeless.append(group)
            return
        timely = ok if self.limit is None else ok & (layout.busy[cards] + load <= self.limit[cards])
        full = np.where(ok, layout.busy[cards] / layout.sheet.speed[cards], np.inf)
        layout.add(group, cards[int(np.argmax(timely) if timely.any() else np.argmin(full))], load)
