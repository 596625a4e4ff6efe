"""Plans that start from the previous one: loads only, then few moves, then more, then anew."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from orchestrator.placement.search.balance import away, balance, trim
from orchestrator.placement.search.candidate import NO_GAP, Candidate, candidate, serves
from orchestrator.placement.search.fill import place, stack
from orchestrator.placement.search.layout import Layout
from orchestrator.placement.search.moves import Cost, cost_of, inherited, missing, relabelled
from orchestrator.placement.search.run import Run

#: Values that differ by less than this share are as good as equal: the cheaper change wins.
_CLOSE = 1e-3
#: Limits on moves that are tried in turn.
_LIMITS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


@dataclass(frozen=True)
class Option:
    """A plan that could be changed to, and what the change costs."""

    found: Candidate
    cost: Cost


def choose(options: list[Option], most: int | None) -> Option | None:
    """The best plan with at most so many moves; of nearly equal ones the cheapest."""
    open_ = [option for option in options if most is None or option.cost.moves <= most]
    if not open_:
        return None
    best = max(option.found.score[0] for option in open_)
    near = [option for option in open_ if option.found.score[0] >= best - abs(best) * _CLOSE]
    return min(near, key=lambda option: (option.cost.nbytes, option.cost.moves))


def options(run: Run, most: int | None) -> list[Option]:
    """What can be had for how much, the cheapest first; no option that a cheaper one equals."""
    found = [_option(run, layout) for layout in _kept(run, most)]
    if run.few:
        found = [option for option in found if serves(option.found)]
    anew = run.best()
    if anew is not None:
        moved = candidate(run.scene, relabelled(run.scene, anew.tallies))
        found.append(Option(moved, cost_of(run.scene, moved.tallies)))
    return _pareto(found)


def _kept(run: Run, most: int | None) -> Iterator[Layout]:
    """The previous placement, made complete, and then better with more and more moves."""
    layout = _completed(run)
    if layout is None:
        return
    yield layout  # Loads only, where nothing is lacking: no card is restarted.
    layout = _evened(run, layout)
    yield layout
    if run.few:
        yield from _emptied(run, layout)
        return
    target = (1 + NO_GAP / 2) / max(run.limit, 1e-12)
    start = away(layout)
    limits = {*_LIMITS} if most is None else {*_LIMITS, most - start}
    for limit in sorted(limits):  # Beyond ``most`` too: what may move more, and does not, will do.
        if not run.sheet.work.any() or layout.peak() <= target or run.steps.left <= 0:
            return
        part = run.steps.part(min(run.enough() // 4, run.steps.left // 3))
        layout = balance(layout.copy(), target, part, run.seed, most_moves=start + limit)
        run.steps.give_back(part)
        yield layout
        if limit > len(run.sheet.low):
            return


def _completed(run: Run) -> Layout | None:
    """The previous placement with what it lacks, and its loads spread; None if that has no room."""
    layout = inherited(run.sheet)
    for group in missing(layout):
        while not layout.spread_kept(group):
            if not stack(layout, group, run.sheet.speed):
                return None
    layout.share_evenly()
    return layout


def _evened(run: Run, layout: Layout) -> Layout:
    """The placement, which is changed, with its loads evened out; replicas may be dropped."""
    part = run.steps.part(min(run.enough(), run.steps.left // 4))
    target = 1.0 if run.few else 1 / max(run.limit, 1e-12)
    found = balance(layout, target, part, run.seed, most_moves=away(layout))
    run.steps.give_back(part)
    if run.few and found.peak() > 1.0:
        part = run.steps.part(min(run.enough(), run.steps.left // 4))
        found = balance(found, 1.0, part, run.seed)
        run.steps.give_back(part)
    return found


def _emptied(run: Run, layout: Layout) -> Iterator[Layout]:
    """The placement on fewer and fewer cards: the one with the least to move is emptied."""
    while layout.used() > run.bound.value and run.steps.spend():
        used = [card for card, held in enumerate(layout.on) if held]
        used.sort(key=lambda card: (int(layout.always[card]), card))
        fewer = next((one for card in used if (one := _without(run, layout, card))), None)
        if fewer is None:
            return
        layout = fewer
        yield layout


def _without(run: Run, layout: Layout, card: int) -> Layout | None:
    """The placement with one card's groups on the other used cards, if they can take them.

    What has replicas there gives its work to those first.
    """
    made = layout.copy()
    limit = np.where([bool(held) for held in made.on], run.sheet.speed, -1)
    limit[card] = -1
    for group in sorted(made.on[card], key=lambda group: -int(run.sheet.always[group])):
        load = made.remove(group, card)
        for other in sorted(made.at[group]):
            part = min(load, max(0, int(limit[other] - made.busy[other])))
            made.add(group, other, part)
            load -= part
        if not place(made, group, "tightest", limit, load):
            return None
    trim(made)
    return made


def _option(run: Run, layout: Layout) -> Option:
    found = candidate(run.scene, layout.tallies())
    return Option(found, cost_of(run.scene, found.tallies))


def _pareto(found: list[Option]) -> list[Option]:
    """By rising moves, only what is better than all before it; one for each number of moves."""
    kept: list[Option] = []
    for option in sorted(found, key=lambda o: (o.cost.moves, o.cost.nbytes, -o.found.score[0])):
        score, best = option.found.score[0], kept[-1].found.score[0] if kept else float("-inf")
        if score <= best:
            continue
        if kept and kept[-1].cost.moves == option.cost.moves:  # it loads more bytes
            if score - best <= abs(score) * _CLOSE:
                continue
            kept.pop()
        kept.append(option)
    return kept
