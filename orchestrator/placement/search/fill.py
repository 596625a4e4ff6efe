"""Placements made group by group, largest workspace first or hottest last, in a few variants."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.sheet import Numbers, Sheet

Order = Literal["workspace", "choice", "size", "work", "fluid"]
Fit = Literal["tightest", "largest", "balanced", "emptiest", "even"]


@dataclass(frozen=True)
class Variant:
    """One way to fill cards: which group comes next, and which of its cards is best.

    ``tightest`` prefers used cards and opens the smallest new one, ``largest`` opens the largest,
    ``balanced`` leaves memory and time in proportion; ``emptiest`` spreads the load over all cards
    and ``even`` the larger of load and memory, workspace growth counted double.
    """

    order: Order
    fit: Fit


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


def fill(sheet: Sheet, variant: Variant, limit: Numbers, *, soft: bool = False) -> Layout | None:
    """Place every group, cards busy up to ``limit`` units; None when some group finds no card.

    ``soft``: the limit says into how many replicas a load is split, and where no card has time
    left for one, the least busy becomes busier than that.
    Cards with a limit below 0 stay empty.
    """
    layout = Layout(sheet)
    for group in order_of(sheet, variant.order, limit):
        placed = _spread if soft else place
        if not placed(layout, int(group), variant.fit, limit):
            return None
    return layout


def _spread(layout: Layout, group: int, fit: Fit, limit: Numbers) -> bool:
    """Give the group as many equal replicas as its load needs, on cards with memory for them."""
    sheet = layout.sheet
    work, low, high = int(sheet.work[group]), sheet.low[group], sheet.high[group]
    needed = -(-work // max(int(limit.max()), 1))
    count = max(low, min(needed, high))
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
            _best(layout, group, timely, fit, load, limit)
            if len(timely)
            else _best(layout, group, cards, "emptiest", load, limit)
        )
        layout.add(group, card, load)
        work -= load
    return True


def order_of(sheet: Sheet, order: Order, limit: Numbers) -> Numbers:
    """The groups in the order in which they are placed; ties by position, that is by name."""
    size = sheet.always + sheet.level
    keys: tuple[Numbers, ...]
    if order == "workspace":
        keys = (-sheet.work, -sheet.always, -sheet.level)
    elif order == "size":
        keys = (-sheet.work, -size)
    elif order == "work":
        keys = (-sheet.always, -sheet.level, -sheet.work)
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
    layout.add(group, _best(layout, group, cards, "tightest", 0, limit), 0)
    return True


def place(layout: Layout, group: int, fit: Fit, limit: Numbers, load: int | None = None) -> bool:
    """Give the group replicas until count, nodes and demand are served; False if it cannot have.

    ``load``: what is to be served, if it is not all of the group's work.
    """
    sheet = layout.sheet
    left = int(sheet.work[group]) if load is None else load
    low, high, count = sheet.low[group], sheet.high[group], len(layout.at[group])
    while count < low or left > 0:
        if count >= high:
            return False
        ok = open_for(layout, group) & (limit >= 0)
        idle = limit - layout.busy
        want = -(-left // max(1, low - count))
        if count >= low:
            ok &= idle > 0
        full = ok & (idle >= want)
        if full.any():
            card = _best(layout, group, np.flatnonzero(full), fit, want, limit)
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
    if sheet.spread[group] > 1:
        nodes = {int(sheet.node[card]) for card in layout.at[group]}
        if len(nodes) < sheet.spread[group]:
            ok &= ~np.isin(sheet.node, list(nodes))
    return ok


def _best(layout: Layout, group: int, cards: Numbers, fit: Fit, load: int, limit: Numbers) -> int:
    """Of cards that can all take it, the one to take; of equals one that had it, or the first."""
    sheet = layout.sheet
    level = layout.level[cards]
    growth = np.maximum(sheet.level[group] - level, 0)
    room = sheet.room[cards]
    free = room - layout.always[cards] - level - growth - sheet.always[group]
    moved = ~np.isin(cards, list(sheet.homes[group]))
    most = np.maximum(limit[cards], 1)
    fill = layout.busy[cards] / most
    if fit == "emptiest":
        return _least(cards, fill, growth, -free, moved)
    if fit == "even":
        memory = 1 - free / np.maximum(room, 1)
        return _least(cards, np.maximum(memory, fill + load / most) + 2 * growth / room, moved)
    opens = layout.always[cards] + level == 0
    if fit == "largest" and opens.all():
        return _least(cards, growth, -free, moved)
    if fit == "balanced":
        rest = free / np.maximum(room, 1) + (1 - fill - load / most)
        return _least(cards, opens, growth / np.maximum(room, 1) + rest, moved)
    return _least(cards, opens, growth, free, -fill, moved)


def _least(cards: Numbers, *keys: Numbers) -> int:
    """The first card with the smallest keys, compared in turn."""
    left = np.arange(len(cards))
    for key in keys:
        if len(left) == 1:
            break
        some = key[left]
        left = left[some == some.min()]
    return int(cards[left[0]])
