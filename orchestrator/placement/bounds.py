"""What no plan can beat: proven bounds, each with its name."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.inventory import Card
from orchestrator.placement.groups import World
from orchestrator.placement.problem import Model

#: Bounds are relaxed by this share, so that rounding can never put one on the wrong side.
_SLACK = 1e-9


@dataclass(frozen=True)
class Bound:
    """``value``: no plan uses fewer cards (min_cards) or serves more (max_alpha)."""

    name: str
    value: float


@dataclass(frozen=True)
class _Copy:
    """``count`` copies of a model: each pays ``always`` bytes and shares ``workspace`` bytes."""

    always: int
    workspace: int
    count: int


def min_cards_bound(world: World, scale: float = 1.0) -> Bound:
    """The largest of all lower bounds on the cards of a plan that serves ``scale`` x demand."""
    return max(cards_bounds(world, scale), key=lambda bound: bound.value)


def cards_bounds(world: World, scale: float) -> list[Bound]:
    """Every lower bound on the number of cards; infinite where a model cannot be served at all.

    load: the work over the fastest cards. replicas: copies of one model need different cards.
    incompatible: models of which no card holds two. fractional: models may be cut, bins open at the
    largest workspace left and take ``room - workspace`` bytes.
    """
    copies = [
        _Copy(_always(model), _workspace(model), _copies(world, model, scale))
        for model in world.models
    ]
    if any(copy.count < 0 for copy in copies):
        return [Bound("replicas", math.inf)]
    usable = {index for group in world.groups for index in group.allowed}
    room = max((_bytes_for_models(world.cards[index]) for index in usable), default=0)
    work = sum(_least_work(model) for model in world.models) * scale
    rooms = sorted((world.room(card) for card in world.cards), reverse=True)
    return [
        Bound("load", _cards_for(work, rooms)),
        Bound("replicas", max(copy.count for copy in copies)),
        Bound("incompatible", _incompatible(copies, room)),
        Bound("anti-affinity", _enemies(world, copies)),
        Bound("fractional", _fractional(copies, room)),
    ]


def max_alpha_bound(world: World) -> Bound:
    """The smallest upper bound on alpha; a value of 0 means that no plan serves anything.

    compute: all cards over all work. replica cap: one model's fastest cards. copies: the alpha at
    which the copies that the demand forces no longer go onto the cards there are.
    """
    work = sum(_least_work(model) for model in world.models)
    bounds = [Bound("compute", sum(world.room(card) for card in world.cards) / work)]
    for model in world.models:
        if model.work > 0:
            most = sum(_rooms(world, model)[: model.max_replicas])
            bounds.append(Bound("replica cap", most / _least_work(model)))
    best = min(bounds, key=lambda bound: bound.value)
    forced = _largest_scale(world, best.value)
    found = Bound("copies", forced) if forced < best.value * (1 - _SLACK) else best
    return Bound(found.name, found.value * (1 + _SLACK))


def _largest_scale(world: World, high: float) -> float:
    """Bisect for the alpha above which the forced copies need more cards than there are."""
    if _possible(world, high):
        return high
    low = 0.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _possible(world, middle) else (low, middle)
    return high


def _possible(world: World, scale: float) -> bool:
    return min_cards_bound(world, scale).value <= len(world.cards)


def _bytes_for_models(card: Card) -> int:
    return card.usable_bytes - card.overhead_bytes


def _always(model: Model) -> int:
    own = model.footprint
    return own.weight_total + own.private_workspace + own.io_total + own.object_total


def _workspace(model: Model) -> int:
    return model.footprint.workspace if model.footprint.shares else 0


def _least_work(model: Model) -> float:
    """The work of a model where it does best: apart, if that gains."""
    return model.work / max(1.0, model.overlap)


def _rooms(world: World, model: Model) -> list[float]:
    """The work per second that the cards allowed to the model can do, largest first."""
    rooms = (world.room(world.cards[index]) for index in world.allowed[model.name])
    return sorted(rooms, reverse=True)


def _copies(world: World, model: Model, scale: float) -> int:
    """The replicas that ``scale`` x a model's demand forces; -1 if it cannot have enough."""
    needed = model.replicas_needed
    if model.work > 0 and scale > 0:
        by_load = _cards_for(_least_work(model) * scale, _rooms(world, model))
        if by_load == math.inf or (model.max_replicas is not None and by_load > model.max_replicas):
            return -1
        needed = max(needed, int(by_load))
    return needed


def _cards_for(work: float, rooms: Sequence[float]) -> float:
    """How many cards, fastest first, it takes to do ``work``; infinite if all are too few."""
    left, used = work * (1 - _SLACK), 0
    for room in rooms:
        if left <= 0:
            return used
        left -= room
        used += 1
    return used if left <= work * _SLACK else math.inf


def _incompatible(copies: Sequence[_Copy], room: int) -> int:
    """Copies with ``2 always + k > room`` among those whose workspace is at least ``k``: a clique.

    Two of them weigh more than ``room - k`` and bring a workspace of at least ``k``.
    """
    best = 0
    levels = sorted({copy.workspace for copy in copies})
    for level in levels[:: max(1, len(levels) // 64)]:
        clique = (c.count for c in copies if c.workspace >= level and 2 * c.always + level > room)
        best = max(best, sum(clique))
    return best


def _enemies(world: World, copies: Sequence[_Copy]) -> int:
    """The members of one anti-affinity group are never together."""
    count = {model.name: copy.count for model, copy in zip(world.models, copies, strict=True)}
    groups = world.problem.anti_affinity
    return max((sum(count[name] for name in group) for group in groups), default=0)


def _fractional(copies: Sequence[_Copy], room: int) -> float:
    """Bins of divisible items, largest workspace first: the optimum of the cut relaxation."""
    bins, left = 0, 0
    for copy in sorted(copies, key=lambda copy: (-copy.workspace, -copy.always)):
        need = copy.always * copy.count
        if need == 0 and copy.count and bins == 0:
            bins = 1
        inside = min(need, left)
        need, left = need - inside, left - inside
        if need > 0:
            size = room - copy.workspace
            if size <= 0:
                return math.inf
            opened = -(-need // size)
            bins, left = bins + opened, opened * size - need
    return bins
