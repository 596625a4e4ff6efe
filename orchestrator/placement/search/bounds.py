"""What no plan can beat: proven bounds, each with its name."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.inventory import Card
from orchestrator.placement.groups import Group, World

Numbers = npt.NDArray[Any]
#: Bounds are relaxed by this share, so that rounding can never put one on the wrong side.
SLACK = 1e-9
#: Workspace levels at which models are counted that do not go together.
_LEVELS = 64


@dataclass(frozen=True)
class Bound:
    """``value``: no plan uses fewer cards (min_cards) or serves more (max_alpha)."""

    name: str
    value: float


def min_cards_bound(world: World, scale: float = 1.0) -> Bound:
    """The largest of all lower bounds on the cards of a plan that serves ``scale`` x demand."""
    return max(cards_bounds(world, scale), key=lambda bound: bound.value)


def cards_bounds(world: World, scale: float) -> list[Bound]:
    """Every lower bound on the number of cards; infinite where a model cannot be served at all.

    load: the work over the fastest cards. replicas: copies of one model need different cards.
    crowded: models of which no card holds more than one, two or three. fractional: models may be
    cut, cards open at the largest workspace left and take ``room - workspace`` bytes; the work that
    needs a large workspace forces it on as many cards as it fills.
    """
    return Items(world).cards_bounds(scale)


def max_alpha_bound(world: World) -> Bound:
    """The smallest upper bound on alpha; a value of 0 means that no plan serves anything.

    compute: all cards over all work. replica cap: one model's fastest cards. copies: the alpha at
    which the copies that the demand forces no longer go onto the cards there are.
    """
    items = Items(world)
    best = min(items.alpha_bounds(), key=lambda bound: bound.value)
    forced = _largest_scale(items, best.value)
    found = Bound("copies", forced) if forced < best.value * (1 - SLACK) else best
    return Bound(found.name, found.value * (1 + SLACK))


def _largest_scale(items: "Items", high: float) -> float:
    """Bisect for the alpha above which the forced copies need more cards than there are."""
    if items.possible(high):
        return high
    low = 0.0
    for _ in range(32):
        middle = (low + high) / 2
        low, high = (middle, high) if items.possible(middle) else (low, middle)
    return high


class Items:
    """What each group takes on any card, and what the cards have, the roomiest and fastest first.

    A group's models are always together, so a copy of the group is one thing to place.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        groups = world.groups
        lone = sum(group.in_session for group in groups) <= 1
        self.always = np.array([g.always if lone else g.least for g in groups], np.int64)
        #: A session that shares nothing may take no more than what it is measured at.
        self.level = np.array([0 if g.in_session else g.workspace for g in groups], np.int64)
        self.low = np.array([group.low for group in groups], np.int64)
        self.high = np.array([_high(group) for group in groups], np.int64)
        self.work = np.array([_least_work(group) for group in groups])
        #: Groups from the largest workspace down.
        self.order = np.lexsort((-self.always, -self.level))

    @cached_property
    def rooms(self) -> list[int]:
        """Bytes for models on each card that any group may use, largest first."""
        return sorted((room_of(self.world.cards[index]) for index in self.usable), reverse=True)

    @cached_property
    def usable(self) -> list[int]:
        """The cards that any group may use."""
        choices = {group.allowed for group in self.world.groups}
        return sorted({index for choice in choices for index in choice})

    @cached_property
    def speeds(self) -> list[tuple[Numbers, Numbers]]:
        """For each choice of cards: who has it, and the work of its fastest cards, summed up."""
        world, found = self.world, []
        members: dict[tuple[int, ...], list[int]] = {}
        for index, group in enumerate(world.groups):
            members.setdefault(group.allowed, []).append(index)
        for allowed, groups in members.items():
            speeds = sorted((world.room(world.cards[index]) for index in allowed), reverse=True)
            found.append((np.array(groups), np.cumsum(speeds) if speeds else np.zeros(1)))
        return found

    @cached_property
    def all_speeds(self) -> Numbers:
        """The work of the fastest of all cards, summed up."""
        speeds = sorted((self.world.room(card) for card in self.world.cards), reverse=True)
        found: Numbers = np.cumsum(speeds)
        return found

    def copies(self, scale: float) -> Numbers | None:
        """The replicas that ``scale`` x the demand forces; None if one cannot have enough."""
        copies = self.low.copy()
        for groups, sums in self.speeds:
            work = self.work[groups] * scale * (1 - SLACK)
            needed = np.where(work > 0, np.searchsorted(sums, work) + 1, 0)
            if np.any(needed > len(sums)):
                return None
            copies[groups] = np.maximum(copies[groups], needed)
        return None if np.any((copies > self.high) & (self.work * scale > 0)) else copies

    def cards_bounds(self, scale: float) -> list[Bound]:
        """Lower bounds on the cards that serve ``scale`` x the demand."""
        copies = self.copies(scale)
        if copies is None:
            return [Bound("replicas", math.inf)]
        work = float(self.work.sum()) * scale * (1 - SLACK)
        load = int(np.searchsorted(self.all_speeds, work)) + 1 if work > 0 else 0
        return [
            Bound("load", load if load <= len(self.all_speeds) else math.inf),
            Bound("replicas", int(copies.max())),
            Bound("crowded", self._crowded(copies)),
            Bound("anti-affinity", self._apart(copies)),
            Bound("fractional", self._fractional(copies, scale)),
        ]

    def possible(self, scale: float) -> bool:
        """Whether no lower bound on the cards exceeds the cards there are."""
        cards = len(self.world.cards)
        return all(bound.value <= cards for bound in self.cards_bounds(scale))

    def alpha_bounds(self) -> Iterator[Bound]:
        """Upper bounds on alpha, one by one."""
        yield Bound("compute", float(self.all_speeds[-1]) / float(self.work.sum()))
        for groups, sums in self.speeds:
            some = groups[self.work[groups] > 0]
            if len(some):
                most = sums[np.minimum(self.high[some], len(sums)) - 1]
                yield Bound("replica cap", float(np.min(most / self.work[some])))

    def _crowded(self, copies: Numbers) -> int:
        """Copies of which no card holds more than ``most``, by ``most``.

        Those with ``(most + 1) always + k > room`` and a workspace of at least ``k``: one more of
        them would weigh more than ``room - k`` and bring a workspace of at least ``k``.
        """
        best, room = 0, self.rooms[0] if self.rooms else 0
        levels = np.unique(self.level[copies > 0])
        for level in levels[:: max(1, len(levels) // _LEVELS)]:
            high = self.level >= level
            for most in (1, 2, 3):
                count = int(copies[high & ((most + 1) * self.always + level > room)].sum())
                best = max(best, -(-count // most))
        return best

    def _apart(self, copies: Numbers) -> int:
        """The members of one anti-affinity group are never together."""
        of = {
            model.name: int(count)
            for group, count in zip(self.world.groups, copies, strict=True)
            for model in group.models
        }
        apart = self.world.problem.anti_affinity
        return max((sum(of[name] for name in group) for group in apart), default=0)

    def _forced(self, scale: float) -> list[int]:
        """The least that the workspaces of a plan's cards can be, in falling order.

        What needs a workspace of at least ``k`` is served by cards that have one, and these must be
        as many as its work takes.
        """
        order = self.order
        work = self.work[order] * scale * (1 - SLACK)
        return forced_levels(self.level[order], work, self.all_speeds)

    def _fractional(self, copies: Numbers, scale: float) -> float:
        """Cards of divisible copies, largest workspace first: the optimum when copies may be cut.

        Cards open roomiest first, at the workspace of what is left or at the forced one; with the
        workspaces of any cut packing in falling order, the first cards of this one hold no less.
        """
        opened = self.opened(copies, scale)
        return math.inf if opened is None else len(opened)

    def opened(self, copies: Numbers, scale: float) -> list[int] | None:
        """The workspaces of those cards, falling: in falling order, no plan's are any smaller."""
        wanted = self.order[copies[self.order] > 0]
        needs = (self.always * copies)[wanted].tolist()
        levels = self.level[wanted].tolist()
        if not len(wanted):
            return []
        return pour(needs, levels, self.rooms, self._forced(scale)) if self.rooms else None


def forced_levels(levels: Numbers, work: Numbers, speeds: Numbers) -> list[int]:
    """The least that the workspaces of cards can be, in falling order, by what is done on them.

    ``levels`` fall, each with its ``work``; ``speeds`` sum up those of the fastest cards.
    """
    total = np.cumsum(work)
    cards = np.where(total > 0, np.searchsorted(speeds, total) + 1, 0)
    forced: list[int] = []
    for count, level in zip(cards.tolist(), levels.tolist(), strict=True):
        forced.extend([level] * (min(count, len(speeds)) - len(forced)))
    return forced


def pour(
    needs: Sequence[float], levels: Sequence[int], rooms: Sequence[int], forced: Sequence[int]
) -> list[int] | None:
    """The workspaces of the cards opened; beyond those that there are, more of the roomiest.

    None where something has no room on the next card.
    """
    opened: list[int] = []
    free: float = 0
    for need, level in zip(needs, levels, strict=True):
        left = need
        while left > free or not opened:
            left -= free
            room = rooms[len(opened)] if len(opened) < len(rooms) else rooms[0]
            if level > room or (level == room and left > 0):
                return None
            # A forced workspace may leave a card nothing: then the next has a smaller one.
            least = max(level, forced[len(opened)]) if len(opened) < len(forced) else level
            free = max(room - least, 0)
            opened.append(least)
        free -= left
    return opened


def room_of(card: Card) -> int:
    """Bytes for models on a card; none where its overhead is more than it may use."""
    return max(card.usable_bytes - card.overhead_bytes, 0)


def _high(group: Group) -> int:
    return len(group.allowed) if group.high is None else group.high


def _least_work(group: Group) -> float:
    """The work of a group where it does best: apart, if that gains."""
    return sum(model.work / max(1.0, model.overlap) for model in group.models)
