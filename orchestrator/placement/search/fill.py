"""Placements made group by group, largest workspace first or hottest last, in a few variants."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.outline import outline
from orchestrator.placement.search.sheet import Numbers, Sheet

Order = Literal["workspace", "choice", "size", "work", "fluid", "need", "wide"]
Fit = Literal["tightest", "largest", "balanced", "emptiest", "even", "steep"]
#: How many times its size a workspace counts in the order ``wide``.
_WIDE = 3
#: Groups that are placed between two looks at the clock.
_BETWEEN = 128


@dataclass(frozen=True)
class Variant:
    """One way to fill cards: which group comes next, and which of its cards is best.

    ``tightest`` prefers used cards and opens the smallest new one, ``largest`` opens the largest,
    ``balanced`` leaves memory and time in proportion; ``emptiest`` spreads the load over all cards
    and ``even`` the larger of load and memory, workspace growth counted double. ``steep`` takes the
    card where the fourth powers of how full its memory and its time are rise least: what has more
    left of either takes what needs more of it. It knows beforehand about which workspace each card
    is to have, and counts what goes beyond that ``growth`` times. ``share``: of what a card can do,
    the most that one replica of a load does that is split.
    """

    order: Order
    fit: Fit
    growth: float = 2.0
    share: float = 1.0


FEW: tuple[Variant, ...] = tuple(
    Variant(order, fit)
    for order in ("workspace", "choice", "size", "work")
    for fit in ("tightest", "balanced", "largest")
)
EVEN: tuple[Variant, ...] = tuple(
    Variant(order, "even") for order in ("size", "choice", "fluid", "workspace")
)
#: The cold ones first, then the load of the hot ones levels what they leave.
FLUID = Variant("fluid", "even")
#: What needs many cards first, then whatever fits beside it.
HOT = Variant("work", "even")
#: What fills memory and time together on as few cards as hold both.
STEEP: tuple[Variant, ...] = (
    Variant("need", "steep", 4.0, 0.95),
    Variant("size", "steep", 16.0, 0.95),
    Variant("wide", "steep", 16.0, 0.95),
)
#: The same where cards are given: with more copies of what is hot.
LEVEL = Variant("need", "steep", 4.0, 0.8)


def _never() -> bool:
    return False


def fill(
    sheet: Sheet,
    variant: Variant,
    limit: Numbers,
    *,
    soft: bool = False,
    late: Callable[[], bool] = _never,
) -> Layout | None:
    """Place every group, cards busy up to ``limit`` units; None when some group finds no card.

    ``soft``: the limit says into how many replicas a load is split, and where no card has time
    left for one, the least busy becomes busier than that.
    Cards with a limit below 0 stay empty. Once it is ``late``, nothing is found.
    """
    layout = Layout(sheet)
    copies = copies_of(sheet, limit, variant.share)
    chooser = _Chooser(
        variant, limit, outline(sheet, copies, limit) if variant.fit == "steep" else None
    )
    for index, group in enumerate(order_of(sheet, variant.order, limit, copies).tolist()):
        if index % _BETWEEN == 0 and late():
            return None
        if soft:
            placed = _spread(layout, group, chooser, int(copies[group]))
        else:
            placed = _place(layout, group, chooser, int(sheet.work[group]))
        if not placed:
            return None
    return layout


def copies_of(sheet: Sheet, limit: Numbers, share: float) -> Numbers:
    """The replicas that each group's load needs where one does at most this share of a card's."""
    most = max(int(int(limit.max()) * share), 1)
    found: Numbers = np.maximum(np.minimum(-(-sheet.work // most), sheet.high), sheet.low)
    return found


def _spread(layout: Layout, group: int, chooser: "_Chooser", count: int) -> bool:
    """Give the group so many equal replicas, on cards with memory for them."""
    sheet, limit = layout.sheet, chooser.limit
    work, low = int(sheet.work[group]), sheet.low[group]
    for left in range(count, 0, -1):
        cards = np.flatnonzero(open_for(layout, group) & (limit >= 0))
        if not len(cards):
            if count - left < low:
                return False
            some = sorted(layout.at[group])[0]
            layout.add(group, some, work)
            return True
        load = -(-work // left)
        timely = cards[(layout.busy[cards] + load <= limit[cards]) | (load == 0)]
        card = (
            chooser.best(layout, group, timely, load)
            if len(timely)
            else _Chooser(Variant("work", "emptiest"), limit).best(layout, group, cards, load)
        )
        layout.add(group, card, load)
        work -= load
    return True


def order_of(sheet: Sheet, order: Order, limit: Numbers, copies: Numbers) -> Numbers:
    """The groups in the order in which they are placed; ties by position, that is by name."""
    size = sheet.always + sheet.level
    keys: tuple[Numbers, ...]
    if order == "workspace":
        keys = (-sheet.work, -sheet.always, -sheet.level)
    elif order == "size":
        keys = (-sheet.work, -size)
    elif order == "work":
        keys = (-sheet.always, -sheet.level, -sheet.work)
    elif order in ("need", "wide"):
        wide = sheet.level * (_WIDE if order == "wide" else 1)
        each = sheet.work / np.maximum(copies, 1) / max(int(limit.max()), 1)
        keys = (-sheet.always, -((sheet.always + wide) / max(int(sheet.room.max()), 1) + each))
    elif order == "choice":
        choice = [sheet.cards if mask is None else int(mask.sum()) for mask in sheet.allowed]
        keys = (-sheet.always, -sheet.level, np.array(choice))
    else:
        # Cold groups by their largest need; the hot ones, which can be split, last.
        most = max(int(limit.max()), 1)
        need = np.maximum(size / max(int(sheet.room.max()), 1), sheet.work / most)
        keys = (-sheet.always, -need, sheet.work > 0.3 * most)
    found: Numbers = np.lexsort((np.arange(sheet.groups), *keys))
    return found


def stack(layout: Layout, group: int, limit: Numbers) -> bool:
    """One replica more, without load, on the card that suits it best; False if there is none."""
    cards = np.flatnonzero(open_for(layout, group) & (limit >= 0))
    if not len(cards) or len(layout.at[group]) >= layout.sheet.high[group]:
        return False
    chooser = _Chooser(Variant("work", "tightest"), limit)
    layout.add(group, chooser.best(layout, group, cards, 0), 0)
    return True


def place(layout: Layout, group: int, fit: Fit, limit: Numbers, load: int) -> bool:
    """Give the group replicas until count, nodes and this load are served; False if it cannot."""
    return _place(layout, group, _Chooser(Variant("work", fit), limit), load)


def _place(layout: Layout, group: int, chooser: "_Chooser", left: int) -> bool:
    sheet, limit = layout.sheet, chooser.limit
    low, high, count = sheet.low[group], sheet.high[group], len(layout.at[group])
    while (lacks := count < low or not layout.on_nodes(group)) or left > 0:
        if count >= high:
            return False
        ok = open_for(layout, group) & (limit >= 0)
        idle = limit - layout.busy
        want = -(-left // max(1, low - count))
        if not lacks:
            ok &= idle > 0
        full = ok & (idle >= want)
        if full.any():
            card = chooser.best(layout, group, np.flatnonzero(full), want)
            taken = want
        elif ok.any():
            card = int(np.argmax(np.where(ok, idle, -1)))
            taken = max(0, min(want, int(idle[card])))
            if not ok[card]:
                return False
        else:
            return False
        layout.add(group, card, taken)
        left, count = left - taken, count + 1
    return True


def open_for(layout: Layout, group: int) -> Numbers:
    """The cards that may take one more replica; only new nodes while the group must spread."""
    ok, sheet = layout.fitting(group), layout.sheet
    if not layout.on_nodes(group):
        ok &= ~np.isin(sheet.node, [sheet.node[card] for card in layout.at[group]])
    return ok


@dataclass(frozen=True)
class _Chooser:
    """Which card is best; ``planned``: about the workspace that each card is to have."""

    variant: Variant
    limit: Numbers
    planned: Numbers | None = None

    def best(self, layout: Layout, group: int, cards: Numbers, load: int) -> int:
        """Of cards that can all take it, the one; of equals one that had it, or the first."""
        sheet, fit = layout.sheet, self.variant.fit
        level = layout.level[cards]
        if self.planned is not None:
            level = np.maximum(level, self.planned[cards])
        growth = np.maximum(sheet.level[group] - level, 0)
        room = sheet.room[cards]
        free = room - layout.always[cards] - level - growth - sheet.always[group]
        moved = ~np.isin(cards, list(sheet.homes[group]))
        most = np.maximum(self.limit[cards], 1)
        fill = layout.busy[cards] / most
        if fit == "emptiest":
            return _least(cards, fill, growth, -free, moved)
        grows = growth / np.maximum(room, 1)
        if fit == "even":
            memory = 1 - free / np.maximum(room, 1)
            return _least(cards, np.maximum(memory, fill + load / most) + 2 * grows, moved)
        if fit == "steep":
            after = 1 - free / np.maximum(room, 1)
            before = after - (sheet.always[group] + growth) / np.maximum(room, 1)
            rise = _fourth(after) - _fourth(before) + _fourth(fill + load / most) - _fourth(fill)
            return _least(cards, rise + self.variant.growth * grows, moved)
        opens = layout.always[cards] + layout.level[cards] == 0
        if fit == "largest" and opens.all():
            return _least(cards, growth, -free, moved)
        if fit == "balanced":
            rest = free / np.maximum(room, 1) + (1 - fill - load / most)
            return _least(cards, opens, grows + rest, moved)
        return _least(cards, opens, growth, free, -fill, moved)


def _fourth(values: Numbers) -> Numbers:
    square = values * values
    found: Numbers = square * square
    return found


def _least(cards: Numbers, *keys: Numbers) -> int:
    """The first card with the smallest keys, compared in turn."""
    left = np.arange(len(cards))
    for key in keys:
        if len(left) == 1:
            break
        some = key[left]
        left = left[some == some.min()]
    return int(cards[left[0]])
