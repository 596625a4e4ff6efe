"""More copies where memory and time are left, and the loads divided exactly over all of them.

A card that is full of memory and not of time keeps a pair of cards from being divided better. A
copy of what the fullest cards hold, on a card that has room for it, takes load off all of these.
"""

import numpy as np

from orchestrator.placement.search.balance import Budget, trim
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.loads import Split, split_loads
from orchestrator.placement.search.sheet import Numbers

#: The least steps that a linear program for the loads counts for; it is one for each group.
STEPS = 40
#: Programs that are solved at most.
_ROUNDS = 12
#: A peak that is not lower by this share is no better, and a price below this is none.
_LITTLE, _FREE = 1e-6, 1e-9


def copied(layout: Layout, target: float, budget: Budget) -> Layout:
    """The placement with copies of the busiest where there is room, as long as its peak falls.

    Ends at a peak of ``target``. The layout is not changed.
    """
    best, split = layout.copy(), _split(layout)
    poured(best, split)
    trim(best)
    for _ in range(_ROUNDS):
        if best.peak() <= target or not budget.spend(max(STEPS, layout.sheet.groups)):
            break
        grown = best.copy()
        if not _grow(grown, split):
            break
        found = _split(grown)
        if not _alpha(found) > _alpha(split) * (1 + _LITTLE):
            break
        poured(grown, found)
        best, split = grown, found
    trim(best)
    return best


def _split(layout: Layout) -> Split:
    return split_loads(layout.sheet.world, layout.tallies(), balance=False)


def _alpha(split: Split) -> float:
    return split.alpha or 0.0


def poured(layout: Layout, split: Split) -> None:
    """Give every copy of what has several the part of the load that it has in the split."""
    world, sheet = layout.sheet.world, layout.sheet
    held = [dict(groups) for groups in layout.on]
    for group, cards in enumerate(layout.at):
        if len(cards) < 2 or not sheet.work[group]:
            continue
        models, order = world.groups[group].models, sorted(cards)
        parts = [
            sum(
                split.rps.get((model.name, world.cards[card].name), 0.0) * model.service_ms
                for model in models
            )
            for card in order
        ]
        left, rest = int(sheet.work[group]), sum(parts)
        for card, part in zip(order, parts, strict=True):
            load = left if card == order[-1] else min(left, round(left * part / max(rest, 1e-300)))
            held[card][group] = load
            left, rest = left - load, rest - part
    for card, groups in enumerate(held):
        if groups != layout.on[card]:
            layout.refill(card, groups)


def _grow(layout: Layout, split: Split) -> bool:
    """Copies of what is on full cards, on cards that cost nothing more; False if none goes.

    A card without a price has time left, or shares a group with one that has: as many copies go
    there as may take up all the time that is left.
    """
    sheet, grown = layout.sheet, False
    prices = np.array([split.card_price.get(card.name, 0.0) for card in sheet.world.cards])
    full = prices > _FREE * prices.max()
    idle = np.floor(sheet.speed * layout.peak()) - layout.busy
    left, relief = float(idle.sum()), np.zeros(sheet.groups)
    for card in np.flatnonzero(full).tolist():
        for group, load in layout.on[card].items():
            relief[group] += load
    free = sheet.room - layout.always - layout.level
    for card in np.lexsort((np.arange(sheet.cards), -free, -idle)).tolist():
        group = None if full[card] or left <= 0 else _wanted(layout, card, np.minimum(relief, left))
        if group is not None:
            layout.add(group, card, 0)
            part = min(float(relief[group]), left)
            left, relief[group], grown = left - part, relief[group] - part, True
    return grown


def _wanted(layout: Layout, card: int, relief: Numbers) -> int | None:
    """Of the groups that the card can take, the one whose copy relieves most for its bytes."""
    sheet = layout.sheet
    level = np.maximum(sheet.level, layout.level[card])
    fits = layout.always[card] + sheet.always + level <= sheet.room[card]
    groups = np.flatnonzero((relief > 0) & (fits if sheet.plain else True))
    worth = relief[groups] / np.maximum(sheet.always[groups], 1)
    for group in groups[np.argsort(-worth, kind="stable")].tolist():
        if len(layout.at[group]) < sheet.high[group] and layout.fitting(group)[card]:
            return int(group)
    return None
