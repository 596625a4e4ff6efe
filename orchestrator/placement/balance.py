"""Takes load off the busiest card, by exchanging groups between cards, until none is too busy."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from orchestrator.placement.exchange import MOST_SWAPS, Market, Swap, apply, spare
from orchestrator.placement.layout import Layout
from orchestrator.placement.sheet import Numbers

#: Steps without a better placement before the search goes back to the best one.
_PATIENCE = 80
#: The largest rise of a swap that is accepted, in eighth powers of the busiest card, at the start.
_RISE = 0.6


@dataclass
class Budget:
    """Steps that are left: counted, so that equal input gives equal plans.

    ``interrupted`` may end a search early, and ``cut`` says that it did.
    """

    left: int
    interrupted: Callable[[], bool] = lambda: False
    cut: bool = False

    def spend(self, steps: int = 1) -> bool:
        """Take steps; False when there are none left, or no time."""
        if not self.cut and self.interrupted():
            self.cut = True
        self.left -= steps
        return self.left >= 0 and not self.cut

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
) -> Layout:
    """The best placement found from this one, which is changed; stops at a peak of ``target``.

    ``closed`` cards are left as they are; at most ``most_moves`` replicas end up where the previous
    plan did not have them.
    """
    search = _Search(layout, budget, random.Random(seed))
    search.open[list(closed)] = False
    if most_moves is not None:
        search.moves_left = most_moves - away(layout)
    return search.run(target)


def away(layout: Layout) -> int:
    """Replicas that are where the previous plan did not have them."""
    homes = layout.sheet.homes
    return sum(len(cards - home) for cards, home in zip(layout.at, homes, strict=True))


class _Search:
    """Tabu search: the busiest card makes its best swap, even a bad one, and may not undo it.

    ``best`` is None while the layout itself is the best, and is copied before that ends.
    """

    def __init__(self, layout: Layout, budget: Budget, rng: random.Random) -> None:
        self.layout = layout
        self.budget = budget
        self.rng = rng
        self.market = Market(layout)
        self.until = np.zeros(layout.sheet.groups, np.int64)
        self.open = np.ones(layout.sheet.cards, bool)
        self.moves_left: int | None = None
        self.step = 0
        self.steps = max(budget.left, 1)
        self.best: Layout | None = None
        self.peak = layout.peak()
        self.last = 0

    def run(self, target: float) -> Layout:
        """Search until the target, or the budget's end; the best placement seen."""
        while self.peak > target and self.budget.spend():
            self.step += 1
            card = self._card()
            if not self._even_out(card):
                self._exchange(card)
            self._remember()
        return self.layout if self.best is None else self.best

    def _card(self) -> int:
        """The busiest card; now and then another of the busier ones."""
        full = self.layout.busy / self.layout.sheet.speed
        if self.rng.random() < 0.8:
            return int(np.argmax(full))
        busier = np.flatnonzero(full >= full.mean())
        return int(busier[self.rng.randrange(len(busier))])

    def _even_out(self, card: int) -> bool:
        """Shift load to other replicas of the card's groups that are on less busy cards."""
        layout, speed = self.layout, self.layout.sheet.speed
        best: tuple[float, int, int, int] | None = None
        mine = int(layout.busy[card]) / int(speed[card])
        for group, load in layout.on[card].items():
            if load == 0 or len(layout.at[group]) < 2:
                continue
            for other in sorted(layout.at[group] - {card}):
                gap = mine - int(layout.busy[other]) / int(speed[other])
                if gap > 1e-6 * mine and (best is None or gap > best[0] + 1e-12):
                    best = (gap, group, other, load)
        if best is None:
            return False
        _, group, other, load = best
        own, its = int(speed[card]), int(speed[other])
        even = (int(layout.busy[card]) * its - int(layout.busy[other]) * own) // (own + its)
        part = min(load, even)
        if part <= 0:
            return False
        return self._apply(Swap(card, other, (group,), (), part, -1.0))

    def _exchange(self, card: int) -> bool:
        """The card's best swap with some of the others."""
        scale = max(float(self.layout.busy[card]) / float(self.layout.sheet.speed[card]), 1e-9)
        barred = self.until > self.step
        rise = _RISE * (1 - self.step / (self.steps + 1))
        others = self._others(card)
        if not others:
            return False
        for swap in self.market.swaps(card, others, scale, barred):
            if swap.delta >= rise or not (swap.go or swap.come):
                break
            if self._apply(swap):
                tenure = 2 + self.rng.randrange(2 + len(self.layout.on[card]))
                self.until[[*swap.go, *swap.come]] = self.step + tenure
                return True
        self.until[list(self.layout.on[card])] = self.step
        return False

    def _others(self, card: int) -> list[int]:
        """Cards to swap with: all if they are few, else the least busy and some others."""
        layout = self.layout
        full = layout.busy / layout.sheet.speed
        most = MOST_SWAPS // max(1, len(self.market.of(card).size))
        order = [int(c) for c in np.argsort(full, kind="stable") if c != card and self.open[c]]
        found: list[int] = []
        taken = np.zeros(layout.sheet.cards, bool)
        for turn in range(len(order)):
            pick = turn // 2 if turn % 2 else self.rng.randrange(len(order))
            other = order[pick]
            if taken[other]:
                continue
            taken[other] = True
            most -= len(self.market.of(other).size)
            if most < 0 and found:
                break
            found.append(other)
        return found

    def _apply(self, swap: Swap) -> bool:
        moved = 0 if self.moves_left is None else self._moved(swap)
        if self.moves_left is not None and moved > max(self.moves_left, 0):
            return False
        if self.best is None and self._worsens(swap):
            self.best = self.layout.copy()
        if not apply(self.layout, swap):
            return False
        if self.moves_left is not None:
            self.moves_left -= moved
        self.market.changed(swap.card, swap.other)
        return True

    def _moved(self, swap: Swap) -> int:
        """Replicas more that are where the previous plan did not have them."""
        homes, at = self.layout.sheet.homes, self.layout.at
        moved = 0
        for groups, source, target in (
            (swap.go, swap.card, swap.other),
            (swap.come, swap.other, swap.card),
        ):
            for group in groups:
                stays = swap.part is not None and groups is swap.go
                moved += target not in homes[group] and target not in at[group]
                moved -= source not in homes[group] and not stays
        return moved

    def _worsens(self, swap: Swap) -> bool:
        """Whether one of the two cards becomes busier than the busiest of the best placement."""
        layout, speed = self.layout, self.layout.sheet.speed
        flow = sum(layout.on[swap.other][group] for group in swap.come)
        flow -= swap.part or sum(layout.on[swap.card][group] for group in swap.go)
        busy = (layout.busy[swap.card] + flow) / speed[swap.card]
        other = (layout.busy[swap.other] - flow) / speed[swap.other]
        return bool(layout.sheet.special or max(busy, other) > self.peak)

    def _remember(self) -> None:
        """Keep the best; go back to it when nothing better has come for long."""
        peak = self.layout.peak()
        if peak < self.peak * (1 - 1e-9):
            self.peak, self.last, self.best = peak, self.step, None
        elif self.step - self.last > _PATIENCE and self.best is not None:
            self.last = self.step
            if self.moves_left is not None:
                self.moves_left += away(self.layout) - away(self.best)
            self.layout = self.best.copy()
            self.market = Market(self.layout)
            self.until[:] = 0


def trim(layout: Layout, limit: Numbers) -> None:
    """Drop replicas whose load the group's other replicas can take."""
    sheet = layout.sheet
    for group in range(sheet.groups):
        for card in sorted(layout.at[group], key=lambda card: layout.on[card][group]):
            if len(layout.at[group]) <= sheet.low[group]:
                break
            _hand_over(layout, group, card, limit)


def _hand_over(layout: Layout, group: int, card: int, limit: Numbers) -> None:
    others = layout.at[group] - {card}
    idle = {other: max(0, int(limit[other] - layout.busy[other])) for other in sorted(others)}
    load = layout.remove(group, card)
    if load > sum(idle.values()) or not spare(layout.sheet, layout, group):
        layout.add(group, card, load)
        return
    for other, free in idle.items():
        taken = min(load, free)
        if taken:
            layout.add(group, other, taken)
        load -= taken
