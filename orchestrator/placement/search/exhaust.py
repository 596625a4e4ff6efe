"""Every placement there is, in a fixed order: what finds a plan, or none, where greed does not."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from orchestrator.placement.board import Tally, empty_tally, forbidden, joined, overfull
from orchestrator.placement.groups import Group, World, natural
from orchestrator.placement.search.moves import interchangeable

#: How often it is looked whether a group may be on a card, in all and for each group besides:
#: enough for a handful of groups and cards, and some tenths of a second.
_LOOKS, _LOOKS_EACH = 10_000, 100
#: Of the groups that are not placed, so many of the hardest are looked at before the next is.
_AHEAD = 16
#: Groups above which so few looks would end before the first placement of all.
_MOST_GROUPS = 300
#: By group, the cards that it may be on as they are filled.
_Able = Mapping[str, tuple[int, ...]]


def placements(world: World, *, few: bool) -> Iterator[tuple[Tally, ...]]:
    """Placements that keep every rule but the loads', until enough has been looked at.

    The group with the fewest cards to choose from comes next, and what leaves one too few is given
    up at once. ``few``: the cards of a group are together to do all its work. Few replicas first.
    """
    if len(world.groups) <= _MOST_GROUPS:
        tallies = [empty_tally(card) for card in world.cards]
        yield from _Search(world, few=few).below(tallies, {}, _hardest_first(world))


def _hardest_first(world: World) -> list[Group]:
    """The groups, those first that may be on the fewest cards, then the largest."""
    return sorted(
        world.groups,
        key=lambda group: (
            len(group.allowed),
            -group.workspace - group.always,
            natural(group.name),
        ),
    )


class _Search:
    """A search by depth, and how many looks it has left."""

    def __init__(self, world: World, *, few: bool) -> None:
        self.world, self.few = world, few
        self.left = _LOOKS + _LOOKS_EACH * len(world.groups)
        alike = enumerate(interchangeable(world))
        self.alike = {card: number for number, cards in alike for card in cards}

    def below(
        self, tallies: Sequence[Tally], able: _Able, pending: Sequence[Group]
    ) -> Iterator[tuple[Tally, ...]]:
        """All placements of what is pending beside what is placed."""
        if not pending:
            yield tuple(tallies)
            return
        looked = dict(able)
        for group in pending[:_AHEAD]:
            if group.name not in looked:
                looked[group.name] = self._able(tallies, group, group.allowed)
        choices = {g.name: self._choice(g, looked[g.name]) for g in pending[:_AHEAD]}
        if min(choices.values()) < 0:
            return
        group = min(pending[:_AHEAD], key=lambda group: choices[group.name])
        others = [other for other in pending if other is not group]
        for chosen in self._choices(tallies, group, looked[group.name]):
            grown = list(tallies)
            for card in chosen:
                grown[card] = joined(tallies[card], group.models)
            yield from self.below(grown, self._without(grown, looked, chosen, others), others)

    def _without(
        self, tallies: Sequence[Tally], able: _Able, changed: Sequence[int], groups: Sequence[Group]
    ) -> _Able:
        """Which cards groups may be on, now that some of these hold more."""
        left = {}
        for group in groups[:_AHEAD]:
            if group.name in able:
                before = able[group.name]
                still = self._able(tallies, group, [card for card in before if card in changed])
                left[group.name] = tuple(c for c in before if c in still or c not in changed)
        return left

    def _able(
        self, tallies: Sequence[Tally], group: Group, cards: Sequence[int]
    ) -> tuple[int, ...]:
        """Those of the cards that may take the group; empty ones that are alike are one look."""
        empty: dict[int, bool] = {}
        found = []
        for card in cards:
            kind = None if tallies[card].models else self.alike[card]
            if kind is None or kind not in empty:
                self.left -= 1
                fits = self._fits(tallies[card], group)
                if kind is not None:
                    empty[kind] = fits
            else:
                fits = empty[kind]
            if fits:
                found.append(card)
        return tuple(found)

    def _fits(self, tally: Tally, group: Group) -> bool:
        if forbidden(self.world, group, tally):
            return False
        return overfull(tally, joined(tally, group.models)) is None

    def _least(self, group: Group) -> int:
        return max(group.low, 1 if group.work > 0 else 0)

    def _choice(self, group: Group, cards: Sequence[int]) -> int:
        """How many more cards there are than the group needs; below 0 there are too few."""
        nodes = len({self.world.cards[card].node for card in cards})
        if nodes < min(group.spread, group.low):
            return -1
        return len(cards) - self._least(group)

    def _choices(
        self, tallies: Sequence[Tally], group: Group, cards: Sequence[int]
    ) -> Iterator[tuple[int, ...]]:
        """The cards that the group may be on, as long as there are looks left."""
        world = self.world
        nodes, least = min(group.spread, group.low), 0.0
        if self.few:  # those that run apart may do more than their time
            least = sum(model.work / max(1.0, model.overlap) for model in group.models) * (1 - 1e-9)
        most = len(cards) if group.high is None else min(group.high, len(cards))
        for count in range(self._least(group), most + 1):
            some = self._some(tallies, cards, count)
            for chosen in combinations(some, count):
                if self.left <= 0:
                    return
                self.left -= 1
                held = [world.cards[card] for card in chosen]
                if (
                    sum(map(world.room, held)) >= least
                    and len({card.node for card in held}) >= nodes
                    and self._are_first(tallies, some, chosen)
                ):
                    yield chosen

    def _some(self, tallies: Sequence[Tally], cards: Sequence[int], most: int) -> list[int]:
        """The cards, and of empty ones that are alike the first, as many as may be."""
        seen = Counter[int]()
        kept = []
        for card in cards:
            if not tallies[card].models:
                seen[self.alike[card]] += 1
            if tallies[card].models or seen[self.alike[card]] <= most:
                kept.append(card)
        return kept

    def _are_first(
        self, tallies: Sequence[Tally], cards: Sequence[int], chosen: Sequence[int]
    ) -> bool:
        """Whether of empty cards that are alike the first are chosen: others would be the same."""
        passed = set[int]()
        for card in cards:
            if tallies[card].models:
                continue
            if card not in chosen:
                passed.add(self.alike[card])
            elif self.alike[card] in passed:
                return False
        return True
