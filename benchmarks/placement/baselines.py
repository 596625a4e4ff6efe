"""What others would do with the same problems: written for this benchmark, from their papers.

All three add up the workspaces of a card's models, as nobody but this planner does otherwise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog
from scipy.sparse import coo_array

from benchmarks.placement.instances import Record, always, shared

Numbers = npt.NDArray[Any]
#: (model, card) pairs, or None where a model found no card.
Pairs = list[tuple[int, int]]
_NOTHING = 1e-9


@dataclass(frozen=True)
class Flat:
    """A problem as arrays: bytes of a copy, work and limits by model; bytes and speed by card."""

    size: Numbers
    work: Numbers
    most: Numbers
    room: Numbers
    speed: Numbers

    @classmethod
    def of(cls, problem: Record) -> "Flat":
        """Read the public JSON."""
        models, cards = problem["models"], problem["cards"]
        work = [m.get("demand_rps", 0.0) * m["service_ms"] / 1000 for m in models]
        return cls(
            np.array([always(m) + m["threads"] * shared(m) for m in models], np.int64),
            np.array(work),
            np.array([m.get("max_replicas", len(cards)) for m in models]),
            np.array([c["capacity_bytes"] - c["overhead_bytes"] for c in cards], np.int64),
            np.array([c["speed"] for c in cards]),
        )

    def first(self, count: int) -> "Flat":
        """The same models on the first cards only."""
        return Flat(self.size, self.work, self.most, self.room[:count], self.speed[:count])

    def times(self, scale: float) -> "Flat":
        """The same with a multiple of the demand."""
        return Flat(self.size, self.work * scale, self.most, self.room, self.speed)


def value_of(problem: Record, greedy: Callable[[Flat], Pairs | None]) -> float | None:
    """Cards or alpha of a greedy's plan; None if it finds none."""
    flat = Flat.of(problem)
    if problem["objective"] == "min_cards":
        return _fewest(flat, greedy)
    top, best = float(flat.speed.sum() / flat.work.sum()), 0.0
    for scale in (1.0, 0.9, 0.75, 0.5, 0.25, 0.1, 0.0):
        pairs = greedy(flat.times(scale * top))
        if pairs is not None:
            best = max(best, alpha_of(flat, pairs))
        if best >= scale * top:
            break
    return best or None


