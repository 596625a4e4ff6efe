"""What a placement costs against the previous one, and how a new one is laid over it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.placement.board import Tally, tally_of
from orchestrator.placement.groups import World, may_use
from orchestrator.placement.problem import Improver, PreviousCard, Problem
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.sheet import Sheet


@dataclass(frozen=True)
class Change:
    """What a new plan starts from, and how far it may go: ``moves`` None is as far as it likes.

    ``previous`` None: there is no plan; one without cards is the plan of nothing.
    ``interrupted`` is asked between steps; once it is true, the best plan so far is taken.
    ``improver``: the solver that the plan is given to at last. ``budget`` are the steps of the
    search, None as many as are worth it; another ``seed`` draws other lots.
    """

    previous: tuple[PreviousCard, ...] | None = None
    moves: int | None = None
    interrupted: Callable[[], bool] = lambda: False
    improver: Improver | None = None
    budget: int | None = None
    seed: int = 0

    def gone(self, problem: Problem) -> tuple[str, ...]:
        """The cards of the previous plan that the problem has no more."""
        cards = {card.name for card in problem.cards}
        return tuple(old.card for old in self.previous or () if old.card not in cards)

    def of(self, problem: Problem) -> Problem:
        """The problem with this previous plan, as far as its cards and models are still there.

        Where no card is, the whole new plan is to be moved.
        """
        if self.previous is None:
            return problem
        cards = {card.name for card in problem.cards}
        models = {model.name for model in problem.models}
        left = tuple(
            replace(
                old,
                models=tuple(name for name in old.models if name in models),
                ended=tuple(name for name in old.models if name not in models),
            )
            for old in self.previous
            if old.card in cards
        )
        nothing = tuple(PreviousCard(card.name, ()) for card in problem.cards[:1])
        return replace(problem, previous_plan=left or nothing)


@dataclass(frozen=True)
class Cost:
    """What changing to a placement takes.

    ``moves``: replicas that are new where they are; ``restarts``: cards whose models change while
    they hold some (a card's models are fixed for the life of its process); ``nbytes``: weights
    that started or restarted cards load.
    """

    moves: int
    restarts: int
    nbytes: int


def cost_of(world: World, tallies: Sequence[Tally]) -> Cost:
    """The cost of a placement against the world's previous plan."""
    moves = restarts = nbytes = 0
    for tally in tallies:
        name = tally.card.name
        old = world.before.get(name, PreviousCard(name, ()))
        if world.as_before(name, tally.names) and old.share_workspace in (None, tally.share):
            continue
        moves += len(tally.names.difference(old.models))
        restarts += bool((old.models or old.ended) and tally.names)
        nbytes += sum(model.footprint.weight_total for model in tally.models)
    return Cost(moves, restarts, nbytes)


def inherited(sheet: Sheet) -> Layout:
    """The previous plan as far as it still keeps every rule, without loads."""
    layout = Layout(sheet)
    for group in range(sheet.groups):
        for card in sorted(sheet.homes[group])[: sheet.high[group]]:
            if layout.fitting(group)[card]:
                layout.add(group, card, 0)
    return layout


def missing(layout: Layout) -> list[int]:
    """Groups that lack replicas or nodes, the largest first."""
    sheet = layout.sheet
    lacking = [group for group in range(sheet.groups) if not layout.spread_kept(group)]
    return sorted(lacking, key=lambda group: (-int(sheet.always[group]), group))


def relabelled(world: World, tallies: tuple[Tally, ...]) -> tuple[Tally, ...]:
    """The same sets on interchangeable cards, so that as many bytes as possible stay in place."""
    if not world.previous:
        return tallies
    from scipy.optimize import linear_sum_assignment

    made = list(tallies)
    for cards in interchangeable(world):
        if len(cards) < 2:
            continue
        kept = np.array(
            [[_kept(world, tallies[a], world.cards[b].name) for b in cards] for a in cards]
        )
        rows, columns = linear_sum_assignment(-kept)
        for row, column in zip(rows, columns, strict=True):
            source, target = cards[row], cards[column]
            made[target] = _onto(world, tallies[source], target)
    return tuple(made)


def _kept(world: World, tally: Tally, card: str) -> float:
    """Bytes that need not be loaded anew; a card that is left just as it is counts double."""
    before = world.previous.get(card, frozenset())
    nbytes = sum(m.footprint.weight_total + 1 for m in tally.models if m.name in before)
    return nbytes * (2.0 if world.as_before(card, tally.names) else 1.0)


def _onto(world: World, tally: Tally, card: int) -> Tally:
    return tally_of(world.cards[card], tally.models, share=tally.share)


def interchangeable(world: World) -> list[list[int]]:
    """Cards that are alike in all that a plan sees."""
    spread = any(group.spread > 1 for group in world.groups)
    picky = [
        model
        for model in world.models
        if model.cards is not None or model.allowed_kinds or model.allowed_types
    ]
    alike: dict[tuple[object, ...], list[int]] = {}
    for index, card in enumerate(world.cards):
        key = (
            card.kind,
            card.type,
            card.usable_bytes,
            card.overhead_bytes,
            card.streams,
            card.speed,
            card.node if spread else "",
            tuple(may_use(model, card) for model in picky),
        )
        alike.setdefault(key, []).append(index)
    return list(alike.values())
