"""Small problems improved by CP-SAT, a solver that only those install who want it.

One worker and a limit in the solver's own deterministic time: equal input gives an equal plan.
"""

import math
from itertools import pairwise
from typing import Any

from orchestrator.errors import DeploymentError
from orchestrator.placement.search.bounds import Bound
from orchestrator.placement.search.exact import Exact
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.moves import interchangeable
from orchestrator.placement.search.sheet import Sheet

#: Groups times cards up to which it is worth its time.
MOST_PAIRS = 2000
#: Deterministic time of one run: up to a minute of a slow core.
EFFORT = 4.0
#: Steps of alpha, as shares of its bound: the solver knows whole numbers only.
_STEPS = 20_000


def require(sheet: Sheet) -> None:
    """See that the solver is there and can be given the problem.

    Raises:
        DeploymentError: ortools is not installed; the problem is too large; it has a ``max_delay``,
            an ``overlap`` or a widened workspace, which the solver's model does not have.
    """
    where = "improver cp-sat"
    try:
        import ortools.sat.python.cp_model  # noqa: F401
    except ImportError as error:
        text = f"needs ortools ({error}): pip install 'ascend-orchestrator[cpsat]', or leave it out"
        raise DeploymentError(where, (text,)) from None
    pairs = sheet.groups * sheet.cards
    if pairs > MOST_PAIRS:
        most = MOST_PAIRS // sheet.groups
        text = (
            f"takes at most {MOST_PAIRS:,} models x cards, these are {sheet.groups:,} x "
            f"{sheet.cards:,} = {pairs:,}: leave it out, or plan for {most:,} cards or fewer"
        )
        raise DeploymentError(where, (text,))
    if sheet.special or sheet.widened:
        text = "knows no max_delay, no overlap and no widened workspace: leave it out"
        raise DeploymentError(where, (text,))


