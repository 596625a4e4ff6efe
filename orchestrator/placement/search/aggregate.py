"""A bound by linear program: cards of one sort as one, by the workspace that they have.

Of each sort of cards, so many have a workspace of each class; what they hold is cut and poured over
them. The program's prices make a bound that is computed anew from them, so that the solver's
tolerances cannot put it on the wrong side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from orchestrator.placement.search.bounds import SLACK, Bound, Items, Numbers

#: Columns of the largest program: more models have fewer classes of workspaces.
_COLUMNS = 40_000
_CLASSES = 24
#: With fewer classes than this, workspaces are rounded too far for a bound worth its time.
_FEWEST_CLASSES = 8
#: At most so many of the models go on a card of which one more would not fit.
_CROWDS = (1, 2, 3)
#: Iterations of the solver for each row and column: far more than it takes, and still an end.
_ITERATIONS = 10
#: Programs that are solved, each just below the alpha that the one before has proven impossible:
#: there a copy fewer may be forced.
_ROUNDS, _BELOW = 3, 5e-5


def aggregated_cards(items: Items) -> Bound | None:
    """The cards that serve all demand are at least so many; None if there is nothing to say."""
    program = _Program.of(items)
    if program is None or items.copies(1.0) is None:
        return None
    prices = program.prices(1.0, few=True)
    if prices is None:
        return None
    left = prices.needed(1.0) * (1 - SLACK)
    worth = np.sort(np.repeat(prices.worth, program.counts))[::-1]
    cards = int(np.searchsorted(np.cumsum(worth), left)) + 1 if left > 0 else 0
    return Bound("aggregated", cards if cards <= len(worth) else math.inf)


def aggregated_alpha(items: Items, high: float) -> Bound | None:
    """No plan serves more than this times the demand; None if it is not below ``high``."""
    program = _Program.of(items)
    if program is None:
        return None
    best = high
    for _ in range(_ROUNDS):
        scale = best * (1 - _BELOW)
        prices = None if items.copies(scale) is None else program.prices(scale, few=False)
        found = best if prices is None else _least_impossible(prices, best)
        if found >= best * (1 - 1e-6):
            break
        best = found
    return Bound("aggregated", best) if best < high else None


def _least_impossible(prices: "_Prices", high: float) -> float:
    """The least alpha, up to ``high``, at which these prices prove that there is no plan."""
    most = float(prices.worth @ prices.program.counts) * (1 + SLACK)
    if prices.needed(high) <= most:
        return high
    low = 0.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if prices.needed(middle) <= most else (low, middle)
    return high


@dataclass(frozen=True)
class _Prices:
    """Worth of a card by sort, and prices by sort and class of what a card with it offers.

    ``room`` by byte, ``time`` by unit of work, ``crowd`` by place among few; ``level`` by class,
    of one more card with at least that workspace.
    """

    program: "_Program"
    room: Numbers
    time: Numbers
    crowd: Numbers
    level: Numbers

    @cached_property
    def worth(self) -> Numbers:
        """The most that a card of each sort can be worth."""
        program = self.program
        value = self.room * program.rooms + self.time * program.speeds[:, None]
        value = value + np.tensordot(np.array(_CROWDS), self.crowd, 1) + np.cumsum(self.level)
        found: Numbers = np.where(program.rooms >= 0, value, 0.0).max(axis=1)
        return found

    @cached_property
    def place(self) -> Numbers:
        """What a copy costs by group, sort and class, its work apart; inf where none may be."""
        program = self.program
        cost = program.always[:, None, None] * self.room
        for crowd, price in zip(program.crowds, self.crowd, strict=True):
            cost = cost + crowd * price
        found: Numbers = np.where(program.may, cost, np.inf)
        return found

    def needed(self, scale: float) -> float:
        """What the cards of any plan that serves ``scale`` x the demand are worth at least."""
        program = self.program
        copies = program.items.copies(scale)
        if copies is None:
            return math.inf
        work = program.work * scale
        idle = self.place.min(axis=(1, 2), initial=np.inf)
        total = float(self.level @ program.forced(scale))
        each = np.zeros(len(work))
        some = copies > 0
        if not np.all(np.isfinite(idle[some])):
            return math.inf
        each[some] = idle[some] * copies[some]
        hot = work > 0
        rate = np.minimum(program.speeds[None, :], work[hot, None])[:, :, None]
        for least in (np.zeros(hot.sum()), idle[hot]):
            unit = ((self.place[hot] - least[:, None, None]) / rate + self.time).min(axis=(1, 2))
            each[hot] = np.maximum(each[hot], least * copies[hot] + work[hot] * unit)
        return total + float(each.sum())


class _Program:
    """Columns: copies with work and idle ones by group, sort and class; cards by sort and class."""

    def __init__(self, items: Items, sorts: Sequence[Sequence[int]], classes: int) -> None:
        world, cards = items.world, items.world.cards
        self.items, self.always, self.work = items, items.always.astype(float), items.work
        self.counts = np.array([len(sort) for sort in sorts])
        firsts = [cards[sort[0]] for sort in sorts]
        self.speeds = np.array([world.room(card) for card in firsts])
        self.levels = _classes(items.level, classes)
        self.own = np.searchsorted(self.levels, items.level, side="right") - 1
        rooms = np.array([card.usable_bytes - card.overhead_bytes for card in firsts])
        self.rooms: Numbers = (rooms[:, None] - self.levels).astype(float)
        allowed = [[sort[0] in group.allowed for sort in sorts] for group in world.groups]
        may = (items.always + items.level)[:, None, None] <= rooms[:, None]
        may = may & (self.always[:, None, None] <= self.rooms)
        may &= self.own[:, None, None] <= np.arange(len(self.levels))
        self.may: Numbers = may & np.array(allowed)[:, :, None]
        self.crowds = [self.always[:, None, None] * (most + 1) > self.rooms for most in _CROWDS]

    @classmethod
    def of(cls, items: Items) -> "_Program | None":
        """The program of a problem; None for too many models or sorts of cards."""
        sorts = _sorts(items)
        classes = min(_CLASSES, _COLUMNS // max(1, len(items.always) * len(sorts)))
        if classes < min(_FEWEST_CLASSES, len(np.unique(items.level))):
            return None
        return cls(items, sorts, max(classes, 1))

    def forced(self, scale: float) -> Numbers:
        """By class, the cards that have its workspace at least: the work of who needs it."""
        each = np.bincount(self.own, weights=self.work, minlength=len(self.levels))
        work: Numbers = np.cumsum(each[::-1])[::-1] * scale * (1 - SLACK)
        return np.where(work > 0, np.searchsorted(self.items.all_speeds, work) + 1, 0)

    def prices(self, scale: float, *, few: bool) -> _Prices | None:
        """Solve at ``scale`` x the demand: the fewest cards, or the least share of each sort."""
        # Imported here: it takes most of a second, and most problems never need it.
        from scipy.optimize import linprog

        rows, cards = _Rows(), self.rooms.size
        copies = self._copies(rows, scale)
        self._cards(rows, scale, copies, few)
        size = copies + cards + (not few)
        most = np.full(size, np.inf)
        most[copies : copies + cards][self.rooms.ravel() < 0] = 0.0
        cost = np.zeros(size)
        cost[copies if few else -1 :] = 1.0
        found = linprog(
            cost,
            A_ub=rows.matrix(size),
            b_ub=np.concatenate(rows.limits),
            bounds=np.column_stack([np.zeros(size), most]),
            method="highs",
            options={"maxiter": _ITERATIONS * (size + sum(map(len, rows.limits)))},
        )
        if found.status != 0:
            return None
        duals = np.maximum(-found.ineqlin.marginals, 0.0)
        parts = duals[: (2 + len(_CROWDS)) * cards].reshape(-1, *self.rooms.shape)
        levels = duals[parts.size :][: len(self.levels)]
        return _Prices(self, parts[0] / self._unit, parts[1], parts[2:], levels)

    @property
    def _unit(self) -> float:
        return max(float(self.rooms.max()), 1.0)

    def _copies(self, rows: "_Rows", scale: float) -> int:
        """What copies take of each class, and that there are enough of them; how many columns."""
        copies, work = self.items.copies(scale), self.work * scale
        if copies is None:
            raise ValueError(f"no number of copies serves {scale} x the demand")
        idle = ((copies > 1) | (work == 0)) & (copies > 0)
        busy_at = np.nonzero(self.may & (work > 0)[:, None, None])
        idle_at = np.nonzero(self.may & idle[:, None, None])
        group, sort, level = (np.concatenate(pair) for pair in zip(busy_at, idle_at, strict=True))
        place, column, cards = (
            sort * len(self.levels) + level,
            np.arange(len(group)),
            self.rooms.size,
        )
        busy = column[: len(busy_at[0])]
        rate = np.minimum(self.speeds[sort[busy]], work[group[busy]])
        rows.put(self.always[group] / self._unit, place, column)
        rows.put(rate, cards + place[busy], busy)
        for index, crowd in enumerate(self.crowds):
            inside = np.flatnonzero(crowd[group, sort, level])
            rows.put(np.ones(len(inside)), (2 + index) * cards + place[inside], inside)
        first = (2 + len(_CROWDS)) * cards + len(self.levels)
        rows.put(-rate / work[group[busy]], first + group[busy], busy)
        some = np.flatnonzero(idle[group])
        rows.put(-np.ones(len(some)), first + len(work) + group[some], some)
        rows.limits += [
            np.zeros((2 + len(_CROWDS)) * cards),
            -self.forced(scale).astype(float),
            -(work > 0).astype(float),
            -np.where(idle, copies, 0).astype(float),
        ]
        return len(group)

    def _cards(self, rows: "_Rows", scale: float, first: int, few: bool) -> None:
        """What cards offer by sort and class, and how many there are."""
        (sorts, classes), cards = self.rooms.shape, self.rooms.size
        at = np.arange(cards)
        rows.put(-self.rooms.ravel() / self._unit, at, first + at)
        rows.put(-np.repeat(self.speeds, classes), cards + at, first + at)
        for index, most in enumerate(_CROWDS):
            rows.put(np.full(cards, -float(most)), (2 + index) * cards + at, first + at)
        row = (2 + len(_CROWDS)) * cards
        least, of = np.nonzero(np.arange(classes)[:, None] <= np.tile(np.arange(classes), sorts))
        rows.put(-np.ones(len(of)), row + least, first + of)
        row += classes + 2 * len(self.work)
        rows.put(np.ones(cards), row + at // classes, first + at)
        if not few:
            rows.put(
                -self.counts.astype(float), row + np.arange(sorts), np.full(sorts, first + cards)
            )
        rows.limits.append(self.counts * float(few))


@dataclass
class _Rows:
    """Rows of a sparse matrix as they are written, and what each must not exceed."""

    parts: list[tuple[Numbers, Numbers, Numbers]] = field(default_factory=list)
    limits: list[Numbers] = field(default_factory=list)

    def put(self, values: Numbers, rows: Numbers, columns: Numbers) -> None:
        """Add entries."""
        self.parts.append((values, rows, columns))

    def matrix(self, columns: int) -> Any:  # noqa: ANN401 - scipy's matrices have no type
        """The rows as a sparse matrix."""
        from scipy.sparse import csr_array

        values, row, column = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        height = sum(len(limit) for limit in self.limits)
        return csr_array((values, (row, column)), shape=(height, columns))


def _sorts(items: Items) -> list[list[int]]:
    """Cards by bytes, speed and who may use them."""
    world = items.world
    choices = sorted({group.allowed for group in world.groups})
    whole = len(world.cards)
    some = [frozenset(chosen) for chosen in choices if len(chosen) < whole]
    alike: dict[tuple[object, ...], list[int]] = {}
    for index, card in enumerate(world.cards):
        room = card.usable_bytes - card.overhead_bytes
        key = (room, world.room(card), tuple(index in chosen for chosen in some))
        alike.setdefault(key, []).append(index)
    return list(alike.values())


def _classes(levels: Numbers, most: int) -> Numbers:
    """At most so many workspaces, each standing for itself and those up to the next."""
    distinct = np.unique(levels)
    if len(distinct) <= most:
        return distinct
    some: Numbers = np.sort(levels)[np.linspace(0, len(levels) - 1, most).astype(np.int64)]
    return np.unique(some)
