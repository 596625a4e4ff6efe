"""What a search found: a placement with its best split of the loads, and what it is worth."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.placement.board import Tally, empty_tally, joined
from orchestrator.placement.groups import World
from orchestrator.placement.search.loads import Split, split_loads

#: A gap of at most this is none.
NO_GAP = 1e-4


@dataclass(frozen=True)
class Candidate:
    """A placement with its best split, and a score that says how good it is (larger is better)."""

    tallies: tuple[Tally, ...]
    split: Split
    score: tuple[float, ...]


def serves(found: Candidate) -> bool:
    """Whether all demand is served."""
    return found.split.alpha is None or found.split.alpha >= 1 - NO_GAP * 1e-3


def candidate(scene: World, tallies: tuple[Tally, ...]) -> Candidate:
    """A placement with its loads split, and what it is worth."""
    split = split_loads(scene, tallies, balance=False)
    tallies = needed(scene, tallies, split)
    replicas = sum(len(tally.models) for tally in tallies)
    alpha = float(f"{split.alpha:.9g}") if split.alpha is not None else 0.0
    if scene.problem.objective == "min_cards":
        return Candidate(tallies, split, (-used(tallies), alpha, -replicas))
    return Candidate(tallies, split, (alpha, -replicas))


def needed(scene: World, tallies: tuple[Tally, ...], split: Split) -> tuple[Tally, ...]:
    """The placement without replicas that have no load, as far as they are not asked for.

    A card that does some work with just what it had keeps them: it would be restarted without.
    """
    made = list(tallies)
    busy = {card for (_, card), rps in split.rps.items() if rps}
    of: dict[str, list[int]] = {}
    for index, tally in enumerate(tallies):
        for model in tally.models:
            of.setdefault(model.name, []).append(index)
    for group in scene.groups:
        left = of.get(group.models[0].name, [])
        names = {model.name for model in group.models}
        for index in left[::-1] if len(left) > group.low and group.work > 0 else ():
            card = scene.cards[index].name
            idle = not any(split.rps.get((name, card)) for name in names)
            idle = idle and not (card in busy and scene.as_before(card, made[index].names))
            rest = [other for other in left if other != index]
            nodes = {scene.cards[other].node for other in rest}
            if idle and not made[index].special and len(rest) >= max(group.low, 1):
                if len(nodes) < min(group.spread, group.low):
                    continue
                left = rest
                kept = [model for model in made[index].models if model.name not in names]
                made[index] = joined(empty_tally(scene.cards[index]), kept)
    return tuple(made)


def used(tallies: Sequence[Tally]) -> int:
    """Cards with at least one model."""
    return sum(bool(tally.models) for tally in tallies)
