"""Placements made card by card: each takes the groups that suit what it has left.

The dot product of what a group needs and what the card has left is large for groups that need most
of what there is most of, so that memory and time run out together.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.sheet import Numbers, Sheet


@dataclass(frozen=True)
class Taste:
    """How a card chooses.

    ``bonus`` for bringing a large workspace early; whether a full card takes a slice of a load;
    whether a card starts with the largest workspace or with the best score.
    """

    bonus: float
    split: bool
    seeded: bool


TASTES: tuple[Taste, ...] = tuple(
    Taste(bonus, split, seeded)
    for seeded in (True, False)
    for bonus in (0.3, 0.0, 1.0, 3.0)
    for split in (True, False)
)


def pack(
    sheet: Sheet, taste: Taste, limit: Numbers, late: Callable[[], bool] = lambda: False
) -> Layout | None:
    """Fill one card after the other, the largest first; None when some group finds no card.

    Once it is ``late``, nothing is found.
    """
    run = _Run(sheet, taste, limit)
    order = np.lexsort((np.arange(sheet.cards), -limit, -sheet.room, limit < 0))
    for card in order:
        if limit[card] < 0 or not run.waiting.any():
            break
        if late():
            return None
        run.fill(int(card))
    layout = run.layout
    if run.waiting.any() or not all(layout.spread_kept(g) for g in range(sheet.groups)):
        return None
    return layout


class _Run:
    """What is left to place; weights follow what is scarcer among it."""

    def __init__(self, sheet: Sheet, taste: Taste, limit: Numbers) -> None:
        self.sheet = sheet
        self.taste = taste
        self.limit = limit
        self.layout = Layout(sheet)
        self.rest = sheet.work.copy()
        self.copies = np.array(sheet.low)
        self.spare = np.array(sheet.high)
        self.waiting = (self.copies > 0) | (self.rest > 0)

    def fill(self, card: int) -> None:
        """Add groups to the card until none fits."""
        sheet, layout = self.sheet, self.layout
        refused = np.zeros(sheet.groups, bool)
        memory, time = self._weights()
        while True:
            found = self._scores(card, refused, memory, time)
            if found is None:
                return
            group, load = found
            if sheet.plain or layout.fitting(group)[card]:
                layout.add(group, card, load)
                self.rest[group] -= load
                self.copies[group] -= 1
                self.spare[group] -= 1
                self.waiting[group] = self.copies[group] > 0 or self.rest[group] > 0
            refused[group] = True

    def _weights(self) -> tuple[float, float]:
        sheet = self.sheet
        need = float(sheet.always[self.waiting].sum()) / max(float(sheet.room.mean()), 1.0)
        work = float(self.rest.sum()) / max(float(self.limit.mean()), 1.0)
        return need / max(need + work, 1e-9), work / max(need + work, 1e-9)

    def _scores(
        self, card: int, refused: Numbers, memory: float, time: float
    ) -> tuple[int, int] | None:
        """The group that suits the card best, and how much of its load; None if none fits."""
        sheet, layout = self.sheet, self.layout
        room, full = max(int(sheet.room[card]), 1), max(int(self.limit[card]), 1)
        level = int(layout.level[card])
        free, idle = room - int(layout.always[card]) - level, full - int(layout.busy[card])
        index = np.flatnonzero(self.waiting & ~refused & (sheet.always <= free))
        growth = np.maximum(sheet.level[index] - level, 0)
        rest = self.rest[index]
        load = np.minimum(rest // np.maximum(self.copies[index], 1), max(idle, 0))
        whole = rest <= idle
        ok = sheet.always[index] + growth <= free
        ok &= (self.spare[index] > 1) | whole
        ok &= (load > 0) | (rest == 0) | (self.copies[index] > 1)
        if not self.taste.split:
            ok &= whole | (rest > full) | (self.copies[index] > 1)
        if not ok.any():
            return None
        index, growth, load = index[ok], growth[ok], load[ok]
        if self.taste.seeded and not layout.on[card]:
            best = np.lexsort((index, -sheet.always[index], -sheet.level[index]))[0]
        else:
            score = memory * sheet.always[index] / room * (free / room)
            score += time * load / full * (idle / full)
            score += 0.05 * self.taste.bonus * (sheet.level[index] / room) - growth / room
            best = np.argmax(score)
        return int(index[best]), int(load[best])
