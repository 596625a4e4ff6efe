"""How the demand is split over the replicas of a placement: a linear program, solved exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog
from scipy.sparse import coo_array

from orchestrator.placement.board import Tally
from orchestrator.placement.groups import World
from orchestrator.placement.problem import Model

Numbers = npt.NDArray[Any]
#: Tangents at these utilisations approximate its square: what is over the bottleneck is balanced.
_TANGENTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Split:
    """``rps[(model, card)]`` for every replica with demand; ``alpha`` None without any demand.

    ``model_price`` and ``card_price`` are the program's duals: what a unit more of a model's work
    costs in alpha, and what a second more of a card is worth. Empty where the split was even.
    """

    alpha: float | None
    rps: dict[tuple[str, str], float]
    model_price: dict[str, float]
    card_price: dict[str, float]


def split_loads(world: World, tallies: Sequence[Tally], *, balance: bool = True) -> Split:
    """The split with the largest alpha; with ``balance``, cards as evenly busy as that allows."""
    demanded = [model for model in world.models if model.work > 0]
    if not demanded:
        return Split(None, {}, {}, {})
    pairs = _pairs(demanded, tallies)
    if {model for model, _ in pairs} != set(range(len(demanded))):
        return Split(0.0, {}, {}, {})
    program = _Program(world, demanded, tallies, pairs)
    alpha, work, models, cards = program.largest_alpha()
    even = program.even()
    if program.reached(even) >= alpha * (1 - 1e-9):
        work = even
    elif balance:
        work = program.balanced(alpha)
    reached = program.reached(work)
    rps = {
        (demanded[m].name, tallies[c].card.name): float(w) * reached * 1000 / demanded[m].service_ms
        for (m, c), w in zip(pairs, work, strict=True)
    }
    return Split(
        reached,
        rps,
        {model.name: price for model, price in zip(demanded, models, strict=True)},
        {tally.card.name: price for tally, price in zip(tallies, cards, strict=True)},
    )


def _pairs(demanded: Sequence[Model], tallies: Sequence[Tally]) -> list[tuple[int, int]]:
    index = {model.name: position for position, model in enumerate(demanded)}
    return [
        (index[model.name], card)
        for card, tally in enumerate(tallies)
        for model in tally.models
        if model.name in index
    ]


class _Program:
    """The linear program over work per replica, in card-seconds a second at speed 1."""

    def __init__(
        self,
        world: World,
        demanded: Sequence[Model],
        tallies: Sequence[Tally],
        pairs: Sequence[tuple[int, int]],
    ) -> None:
        self.pairs = pairs
        self.model = np.array([model for model, _ in pairs])
        self.card = np.array([card for _, card in pairs])
        self.work = np.array([model.work for model in demanded])
        self.room = np.array([world.room(tally.card) for tally in tallies])
        #: Seconds of its card that a second of a replica's work takes.
        self.cost = np.array([1 / tallies[card].gain(demanded[model]) for model, card in pairs])

    def _totals(self, values: Numbers, of: Numbers, count: int) -> Numbers:
        totals: Numbers = np.bincount(of, weights=values, minlength=count)
        return totals

    def even(self) -> Numbers:
        """Every model's work over its replicas in proportion to what their cards can do."""
        room = self.room[self.card] / self.cost
        per_model = self._totals(room, self.model, len(self.work))
        work: Numbers = self.work[self.model] * room / per_model[self.model]
        return work

    def reached(self, work: Numbers) -> float:
        """The alpha at which these shares of the work fill the busiest card."""
        busy = self._totals(work * self.cost, self.card, len(self.room))
        served = self._totals(work, self.model, len(self.work)) / self.work
        used = busy > 0
        return float(np.min(self.room[used] / busy[used]) * np.min(served))

    def largest_alpha(self) -> tuple[float, Numbers, list[float], list[float]]:
        """Maximise alpha: its value, work per replica at alpha 1, duals by model and by card."""
        n, pairs = len(self.pairs), np.arange(len(self.pairs))
        scale = float(self.work.sum() / self.room.sum())
        serve = self._matrix(
            [(np.ones(n), self.model, pairs)], (len(self.work), n), -self.work / scale
        )
        fill = self._matrix([(self.cost, self.card, pairs)], (len(self.room), n), 0 * self.room)
        cost = np.zeros(n + 1)
        cost[n] = -1.0
        found = linprog(
            cost, A_ub=fill, b_ub=self.room, A_eq=serve, b_eq=0 * self.work, method="highs"
        )
        alpha = float(found.x[n]) / scale
        work = np.maximum(found.x[:n], 0.0) / alpha
        return alpha, work, list(found.eqlin.marginals), list(-found.ineqlin.marginals)

    def balanced(self, alpha: float) -> Numbers:
        """At this alpha, the work per replica that keeps the squares of the utilisations small."""
        n, cards, pairs = len(self.pairs), len(self.room), np.arange(len(self.pairs))
        serve = self._matrix([(np.ones(n), self.model, pairs)], (len(self.work), n), None, cards)
        rows, limits = [], []
        for step, at in enumerate(_TANGENTS):
            slope = 2 * at
            rows.append((slope * self.cost / self.room[self.card], self.card + step * cards, pairs))
            column = n + np.arange(cards)
            rows.append((-np.ones(cards), np.arange(cards) + step * cards, column))
            limits.append(np.full(cards, at * at))
        rows.append((self.cost / self.room[self.card], self.card + len(_TANGENTS) * cards, pairs))
        limits.append(np.ones(cards) * (1 + 1e-9))
        fill = self._matrix(rows, ((len(_TANGENTS) + 1) * cards, n + cards), None)
        cost = np.concatenate([np.zeros(n), np.ones(cards)])
        found = linprog(
            cost,
            A_ub=fill,
            b_ub=np.concatenate(limits),
            A_eq=serve,
            b_eq=self.work * alpha * (1 - 1e-9),
            method="highs",
        )
        return np.maximum(found.x[:n], 0.0) / alpha if found.status == 0 else self.even()

    @staticmethod
    def _matrix(
        blocks: Sequence[tuple[Numbers, Numbers, Numbers]],
        shape: tuple[int, int],
        last: Numbers | None,
        blank: int = 0,
    ) -> coo_array:
        values = np.concatenate([block[0] for block in blocks])
        rows = np.concatenate([block[1] for block in blocks])
        columns = np.concatenate([block[2] for block in blocks])
        if last is not None:
            values = np.concatenate([values, last])
            rows = np.concatenate([rows, np.arange(shape[0])])
            columns = np.concatenate([columns, np.full(shape[0], shape[1])])
        return coo_array(
            (values, (rows, columns)), shape=(shape[0], shape[1] + (last is not None) + blank)
        )
