"""Small problems as one mixed-integer program: the plan that no search finds, and its proof."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from orchestrator.placement.search.balance import trim
from orchestrator.placement.search.bounds import Bound
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.moves import interchangeable
from orchestrator.placement.search.sheet import Numbers, Sheet

#: Groups times cards up to which a problem is small.
MOST_PAIRS = 160
#: Nodes of the solver's tree times pairs, as a node takes longer where there are more of these: a
#: handful of large models needs thousands until it is proven that they leave time unused on cards
#: that they fill. Nodes, not seconds: equal problems end with equal plans.
_NODES_BY_PAIRS = 240_000
#: A solver's bound is relaxed by its tolerances, and the search may end within this of it.
_TOLERANCE = 3e-5


@dataclass(frozen=True)
class Exact:
    """The best placement of the program (None if there is none so far), and its bound if proven."""

    layout: Layout | None
    bound: Bound | None


def small(sheet: Sheet) -> bool:
    """Whether the program says all that the problem does, and is small enough to be solved."""
    whole = not sheet.special and not sheet.widened
    return whole and sheet.groups * sheet.cards <= MOST_PAIRS


def solve_exactly(sheet: Sheet, *, few: bool, limit: float) -> Exact:
    """The fewest cards for all demand (``few``) or the largest alpha; ``limit`` is the known bound.

    An alpha is one in the sheet's scale. Where nothing has demand, any placement will do for it.
    """
    # Imported here: it takes most of a second, and most problems never need it.
    from scipy.optimize import Bounds, LinearConstraint, milp

    program = _Program(sheet, few, limit)
    program.build()
    matrix, low, high = program.rows.matrix(program.size)
    nodes = _NODES_BY_PAIRS // max(sheet.groups * sheet.cards, 1)
    found = milp(
        program.aim,
        constraints=LinearConstraint(matrix, low, high),
        integrality=program.whole,
        bounds=Bounds(0, program.most),
        options={"node_limit": nodes, "mip_rel_gap": _TOLERANCE},
    )
    layout = None if found.x is None else program.layout(found.x)
    return Exact(layout, program.bound(found.mip_dual_bound))


@dataclass
class _Rows:
    """Linear rows as they are written: columns, factors, and between what the sum must lie."""

    columns: list[int] = field(default_factory=list)
    factors: list[float] = field(default_factory=list)
    starts: list[int] = field(default_factory=lambda: [0])
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)

    def add(
        self, terms: Sequence[tuple[int, float]], low: float = -math.inf, high: float = math.inf
    ) -> None:
        """One row."""
        self.columns.extend(column for column, _ in terms)
        self.factors.extend(factor for _, factor in terms)
        self.starts.append(len(self.columns))
        self.low.append(low)
        self.high.append(high)

    def matrix(self, columns: int) -> tuple[Any, Numbers, Numbers]:
        """The rows as a sparse matrix with their limits."""
        from scipy.sparse import csr_array

        shape = (len(self.low), columns)
        matrix = csr_array((self.factors, self.columns, self.starts), shape=shape)
        return matrix, np.array(self.low), np.array(self.high)


class _Program:
    """Variables: who is where, with how much work, each card's workspace, cards used or alpha.

    Bytes are shares of the card's room and work shares of its time, so that all is near 1.
    """

    def __init__(self, sheet: Sheet, few: bool, limit: float) -> None:
        self.sheet, self.few, self.limit = sheet, few, max(limit, 1e-9)
        #: Work in card-seconds, not in units: a proof must hold for what was asked. Of ten digits,
        #: so that the same problem at another scale of its demand is the same program.
        self.load = [float(f"{group.work * sheet.scale:.10g}") for group in sheet.world.groups]
        self.speed = [sheet.world.room(card) for card in sheet.world.cards]
        groups, cards = sheet.groups, sheet.cards
        pairs = groups * cards
        nodes = int(sheet.node.max()) + 1
        self.work, self.level = pairs, 2 * pairs
        self.used, self.alpha = self.level + cards, self.level + 2 * cards
        self.spread = self.alpha + 1
        self.size = self.spread + groups * nodes
        self.rows = _Rows()
        self.aim = np.zeros(self.size)
        self.whole = np.zeros(self.size)
        self.whole[:pairs] = 1
        self.whole[self.used : self.used + cards] = few
        self.most = np.ones(self.size)
        self.most[self.alpha] = 1.0 if few else self.limit

    def build(self) -> None:
        """Write all rows."""
        sheet = self.sheet
        self.aim[self.alpha] = 0.0 if self.few else -1.0
        if self.few:
            self.aim[self.used : self.used + sheet.cards] = 1.0
        for card in range(sheet.cards):
            self._card(card)
        for group in range(sheet.groups):
            self._group(group)
        for alike in interchangeable(sheet.world):
            for one, other in pairwise(alike):
                for first in (self.level, self.used):
                    self.rows.add([(first + one, 1.0), (first + other, -1.0)], low=0.0)
        if self.few:
            used = [(self.used + card, 1.0) for card in range(sheet.cards)]
            self.rows.add(used, low=self.limit)

    def _card(self, card: int) -> None:
        sheet, rows, groups = self.sheet, self.rows, range(self.sheet.groups)
        room = max(float(sheet.room[card]), 1.0)
        here = [(self._at(group, card), float(sheet.always[group]) / room) for group in groups]
        rows.add([*here, (self.level + card, 1.0), (self.used + card, -1.0)], high=0.0)
        rows.add([(self.work + self._at(group, card), 1.0) for group in groups], high=1.0)
        if sheet.streams.any() and sheet.card_streams[card] < 1 << 40:
            held = [(self._at(group, card), float(sheet.streams[group])) for group in groups]
            rows.add(held, high=float(sheet.card_streams[card]))
        for group in groups:
            at, level = self._at(group, card), float(sheet.level[group]) / room
            allowed = sheet.allowed[group]
            if float(sheet.always[group]) / room + level > 1 or (
                allowed is not None and not allowed[card]
            ):
                self.most[at] = 0.0
            if level:
                rows.add([(at, level), (self.level + card, -1.0)], high=0.0)
            top = 1.0 if self.few else self.limit
            most = min(1.0, top * self.load[group] / self.speed[card])
            rows.add([(self.work + at, 1.0), (at, -most)], high=0.0)
            for foe in sheet.foes[group]:
                if foe > group:
                    rows.add([(at, 1.0), (self._at(foe, card), 1.0)], high=1.0)

    def _group(self, group: int) -> None:
        sheet, cards = self.sheet, range(self.sheet.cards)
        here = [(self._at(group, card), 1.0) for card in cards]
        self.rows.add(here, low=sheet.low[group], high=sheet.high[group])
        work = self.load[group]
        if work > 0:
            done = [(self.work + self._at(group, card), self.speed[card] / work) for card in cards]
            if self.few:
                self.rows.add(done, low=1.0, high=1.0)
            else:
                self.rows.add([*done, (self.alpha, -1.0)], low=0.0, high=0.0)
        if sheet.spread[group] > 1:
            first = self.spread + group * (int(sheet.node.max()) + 1)
            nodes = sorted({int(node) for node in sheet.node})
            for node in nodes:
                on = [(self._at(group, card), 1.0) for card in cards if sheet.node[card] == node]
                self.rows.add([*on, (first + node, -1.0)], low=0.0)
            self.rows.add([(first + node, 1.0) for node in nodes], low=sheet.spread[group])

    def _at(self, group: int, card: int) -> int:
        return group * self.sheet.cards + card

    def layout(self, values: Numbers) -> Layout | None:
        """The program's placement, exact in bytes; None where rounding would break a rule."""
        sheet, layout = self.sheet, Layout(self.sheet)
        for group in range(sheet.groups):
            cards = [c for c in range(sheet.cards) if values[self._at(group, c)] > 0.5]
            done = [values[self.work + self._at(group, c)] * self.speed[c] for c in cards]
            left, total = int(sheet.work[group]), max(sum(done), 1e-12)
            for card, part in zip(cards, done, strict=True):
                if not layout.fitting(group)[card]:
                    return None
                load = left if card == cards[-1] else min(left, round(part / total * left))
                layout.add(group, card, load)
                left, total = left - load, max(total - part, 1e-12)
            if not layout.spread_kept(group) or left > 0:
                return None
        trim(layout)
        return layout

    def bound(self, dual: float | None) -> Bound | None:
        """What the solver has proven, relaxed by its tolerances."""
        if dual is None or not math.isfinite(dual):
            return None
        if self.few:
            return Bound("exact", math.ceil(dual - 1e-4))
        return Bound("exact", -dual * (1 + _TOLERANCE))
