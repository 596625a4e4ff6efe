"""Every placement there is, in a fixed order: what finds a plan, or none, where greed does not."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from orchestrator.placement.board import Tally, empty_tally, forbidden, joined, overfull
from orchestrator.placement.groups import Group, World, natural

#: Placements of one group that are tried in all; enough for a handful of models and cards.
DEFAULT_NODES = 2000
#: Groups above which so few tries would end before the first placement of all.
MOST_GROUPS = 300


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
    if len(order) > MOST_GROUPS:
        return
    open_ = [(_choices(order[0]), [empty_tally(card) for card in world.cards])]
    while open_:
        choices, tallies = open_[-1]
        group, chosen = order[len(open_) - 1], next(choices, None)
        if chosen is None:
            open_.pop()
            continue
        if nodes <= 0:
            return
        nodes -= 1
        grown = _with(world, group, chosen, tallies)
        if grown is None:
            continue
        if len(open_) == len(order):
            yield tuple(grown)
        else:
            open_.append((_choices(order[len(open_)]), grown))


def _choices(group: Group) -> Iterator[tuple[int, ...]]:
    """The cards that the group may be on, few replicas first."""
    least = max(group.low, 1 if group.work > 0 else 0)
    most = len(group.allowed) if group.high is None else min(group.high, len(group.allowed))
    for count in range(least, most + 1):
        yield from combinations(group.allowed, count)


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
