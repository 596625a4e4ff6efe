"""Takes load off the busiest cards, by dividing pairs of them anew, until none is too busy."""

import itertools
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.pairs import MOST_FREE, Aim, Pair, drawn
from orchestrator.placement.search.sheet import Numbers

#: How much worse two cards may become: at first, falling to nothing by the end of the budget.
HEAT = 0.3
#: How often one of the busiest cards is one of the two, how surely the very busiest, and how often
#: the other has a copy of its groups.
_BUSIEST, _STEEP, _RELATED = 0.7, 0.5, 0.25
#: How often the best division is taken, and among how many one is drawn else.
_BEST, _CHOICES = 0.3, 7


@dataclass
class Budget:
    """Steps that are left: counted, so that equal input gives equal plans.

    ``interrupted`` may end a search early, and ``cut`` says that it did.
    """

    left: int
    interrupted: Callable[[], bool] = lambda: False
    cut: bool = False

    def late(self) -> bool:
        """Whether there is no time left."""
        if not self.cut and self.interrupted():
            self.cut = True
        return self.cut

    def spend(self, steps: int = 1) -> bool:
        """Take steps; False when there are none left, or no time."""
        self.left -= steps
        return not self.late() and self.left >= 0

    def part(self, steps: int) -> "Budget":
        """At most so many of the steps that are left, as a budget of their own."""
        own = Budget(max(0, min(steps, self.left)), self.interrupted, self.cut)
        self.left -= own.left
        return own

    def give_back(self, part: "Budget") -> None:
        """Take back what a part did not use."""
        self.left += max(part.left, 0)
        self.cut = self.cut or part.cut


def balance(
    layout: Layout,
    target: float,
    budget: Budget,
    seed: int = 0,
    closed: Iterable[int] = (),
    most_moves: int | None = None,
    heat: float = HEAT,
) -> Layout:
    """The best placement found from this one, which is changed; stops at a peak of ``target``.

    ``closed`` cards are left as they are; at most ``most_moves`` replicas end up where the previous
    plan did not have them. With less ``heat``, free memory counts for less too: it hides what small
    differences of load are worth.
    """
    search = _Search(layout, budget, random.Random(seed), set(closed), heat)
    if most_moves is not None:
        search.moves_left = most_moves - away(layout)
    return search.run(target)


def away(layout: Layout) -> int:
    """Replicas that are where the previous plan did not have them."""
    sheet = layout.sheet
    places = zip(sheet.members, layout.at, sheet.homes, strict=True)
    return sum(members * len(cards - home) for members, cards, home in places)


