"""About which workspace each card is to have, before anything is placed."""

from collections.abc import Sequence

import numpy as np

from orchestrator.placement.search.bounds import forced_levels, pour
from orchestrator.placement.search.sheet import Numbers, Sheet

#: How often the share is halved in which cards are filled.
_HALVINGS = 8


def outline(sheet: Sheet, copies: Numbers, limit: Numbers) -> Numbers:
    """By card, the workspace that it has where models may be cut and all cards are equally full.

    The largest workspaces go together on the roomiest cards, on as many as their bytes and their
    work fill. Cards with a limit below 0 have none.
    """
    cards = np.flatnonzero(limit >= 0)
    cards = cards[np.lexsort((cards, -sheet.room[cards]))]
    planned = np.zeros(sheet.cards, np.int64)
    if not len(cards):
        return planned
    low, high = 0.0, 1.0
    best = _opened(sheet, copies, limit, cards, high)
    for _ in range(_HALVINGS if len(best) < len(cards) else 0):
        share = (low + high) / 2
        found = _opened(sheet, copies, limit, cards, share)
        if len(found) <= len(cards):
            best, high = found, share
        else:
            low = share
    count = min(len(best), len(cards))
    planned[cards[:count]] = best[:count]
    return planned


def _opened(
    sheet: Sheet, copies: Numbers, limit: Numbers, cards: Numbers, share: float
) -> Sequence[int]:
    """The workspaces of the cards that are opened when each is filled to this share."""
    order = np.lexsort((-sheet.always, -sheet.level))
    order = order[copies[order] > 0]
    levels = sheet.level[order]
    speeds = np.cumsum(-np.sort(-limit[cards]))
    forced = forced_levels(levels, sheet.work[order] / share, speeds)
    needs = (sheet.always * copies)[order] / share
    return pour(needs.tolist(), levels.tolist(), sheet.room[cards].tolist(), forced) or []
