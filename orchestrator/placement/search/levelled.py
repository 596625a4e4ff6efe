"""The fewest cards for many models: all of them evenly over ever fewer cards, by bisection."""

from collections.abc import Sequence

from orchestrator.placement.search.balance import Budget, balance
from orchestrator.placement.search.bounds import Bound
from orchestrator.placement.search.fill import EVEN, STEEP, Variant, fill
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.sheet import Numbers, Sheet

#: Groups times cards above which only the quickest ways to start are taken.
MANY = 1 << 20
#: More cards than this times the bound are not tried.
_MOST = 1.3
#: How busy a card may be for dividing pairs of cards anew to put it right, and for how many steps.
_NEARLY, _STEPS = 1.06, 3_000


def levelled(
    sheet: Sheet, bound: Bound, order: Sequence[int], budget: Budget, seed: int
) -> Layout | None:
    """All demand on as few of the cards, taken in this order, as that goes; only of many models."""
    if sheet.groups * sheet.cards <= MANY:
        return None
    best: Layout | None = None
    ways = [*STEEP[:1], EVEN[0], *STEEP[1:]]
    low, high = int(bound.value), min(sheet.cards, int(_MOST * bound.value))
    while high - low > low // 300 and budget.spend():
        # The bound is near: most of the time the lower part will do at first.
        count = low + (high - low) // (6 if best is None else 2)
        limit = sheet.speed.copy()
        limit[order[count:]] = -1
        found = _served(sheet, ways, limit, budget, seed)
        best = found or best
        low, high = (low, count) if found else (count + 1, high)
    return best


def _served(
    sheet: Sheet, ways: list[Variant], limit: Numbers, budget: Budget, seed: int
) -> Layout | None:
    """All demand on the open cards, the way that did it last time first."""
    for way in tuple(ways):
        if not budget.spend():
            return None
        found = fill(sheet, way, limit, soft=way.fit == "steep", late=budget.late)
        if found is None or found.peak() > _NEARLY:
            continue
        part = budget.part(_STEPS)
        found = balance(found, 1.0, part, seed, (limit < 0).nonzero()[0].tolist())
        budget.give_back(part)
        if found.peak() <= 1.0:
            ways.remove(way)
            ways.insert(0, way)
            return found
    return None
