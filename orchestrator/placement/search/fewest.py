"""The fewest cards that serve all demand: fill them in every variant, then try with one less."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from orchestrator.placement.search.balance import balance
from orchestrator.placement.search.candidate import Candidate, candidate, serves
from orchestrator.placement.search.dense import TASTES, Taste
from orchestrator.placement.search.exhaust import placements
from orchestrator.placement.search.fill import FEW, STEEP, Variant
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.levelled import MANY, levelled
from orchestrator.placement.search.run import Run, better
from orchestrator.placement.search.sheet import Numbers

_TO_FEW: tuple[Variant | Taste, ...] = (*FEW, *TASTES)
#: Ways to pack onto fewer cards, each with how busy cards may be, which is then put right.
_TO_PACK: tuple[tuple[Variant | Taste, float], ...] = (
    (STEEP[1], 1.0),
    (Variant("size", "even"), 1.15),
    (TASTES[8], 1.1),
    (Variant("workspace", "balanced"), 1.3),
)
#: How often memory and time are packed together, each time in a part of the steps that are left.
_TRIES, _TIMED = 2, 3
#: Placements of all whose loads are split to see whether they serve the demand.
_MOST_FIRST = 100
#: How busy a card may still be for more steps to be worth their time.
_HOPELESS = 1.25


class FewestCards(Run):
    """The search for a plan that serves all demand on as few cards as possible."""

    def best(self) -> Candidate | None:
        """Fill cards in every variant, then try with one card less until that fails."""
        if self.bound.value > self.sheet.cards:
            return None
        best = levelled(self.sheet, self.bound, self._useful(), self.steps, self.seed)
        many = self.sheet.groups * self.sheet.cards > MANY
        for variant in _TO_FEW[: 1 if many and best else None]:
            # Without a step left, what costs least goes on until it has found a plan.
            more = self.steps.spend() or (best is None and variant in FEW)
            if not more or (best is not None and best.used() <= self.bound.value):
                break
            found = self._made(variant, self.sheet.speed, sure=best is None and variant in FEW)
            if found and found.peak() <= 1.0 and (best is None or better(found, best)):
                best = found
        best = best or self._with_cards(range(self.sheet.cards))
        if best is None or best.used() > self.bound.value:
            self._bounded()
            best = self._exactly(best)
        if best is None:
            return self._first()
        while best.used() > self.bound.value and self.steps.left > 0:
            fewer = self._one_less(best)
            if fewer is None:
                break
            best = fewer
        best = self._asked(best)
        found_all = self._levelled(best)
        return found_all if serves(found_all) else self._first()

    def _useful(self) -> list[int]:
        """The cards, those with most memory and time first."""
        worth = self._worth()
        return sorted(range(self.sheet.cards), key=lambda card: (-worth[card], card))

    def _worth(self) -> Numbers:
        """By card, its memory and its time as shares of the most that one has."""
        memory = np.minimum(self.sheet.room / self.sheet.room.max(), 1.0)
        found: Numbers = memory + self.sheet.speed / self.sheet.speed.max()
        return found

    def _one_less(self, best: Layout) -> Layout | None:
        """The same on one card less: without the least useful of the used cards, or the best."""
        used = [card for card, held in enumerate(best.on) if held]
        worth = self._worth()
        least = min(used, key=lambda card: (worth[card], best.busy[card], card))
        choices = [
            [card for card in used if card != least],
            sorted(self._useful()[: len(used) - 1]),
        ]
        for index, cards in enumerate(choices):
            if index and cards == choices[0]:
                break
            found = self._with_cards(cards)
            if found is not None:
                return found
        return None

    def _with_cards(self, cards: Sequence[int]) -> Layout | None:
        """A placement on these cards that serves all demand: memory first, then less load."""
        closed = sorted(set(range(self.sheet.cards)) - set(cards))
        starts: list[Layout] = []
        for packed in self._packed(cards, closed):
            part = self.steps.part(min(self.enough(), self.steps.left // 8))
            found = balance(packed, 1.0, part, self.seed + len(starts), closed)
            self.steps.give_back(part)
            if found.peak() <= 1.0:
                return found
            starts.append(found)
        if not starts:
            return None
        best = min(starts, key=lambda layout: layout.peak())
        if best.peak() > _HOPELESS:
            return None
        part = self.steps.part(min(8 * self.enough(), self.steps.left // 2))
        best = balance(best, 1.0, part, self.seed, closed)
        self.steps.give_back(part)
        return best if best.peak() <= 1.0 else None

    def _packed(self, cards: Sequence[int], closed: Sequence[int]) -> Iterator[Layout]:
        """Placements on these cards, some of which are too busy."""
        many = self.sheet.groups * self.sheet.cards > MANY
        for attempt in range(0 if many else _TRIES):
            steps = self.steps.left // _TIMED
            timed = self._timed(1.0, cards, steps, self.seed + attempt)
            if timed is not None:
                yield timed
        if self.sheet.work.any():
            limit = self.sheet.speed.copy()
            limit[closed] = -1
            for variant, share in _TO_PACK:
                if not self.steps.spend():
                    return
                found = self._made(variant, (limit * share).astype(np.int64))
                if found is not None:
                    yield found
        squeezed = self._squeezed(1.0, cards, self.steps.left // 4)
        if squeezed is not None:
            yield squeezed

    def _first(self) -> Candidate | None:
        """The first placement of all that serves the demand, where every constructor failed."""
        for tallies in islice(placements(self.scene, few=True), _MOST_FIRST):
            found = candidate(self.scene, tallies)
            if serves(found):
                return found
        return None

    def _levelled(self, best: Layout) -> Candidate:
        """The same cards, less busy: ties among plans are broken by the busiest card."""
        idle = [card for card, held in enumerate(best.on) if not held]
        if self.sheet.work.any():
            part = self.steps.part(min(self.enough() // 4, self.steps.left // 4))
            best = balance(best, self.even, part, self.seed, idle, heat=0.0)
            self.steps.give_back(part)
        return self._candidate(best)