def _fewest(flat: Flat, greedy: Callable[[Flat], Pairs | None]) -> float | None:
    """The fewest of the cards, in their order, on which the greedy serves all demand."""
    low, high = 0, len(flat.room)
    while not _serves(flat.first(high), greedy):
        low, high = high, 2 * high
        if high > 8 * len(flat.room):
            return None
        times = -(-high // len(flat.room))
        flat = Flat(
            flat.size, flat.work, flat.most, np.tile(flat.room, times), np.tile(flat.speed, times)
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _serves(flat.first(middle), greedy) else (middle, high)
    return high


def _serves(flat: Flat, greedy: Callable[[Flat], Pairs | None]) -> bool:
    pairs = greedy(flat)
    return pairs is not None and (not flat.work.any() or alpha_of(flat, pairs) >= 1 - 1e-6)


def alpha_of(flat: Flat, pairs: Pairs) -> float:
    """The largest alpha of a placement, by a linear program."""
    wanted = flat.work > 0
    kept = [(m, c) for m, c in pairs if wanted[m]]
    model, card = (np.array(part) for part in zip(*kept, strict=True))
    if len(set(model.tolist())) < wanted.sum():
        return 0.0
    count, rows = len(kept), np.arange(len(kept))
    demanded = np.flatnonzero(wanted)
    row_of = {int(m): row for row, m in enumerate(demanded)}
    serve_row = np.array([row_of[int(m)] for m in model])
    values = np.concatenate([np.ones(count), -flat.work[demanded]])
    row = np.concatenate([serve_row, np.arange(len(demanded))])
    column = np.concatenate([rows, np.full(len(demanded), count)])
    found = linprog(
        np.append(np.zeros(count), -1.0),
        A_ub=coo_array((np.ones(count), (card, rows)), shape=(len(flat.speed), count + 1)),
        b_ub=flat.speed,
        A_eq=coo_array((values, (row, column)), shape=(len(demanded), count + 1)),
        b_eq=np.zeros(len(demanded)),
        method="highs",
    )
    return float(found.x[-1])


def first_fit(flat: Flat) -> Pairs | None:
    """First fit by falling size, each workspace for itself; demand that is left goes on."""

    def first(may: Numbers, idle: Numbers, _: Numbers, left: float) -> int:
        whole = may & (idle >= left - _NOTHING)
        return int(np.argmax(whole)) if whole.any() else int(np.argmax(np.where(may, idle, -1)))

    return _model_by_model(flat, np.argsort(-flat.size, kind="stable"), first)


def muxserve(flat: Flat) -> Pairs | None:
    """MuxServe's greedy: by falling rate x compute, to where the throughput gains most."""

    def gaining(may: Numbers, idle: Numbers, free: Numbers, left: float) -> int:
        gain = np.where(may, np.minimum(idle, left), -1.0)
        return int(np.lexsort((-free, -idle, -gain))[0])

    return _model_by_model(flat, np.lexsort((-flat.size, -flat.work)), gaining)


def _model_by_model(
    flat: Flat, order: Numbers, choose: Callable[[Numbers, Numbers, Numbers, float], int]
) -> Pairs | None:
    """Copies of each model in turn until its demand is met; None when a card is missing.

    ``choose`` gets where the model may go, the cards' idle speeds and free bytes, and what is left
    of its demand.
    """
    free, idle = flat.room.copy(), flat.speed.copy()
    pairs: Pairs = []
    for model in order:
        left, copies = flat.work[model], 0
        may = free >= flat.size[model]
        while copies == 0 or left > _NOTHING:
            card = choose(may, idle, free, left)
            if not may[card] or copies >= flat.most[model] or (left > 0 >= idle[card]):
                return None
            taken = min(left, idle[card])
            idle[card] -= taken
            free[card] -= flat.size[model]
            left, copies, may[card] = left - taken, copies + 1, False
            pairs.append((int(model), card))
    return pairs


def alpaserve(flat: Flat) -> Pairs | None:
    """AlpaServe's replica selection: the least served model to the least busy card that fits.

    A model without any copy goes first. Requests go to a model's cards evenly, which stands for
    its simulation of the trace.
    """
    cards: list[list[int]] = [[] for _ in flat.size]
    lacks = np.full(len(flat.size), float(flat.work.sum()) + 1.0)
    free, busy = flat.room.copy(), np.zeros(len(flat.room))
    served = np.zeros(len(flat.size))
    open_ = np.ones(len(flat.size), bool)
    for _ in range(len(flat.size) + 8 * len(flat.room)):
        missing = np.where(open_, flat.work - served, -1.0) + lacks
        model = int(np.argmax(missing))
        if missing[model] <= _NOTHING:
            break
        fits = free >= flat.size[model]
        fits[cards[model]] = False
        if not fits.any() or len(cards[model]) >= flat.most[model]:
            if not cards[model]:
                return None
            open_[model] = False
            continue
        card = int(np.argmin(np.where(fits, busy / flat.speed, math.inf)))
        held = len(cards[model])
        busy[cards[model]] += flat.work[model] * (1 / (held + 1) - 1 / max(held, 1))
        busy[card] += flat.work[model] / (held + 1)
        free[card] -= flat.size[model]
        cards[model].append(card)
        lacks[model] = 0.0
        share = np.minimum(1.0, flat.speed / np.maximum(busy, _NOTHING))
        served[model] = flat.work[model] * share[cards[model]].mean()
    pairs = [(model, card) for model, held in enumerate(cards) for card in held]
    return pairs if all(cards) else None