def improve(sheet: Sheet, best: Layout, bound: float, *, few: bool, seed: int) -> Exact:
    """Look for a better placement than ``best``, and a better bound than ``bound``."""
    from ortools.sat.python import cp_model

    program = _Program(sheet, cp_model.CpModel(), few, bound)
    program.build(best)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = seed
    solver.parameters.max_deterministic_time = EFFORT
    status = solver.solve(program.model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Exact(None, None)
    return Exact(program.layout(solver), program.proven(solver.best_objective_bound))


class _Program:
    """Variables: who is where with how much work, each card's workspace, cards used or alpha.

    Bytes are exact. Loads are whole units, and every model may lack one on each card: that only
    relaxes the problem; the loads of a plan are split anew.
    """

    def __init__(self, sheet: Sheet, model: Any, few: bool, bound: float) -> None:  # noqa: ANN401
        self.sheet, self.model, self.few, self.bound = sheet, model, few, bound
        groups, cards = range(sheet.groups), range(sheet.cards)
        self.here = [[model.new_bool_var(f"x{g},{c}") for c in cards] for g in groups]
        self.load = [
            [model.new_int_var(0, self._most(g, c), f"y{g},{c}") for c in cards] for g in groups
        ]
        self.level = [model.new_int_var(0, max(0, int(room)), "k") for room in sheet.room]
        self.used = [model.new_bool_var(f"z{c}") for c in cards]
        self.alpha = model.new_int_var(0, _STEPS, "alpha")

    def _most(self, group: int, card: int) -> int:
        sheet = self.sheet
        top = 1.0 if self.few else self.bound
        return min(int(sheet.speed[card]), math.ceil(int(sheet.work[group]) * top))

    def build(self, best: Layout) -> None:
        """Write the rules and the aim, and show the solver the best placement so far."""
        sheet, model = self.sheet, self.model
        for card in range(sheet.cards):
            self._card(card)
        for group in range(sheet.groups):
            self._group(group)
        alike = interchangeable(sheet.world)
        for one, other in (pair for cards in alike for pair in pairwise(cards)):
            model.add(self.level[one] >= self.level[other])
            model.add(self.used[one] >= self.used[other])
        if self.few:
            model.add_linear_constraint(sum(self.used), math.ceil(self.bound), best.used())
            model.minimize(sum(self.used))
        else:
            model.maximize(self.alpha)
        for cards in alike:
            of = sorted(cards, key=lambda card: (-int(best.level[card]), not best.on[card], card))
            for card, source in zip(cards, of, strict=True):
                self._hint(best, card, source)

    def _card(self, card: int) -> None:
        sheet, model, groups = self.sheet, self.model, range(self.sheet.groups)
        room, level, used = max(0, int(sheet.room[card])), self.level[card], self.used[card]
        held = sum(int(sheet.always[group]) * self.here[group][card] for group in groups)
        model.add(held + level <= room * used)
        model.add(sum(self.load[group][card] for group in groups) <= int(sheet.speed[card]))
        if sheet.streams.any() and sheet.card_streams[card] < 1 << 40:
            streams = sum(int(sheet.streams[group]) * self.here[group][card] for group in groups)
            model.add(streams <= int(sheet.card_streams[card]))
        for group in groups:
            here, allowed = self.here[group][card], sheet.allowed[group]
            if allowed is not None and not allowed[card]:
                model.add(here == 0)
            model.add(here <= used)
            if sheet.level[group]:
                model.add(level >= int(sheet.level[group]) * here)
            model.add(self.load[group][card] <= self._most(group, card) * here)
            for foe in sheet.foes[group]:
                if foe > group:
                    model.add(here + self.here[foe][card] <= 1)

    def _group(self, group: int) -> None:
        sheet, model, here = self.sheet, self.model, self.here[group]
        model.add_linear_constraint(sum(here), sheet.low[group], sheet.high[group])
        work, lack = int(sheet.work[group]), sheet.cards
        if self.few:
            model.add(sum(self.load[group]) >= max(0, work - lack))
        elif work:
            top = math.floor(work * self.bound)
            model.add(_STEPS * (sum(self.load[group]) + lack) >= top * self.alpha)
        if sheet.spread[group] > 1:
            on = []
            for node in sorted({int(node) for node in sheet.node}):
                there = model.new_bool_var(f"n{group},{node}")
                cards = [c for c in range(sheet.cards) if sheet.node[c] == node]
                model.add(there <= sum(here[card] for card in cards))
                on.append(there)
            model.add(sum(on) >= sheet.spread[group])

    def _hint(self, best: Layout, card: int, source: int) -> None:
        """Show what ``source`` holds as what ``card`` could."""
        scale = 1.0 if self.few else 1 / max(best.peak(), 1e-12)
        held = best.on[source]
        self.model.add_hint(self.level[card], int(best.level[source]))
        self.model.add_hint(self.used[card], bool(held))
        for group in range(self.sheet.groups):
            load = min(math.floor(held.get(group, 0) * scale), self._most(group, card))
            self.model.add_hint(self.here[group][card], group in held)
            self.model.add_hint(self.load[group][card], load)

    def layout(self, solver: Any) -> Layout | None:  # noqa: ANN401
        """The solver's placement; None where it breaks a rule."""
        sheet, layout = self.sheet, Layout(self.sheet)
        for group in range(sheet.groups):
            cards = [c for c in range(sheet.cards) if solver.value(self.here[group][c])]
            done = [solver.value(self.load[group][card]) for card in cards]
            left, total, work = int(sheet.work[group]), sum(done), int(sheet.work[group])
            for card, part in zip(cards, done, strict=True):
                if not layout.fitting(group)[card]:
                    return None
                last = card == cards[-1]
                load = left if last else min(left, part * work // max(total, 1))
                layout.add(group, card, load)
                left -= load
            if left > 0 or not layout.spread_kept(group):
                return None
        return layout

    def proven(self, objective: float) -> Bound:
        """The solver's bound; whole steps of alpha, so that the next one is not excluded."""
        if self.few:
            return Bound("cp-sat", math.ceil(objective - 1e-6))
        return Bound("cp-sat", self.bound * min(1.0, (math.floor(objective + 1e-6) + 1) / _STEPS))
