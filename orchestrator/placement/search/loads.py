"""How the demand is split over the replicas of a placement: a linear program, solved exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.placement.board import Tally
from orchestrator.placement.groups import World
from orchestrator.placement.problem import Model

Numbers = npt.NDArray[Any]
#: Part of a sparse matrix: values, their rows, their columns.
Block = tuple[Numbers, Numbers, Numbers]
#: Iterations of the solver for each row and column: far more than it takes, and still an end.
_ITERATIONS = 10
#: Tangents at these utilisations approximate its square: what is over the bottleneck is balanced.
_TANGENTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Split:
    """``rps[(model, card)]`` for every replica with demand; ``alpha`` None without any demand.

    ``model_price`` and ``card_price`` are the program's duals: what a unit more of a model's work
    costs in alpha, and what a second more of a card is worth.
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
    even = program.even()
    if program.fills_every_card(even):
        alpha, work, models, cards = program.reached(even), even, *program.even_prices()
    else:
        alpha, work, models, cards = program.largest_alpha(even)
    if program.reached(even) >= alpha * (1 - 1e-9):
        work = even
    elif balance:
        balanced = program.balanced(alpha)
        work = work if balanced is None else balanced
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

    def fills_every_card(self, work: Numbers) -> bool:
        """Whether all cards with models end up equally busy, so that no split can do better.

        Only where no card gains by running apart: then a shift of work changes the total.
        """
        if np.any(self.cost != 1.0):
            return False
        busy = self._totals(work, self.card, len(self.room)) / self.room
        held = busy[np.unique(self.card)]
        return bool(np.ptp(held) <= 1e-12 * held.max())

    def even_prices(self) -> tuple[list[float], list[float]]:
        """The duals, up to a factor, where every card that serves is full: all cost the same."""
        cards = np.zeros(len(self.room))
        cards[self.card] = 1.0
        return [1.0] * len(self.work), list(cards)

    def largest_alpha(self, even: Numbers) -> tuple[float, Numbers, list[float], list[float]]:
        """Maximise alpha: its value, work per replica at alpha 1, duals by model and by card.

        The even split where the solver comes to no end.
        """
        n, models = len(self.pairs), len(self.work)
        scale = float(self.work.sum()) / float(self.room.sum())
        alphas = (-self.work / scale, np.arange(models), np.full(models, n))
        found = _solve(
            cost=np.append(np.zeros(n), -1.0),
            fill=[(self.cost, self.card, np.arange(n))],
            limits=self.room,
            serve=[(np.ones(n), self.model, np.arange(n)), alphas],
            served=np.zeros(models),
        )
        if found.status != 0:
            return self.reached(even), even, *self.even_prices()
        alpha = float(found.x[n]) / scale
        work = np.maximum(found.x[:n], 0.0) / alpha
        return alpha, work, list(found.eqlin.marginals), list(-found.ineqlin.marginals)

    def balanced(self, alpha: float) -> Numbers | None:
        """At this alpha, the work per replica that keeps the squares of the utilisations small.

        A variable per card lies above every tangent of the square; None if numerics forbid it.
        """
        n, cards, steps = len(self.pairs), len(self.room), len(_TANGENTS)
        share = self.cost / self.room[self.card]
        replicas, squares = np.arange(n), n + np.arange(cards)
        fill: list[Block] = [(share, self.card + steps * cards, replicas)]
        for step, at in enumerate(_TANGENTS):
            fill.append((2 * at * share, self.card + step * cards, replicas))
            fill.append((-np.ones(cards), np.arange(cards) + step * cards, squares))
        tangents = [np.full(cards, at * at) for at in _TANGENTS]
        found = _solve(
            cost=np.append(np.zeros(n), np.ones(cards)),
            fill=fill,
            limits=np.concatenate([*tangents, np.full(cards, 1 + 1e-9)]),
            serve=[(np.ones(n), self.model, replicas)],
            served=self.work * alpha * (1 - 1e-9),
        )
        return None if found.status != 0 else np.maximum(found.x[:n], 0.0) / alpha


def _solve(
    *, cost: Numbers, fill: list[Block], limits: Numbers, serve: list[Block], served: Numbers
) -> Any:  # noqa: ANN401 - scipy's result has no type of its own
    """Minimise over variables >= 0: ``fill`` at most ``limits``, ``serve`` exactly ``served``."""
    # Imported here: it takes most of a second, and a plan without demand needs none of it.
    from scipy.optimize import linprog
    from scipy.sparse import coo_array

    def matrix(blocks: list[Block], rows: int) -> Any:  # noqa: ANN401
        values, row, column = (np.concatenate(part) for part in zip(*blocks, strict=True))
        return coo_array((values, (row, column)), shape=(rows, len(cost)))

    return linprog(
        cost,
        A_ub=matrix(fill, len(limits)),
        b_ub=limits,
        A_eq=matrix(serve, len(served)),
        b_eq=served,
        method="highs",
        options={"maxiter": _ITERATIONS * (len(cost) + len(limits) + len(served))},
    )
