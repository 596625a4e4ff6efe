"""Whether whole groups fill what a hot copy leaves of its card, in the time that it leaves.

A group of which free memory takes no copy more than its work forces is hot where each leaves its
card little time. What is beside one must fill the card's memory, but for the bytes that may be
free, and take no more time: a knapsack of whole groups. The card's workspace is that of some group
on it. With each that it may be, the workspaces of all cards have a least sum, and what is more than
at best comes off the bytes that may be free.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.placement.search.bounds import SLACK, Items, Numbers

#: The parts of the roomiest card in which bytes are counted, and how many of those for all groups.
_PARTS, _WORK = 60_000, 50_000_000
#: The hot groups that leave least time, and the kinds of cards, that are looked at.
_MOST_HOT, _MOST_KINDS = 8, 4


@dataclass(frozen=True)
class Forced:
    """What some ``scale`` of the demand forces: ``copies`` of the groups, and falling workspaces.

    ``free``: bytes of all cards that neither takes.
    """

    scale: float
    copies: Numbers
    levels: tuple[int, ...]
    free: float


class Knapsacks:
    """The groups as things to fill a card with, from the smallest workspace up."""

    def __init__(self, items: Items, room: Numbers, speed: Numbers) -> None:
        self.items = items
        self.kinds = sorted(set(zip(room.astype(np.int64).tolist(), speed.tolist(), strict=True)))
        roomy = float(room.max(initial=0.0))
        parts = min(_PARTS, _WORK // max(len(items.always), 1))
        self.fast, self.unit = float(speed.max(initial=0.0)), max(roomy / max(parts, 1), 1.0)
        self.sizes = np.rint(items.always / self.unit).astype(np.int64)
        self.order: list[int] = items.order[::-1].tolist()

    def possible(self, forced: Forced) -> bool:
        """False if no set fits beside the copies of some hot group."""
        work = self.items.work * forced.scale * (1 - SLACK)
        busy, copies = np.ceil(work / self.fast), forced.copies
        hot = np.flatnonzero(
            (copies * self.fast - work < self.fast / 2)
            & (work > 0)
            & (self.items.always > forced.free)
        )
        if not len(hot) or len(self.kinds) > _MOST_KINDS:
            return True
        # What the least busy of its copies does at least; the others may do nothing at all.
        part = np.where(copies > busy, 0.0, np.maximum(work - (busy - 1) * self.fast, 0.0))
        each = work[hot] / copies[hot]
        rank = np.argsort(-each, kind="stable")[:_MOST_HOT]
        return all(
            _Beside(self, forced, part, int(group), float(time)).possible()
            for group, time in zip(hot[rank], each[rank], strict=True)
        )


class _Beside:
    """What may be beside the busiest copy of a hot group: it does ``time`` or more."""

    def __init__(
        self, knapsacks: Knapsacks, forced: Forced, part: Numbers, hot: int, time: float
    ) -> None:
        self.of, self.forced, self.part, self.hot = knapsacks, forced, part, hot
        self.left = [speed - time for _, speed in knapsacks.kinds]
        self.may = part <= max(self.left)
        self.may[hot] = False
        self.off = self._off()
        #: The least work of groups that fill so many units, as they are rounded.
        self.least = np.full(int(knapsacks.kinds[-1][0] / knapsacks.unit) + 2 + self.off, np.inf)
        self.least[0] = 0.0

    def possible(self) -> bool:
        """Whether some set fits, whoever of it has the largest workspace."""
        items, free = self.of.items, self.forced.free
        level, always = items.level, items.always
        asked = False
        for group in self.of.order:
            if level[group] > level[self.hot]:
                if not asked and self._fits(self.hot, with_it=False):
                    return True
                asked = True
                if self.may[group] and self._fits(group, with_it=True):
                    return True
                # One copy more of it may be here for its workspace, and do nothing.
                if always[group] <= free and self._fits(group, with_it=False):
                    return True
            if self.may[group]:
                self._put(int(self.of.sizes[group]), float(self.part[group]))
        return not asked and self._fits(self.hot, with_it=False)

    def _off(self) -> int:
        """How many units rounding can be off, for as many groups as fit on a card."""
        always, room = self.of.items.always[self.may], self.of.kinds[-1][0]
        off = np.sort(np.abs(self.of.sizes[self.may] - always / self.of.unit))[::-1]
        most = np.searchsorted(np.cumsum(np.sort(always)), room, side="right")
        return int(np.ceil(off[:most].sum())) + 1

    def _put(self, size: int, work: float) -> None:
        """Let one more group be among those that fill the card."""
        if 0 < size < len(self.least):
            filled = self.least[:-size] + work
            np.minimum(self.least[size:], filled, out=self.least[size:])

    def _fits(self, group: int, *, with_it: bool) -> bool:
        """Whether a set fits where the group has the largest workspace.

        ``with_it``: the set is filled up by the group itself; else that takes none of its time.
        """
        free = self.forced.free
        for kind in range(len(self.left)):
            if self._work(group, kind, free, with_it=with_it) <= self.left[kind]:
                spare = free - self._excess(group, kind, with_it=with_it)
                if self._work(group, kind, spare, with_it=with_it) <= self.left[kind]:
                    return True
        return False

    def _work(self, group: int, kind: int, spare: float, *, with_it: bool) -> float:
        """The least work of a set that leaves at most ``spare`` bytes of a card empty."""
        items, unit = self.of.items, self.of.unit
        room = self.of.kinds[kind][0] - int(items.always[self.hot]) - int(items.level[group])
        own = int(self.of.sizes[group]) if with_it else 0
        more = 0 if with_it or group == self.hot else int(items.always[group])
        if spare < more:
            return float("inf")
        low = int((room - spare) // unit) - self.off - own
        high = int(-((more - room) // unit)) + self.off - own
        if high < max(low, 0):
            return float("inf")
        found = self.least[max(low, 0) : high + 1].min(initial=np.inf)
        return float(found) + (float(self.part[group]) if with_it else 0.0)

    def _excess(self, group: int, kind: int, *, with_it: bool) -> float:
        """By how much the workspaces of all cards are more if this card's is that of the group.

        The card takes what may be on it, the largest workspaces first; what is left opens the
        others, the roomiest first. Without its work the group is on another card too.
        """
        items, forced, order = self.of.items, self.forced, self.of.items.order
        rooms, level = list(items.rooms), int(items.level[group])
        mine, room = list(forced.levels), self.of.kinds[kind][0]
        rooms.remove(room)
        copies = forced.copies.astype(np.int64)
        copies[self.hot] -= 1
        needs = (items.always * copies)[order]
        here = self.may & (items.level <= level)
        here[group] &= with_it
        sizes = np.where(here[order], np.minimum(items.always[order], needs), 0)
        taken = np.minimum(np.cumsum(sizes), max(room - int(items.always[self.hot]) - level, 0))
        theirs = _opened(np.cumsum(needs) - taken, items.level[order], rooms)
        if theirs is None:
            return float("inf")
        # All cards' are at least both, one by one in falling order, and one of them is this one.
        both = [sorted([*theirs, level], reverse=True), sorted(mine, reverse=True)]
        padded = [[*found, *[0] * (len(items.rooms) - len(found))] for found in both]
        least = list(map(max, *padded))
        at = next((index for index, found in enumerate(least) if found <= level), None)
        return float("inf") if at is None else float(sum(least) - least[at] + level - sum(mine))


def _opened(needs: Numbers, levels: Numbers, rooms: Sequence[int]) -> list[int] | None:
    """The workspaces that these cards open at; None where something has no room on the next.

    ``needs`` are summed up, of groups with falling ``levels``.
    """
    opened, filled, sums = [], 0, needs.tolist()
    for room in rooms:
        first = bisect_right(sums, filled)
        if first == len(sums):
            break
        level = int(levels[first])
        if level >= room:
            return None
        opened.append(level)
        filled += room - level
    return opened if filled >= sums[-1] else None
