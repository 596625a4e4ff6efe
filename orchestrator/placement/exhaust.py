"""Every placement there is, in a fixed order: what finds a plan, or none, where greed does not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from orchestrator.placement.board import EPSILON, Tally, empty_tally, forbidden, joined, overfull
from orchestrator.placement.groups import Group, World, natural

#: Placements of one group that are tried in all; enough for a handful of models and cards.
DEFAULT_NODES = 2000


@dataclass
class _Nodes:
    left: int


def placements(world: World, nodes: int = DEFAULT_NODES) -> Iterator[tuple[Tally, ...]]:
    """Placements that keep every rule but the demand's, until ``nodes`` steps are spent.

    Groups with the fewest cards to choose from come first, then the largest; few replicas first.
    """
    order = sorted(
        world.groups,
        key=lambda group: (
            len(group.allowed),
            -group.workspace - group.always,
            natural(group.name),
        ),
    )
    tallies = [empty_tally(card) for card in world.cards]
    yield from _place(world, order, tallies, _Nodes(nodes))


def _place(
    world: World, groups: Sequence[Group], tallies: list[Tally], nodes: _Nodes
) -> Iterator[tuple[Tally, ...]]:
    if not groups:
        yield tuple(tallies)
        return
    group, rest = groups[0], groups[1:]
    least = max(group.low, 1 if group.work > EPSILON else 0)
    most = len(group.allowed) if group.high is None else min(group.high, len(group.allowed))
    for count in range(least, most + 1):
        for chosen in combinations(group.allowed, count):
            if nodes.left <= 0:
                return
            nodes.left -= 1
            grown = _with(world, group, chosen, tallies)
            if grown is not None:
                yield from _place(world, rest, grown, nodes)


def _with(
    world: World, group: Group, chosen: Sequence[int], tallies: Sequence[Tally]
) -> list[Tally] | None:
    """The cards with the group on the chosen ones; None if that breaks a rule."""
    if len({world.cards[index].node for index in chosen}) < min(group.spread, group.low):
        return None
    grown = list(tallies)
    for index in chosen:
        after = joined(tallies[index], group.models)
        if forbidden(world, group, tallies[index]) or overfull(tallies[index], after):
            return None
        grown[index] = after
    return grown