class _Search:
    """Simulated annealing over divisions of two cards.

    ``before`` is what cards held in the best placement, of those that hold something else by now:
    nothing while the layout itself is the best. ``full``, by card: its work over what it can do.
    """

    def __init__(
        self, layout: Layout, budget: Budget, rng: random.Random, closed: set[int], heat: float
    ) -> None:
        sheet = layout.sheet
        self.layout, self.budget, self.rng, self.heat = layout, budget, rng, heat
        self.cards = np.array([card for card in range(sheet.cards) if card not in closed], np.int64)
        self.open = set(self.cards.tolist())
        speed = float(sheet.speed[self.cards].sum())
        even = max(float(sheet.work.sum()) / max(speed, 1.0), 1e-9)
        self.aim = Aim(even, free=Aim.free * min(1.0, heat / HEAT))
        self.moves_left: int | None = None
        self.steps = max(budget.left, 1)
        self.before: dict[int, dict[int, int]] = {}
        self.full: Numbers = layout.busy / sheet.speed
        self.peak = layout.peak()

    def run(self, target: float) -> Layout:
        """Search until the target, or the budget's end; the best placement seen."""
        while self.peak > target and len(self.cards) > 1 and self.budget.spend():
            one, other = self._cards()
            if one != other:
                self._divide(one, other)
        for card, held in self.before.items():
            self.layout.refill(card, held)
        return self.layout

    def _cards(self) -> tuple[int, int]:
        """Two cards: the busiest or any, and any or one with a copy of the first one's groups."""
        layout, rng, cards = self.layout, self.rng, self.cards
        one = int(cards[rng.randrange(len(cards))])
        if rng.random() < _BUSIEST:
            rank = min(int(rng.expovariate(_STEEP)), len(cards) - 1)
            one = int(cards[self._busiest(rank)])
        if rng.random() < _RELATED:
            copied = (layout.at[group] for group in layout.on[one] if len(layout.at[group]) > 1)
            related = set[int]().union(*copied).intersection(self.open) - {one}
            if related:
                return one, sorted(related)[rng.randrange(len(related))]
        return one, int(cards[rng.randrange(len(cards))])

    def _busiest(self, rank: int) -> int:
        """Which of the cards is busier than all but so many; of equals the first."""
        full = self.full[self.cards]
        last = np.partition(full, len(full) - 1 - rank)[len(full) - 1 - rank]
        top = np.flatnonzero(full >= last)
        return int(top[np.argsort(-full[top], kind="stable")[rank]])

    def _divide(self, one: int, other: int) -> None:
        """Draw one of the best divisions, and make it if it is not too much worse."""
        layout, rng = self.layout, self.rng
        free, both = drawn(layout, one, other, rng, copies=True)
        if len(free) > MOST_FREE:
            self.budget.spend()  # That many take about twice as long.
        most = (
            None if self.moves_left is None else max(self.moves_left, 0) + self._moved(one, other)
        )
        pair = Pair(layout, (one, other), free, both, self.aim, most_moves=most)
        if not len(pair.divisions):
            return
        if rng.random() < _BEST:
            at = int(np.argmin(pair.energy))
        else:
            options = pair.best(_CHOICES)
            at = options[rng.randrange(len(options))]
        rise = float(pair.energy[at]) - pair.now()
        warm = max(self.heat * self.budget.left / self.steps, 1e-9)
        if rise > 0 and rng.random() >= math.exp(-rise / warm):
            return
        before, held = self._moved(one, other), {card: layout.on[card] for card in (one, other)}
        if pair.make(at):
            if self.moves_left is not None:
                self.moves_left += before - self._moved(one, other)
            self._remember(held)

    def _moved(self, *cards: int) -> int:
        """Replicas on these cards that are where the previous plan did not have them."""
        sheet, on = self.layout.sheet, self.layout.on
        if self.moves_left is None:
            return 0
        return sum(
            sheet.members[group]
            for card in cards
            for group in on[card]
            if card not in sheet.homes[group]
        )

    def _remember(self, held: dict[int, dict[int, int]]) -> None:
        """Keep the best: as it is now, or by what two cards held until now."""
        layout, sheet = self.layout, self.layout.sheet
        for card in held:
            self.full[card] = layout.busy[card] / sheet.speed[card]
        peak = float(self.full.max())
        if peak < self.peak * (1 - 1e-9):
            self.peak = peak
            self.before.clear()
        elif self.before or sheet.special or peak > self.peak:
            for card, groups in held.items():
                self.before.setdefault(card, groups)


def trim(layout: Layout) -> None:
    """Drop replicas whose load the group's other replicas can take, and no card become busier."""
    sheet = layout.sheet
    limit = np.floor(sheet.speed * layout.peak()).astype(np.int64)
    if not sheet.special:
        _uncross(layout)
    for group in range(sheet.groups):
        for card in sorted(layout.at[group], key=lambda card: (layout.on[card][group], card)):
            if len(layout.at[group]) <= sheet.low[group]:
                break
            _hand_over(layout, group, card, limit)


def _uncross(layout: Layout) -> None:
    """Where two groups are both split over two cards, each keeps to one as far as that goes."""
    split = [group for group, cards in enumerate(layout.at) if len(cards) > 1]
    for group, other in itertools.combinations(split, 2):
        for one, two in itertools.pairwise(sorted(layout.at[group] & layout.at[other])):
            here, there = layout.on[one], layout.on[two]
            part = min(there[group], here[other])
            here[group], there[group] = here[group] + part, there[group] - part
            here[other], there[other] = here[other] - part, there[other] + part


def _hand_over(layout: Layout, group: int, card: int, limit: Numbers) -> None:
    others = layout.at[group] - {card}
    idle = {other: max(0, int(limit[other] - layout.busy[other])) for other in sorted(others)}
    load = layout.remove(group, card)
    if load > sum(idle.values()) or not layout.spread_kept(group):
        layout.add(group, card, load)
        return
    for other, free in idle.items():
        taken = min(load, free)
        if taken:
            layout.add(group, other, taken)
        load -= taken
