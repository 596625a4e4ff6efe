"""From one plan to the next: what starts, stops or is replaced, in which order, with what outage.

A card's models are fixed for the life of its process, so a card whose models change is drained,
stopped, waited for until its memory is back, and started again; nothing can be ready on a card
before it is dropped there. A model keeps serving only through another card: one of the plan's, or a
spare one that stands in for as long as somebody leans on it.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.inventory import Card
from orchestrator.placement.board import empty_tally, forbidden, joined, overfull
from orchestrator.placement.groups import World, world
from orchestrator.placement.plan import Plan
from orchestrator.placement.problem import Problem
from orchestrator.placement.search.moves import interchangeable

Action = Literal["drain", "stop", "wait", "start"]
#: Where models would be without service, all orders of so many cards are tried.
_MOST_ORDERED = 5
#: What a card's process takes to come up before it loads.
_PROCESS_SECONDS = 2.0


@dataclass(frozen=True)
class Pace:
    """Seconds that the steps of a change take. Assumptions until a deployment has measured them.

    ``start`` is a process of its own and what does not depend on the bytes that it loads.
    """

    drain: float = 2.0
    stop: float = 1.0
    wait: float = 2.0
    start: float = 8.0
    load_bytes_per_second: float = 1 << 30

    @classmethod
    def seen(cls, loads: Collection[float]) -> "Pace":
        """Starts as slow as the slowest of these loads, in seconds; as assumed without any."""
        if not loads:
            return cls()
        return cls(start=_PROCESS_SECONDS + max(loads), load_bytes_per_second=math.inf)


@dataclass(frozen=True)
class Step:
    """One thing to do, after the step before. ``stone``: a stand-in on a spare card."""

    action: Action
    card: str
    models: tuple[str, ...]
    seconds: float
    stone: bool = False

    def __str__(self) -> str:
        what = " (stand-in)" if self.stone else ""
        names = f": {', '.join(self.models)}" if self.models else ""
        return f"{self.action} {self.card}{what}{names}"


@dataclass(frozen=True)
class PlanDiff:
    """The cards that change, the steps in order, and how long each model cannot be served.

    ``restarts`` counts replaced cards, ``nbytes`` the weights that the steps load. ``ended``: the
    models that are served no more, because the plan has no card for them.
    """

    kept: tuple[str, ...]
    started: tuple[str, ...]
    stopped: tuple[str, ...]
    replaced: tuple[str, ...]
    steps: tuple[Step, ...]
    outages: Mapping[str, float] = field(default_factory=dict)
    moves: int = 0
    nbytes: int = 0
    ended: tuple[str, ...] = ()

    @property
    def restarts(self) -> int:
        """Cards that hold models before and after, and not the same."""
        return len(self.replaced)

    def to_dict(self) -> dict[str, Any]:
        """JSON for programs."""
        return {
            "kept": list(self.kept),
            "started": list(self.started),
            "stopped": list(self.stopped),
            "replaced": list(self.replaced),
            "moves": self.moves,
            "restarts": self.restarts,
            "bytes_loaded": self.nbytes,
            "steps": [
                {
                    "action": step.action,
                    "card": step.card,
                    "models": list(step.models),
                    "seconds": step.seconds,
                    "stand_in": step.stone,
                }
                for step in self.steps
            ],
            "outages_s": dict(self.outages),
            "ended": list(self.ended),
        }

    def lines(self) -> list[str]:
        """The change in words."""
        if not self.steps:
            return ["nothing changes but the loads"]
        head = (
            f"cards: {len(self.kept)} keep their models, {len(self.started)} start, "
            f"{len(self.stopped)} stop, {self.restarts} are replaced; {self.moves} replicas move"
        )
        done = [f"{number}. {step}" for number, step in enumerate(self.steps, 1)]
        out = [
            f"{name} cannot be served for about {seconds:.0f} s"
            for name, seconds in sorted(self.outages.items())
        ]
        out += [f"{name} is not served any more" for name in self.ended]
        return [head, *done, *(out or ["every model stays served throughout"])]


def plan_diff(
    problem: Problem,
    plan: Plan,
    pace: Pace | None = None,
    altered: Collection[str] = (),
) -> PlanDiff:
    """The steps from the problem's previous plan to ``plan``.

    ``altered``: cards that are replaced though they keep the same models; so are those whose models
    shared a workspace and are to do so no more, or the other way round.
    """
    shared = {old.card: old.share_workspace for old in problem.previous_plan}
    flipped = {
        held.card
        for held in plan.cards
        if shared.get(held.card) not in (None, held.share_workspace)
    }
    scene = world(problem)

    def change() -> _Change:
        return _Change(scene, plan, pace or Pace(), flipped | set(altered))

    first = change()
    best = first.diff()
    if not best.outages or len(first.due) > _MOST_ORDERED:
        return best
    orders = itertools.permutations(first.due)
    return min([best, *(change().diff(order) for order in orders)], key=_harm)


def _harm(diff: PlanDiff) -> tuple[int, float, int]:
    """What is bad about the order of a change: models without service, for how long, and steps."""
    return len(diff.outages), sum(diff.outages.values()), len(diff.steps)


class _Change:
    """A fleet while it changes: who serves now, what time it is, who is not served since when."""

    def __init__(self, scene: World, plan: Plan, pace: Pace, altered: Collection[str]) -> None:
        self.scene = scene
        self.alike = interchangeable(scene)
        self.pace = pace
        self.sizes = {model.name: model.footprint.weight_total for model in scene.models}
        self.groups = {model.name: group for group in scene.groups for model in group.models}
        self.old = {c.name: frozenset[str]() for c in scene.cards}
        self.old.update(
            {old.card: frozenset(old.models + old.ended) for old in scene.before.values()}
        )
        self.new = {c.name: frozenset[str]() for c in scene.cards}
        self.new.update({held.card: frozenset(held.models) for held in plan.cards})
        self.now = {card: set(names) for card, names in self.old.items()}
        self.servers: dict[str, set[str]] = defaultdict(set)
        for card, names in self.now.items():
            for name in names:
                self.servers[name].add(card)
        wanted = {name for names in self.new.values() for name in names}
        self.ended = frozenset(self.servers) - wanted
        self.changed = [
            card
            for card in self.old
            if self.old[card] != self.new[card] or (self.old[card] and card in altered)
        ]
        self.due = [card for card in self.changed if self.old[card]]
        self.pending = list(self.due)
        self.stones: dict[str, frozenset[str]] = {}
        self.steps: list[Step] = []
        self.clock = 0.0
        self.since: dict[str, float] = {}
        self.outages: dict[str, float] = {}
        self.nbytes = 0

    def diff(self, order: Sequence[str] = ()) -> PlanDiff:
        """Cards that were idle start first; then one after the other, the harmless ones first.

        Or in the ``order`` that is given.
        """
        coming = iter(order)
        started = [card for card in self.changed if not self.old[card]]
        for card in started:
            self._start(card, self.new[card])
        while self.pending:
            card = next(coming, None) or self._most_harmless()
            for spare, names in self._stand_ins(card):
                self._start(spare, names, stone=True)
                self.stones[spare] = names
            self.pending.remove(card)
            self._stop(card)
            if self.new[card]:
                self._start(card, self.new[card])
            self._release()
        return PlanDiff(
            kept=tuple(c for c in self.old if self.old[c] and c not in self.changed),
            started=tuple(started),
            stopped=tuple(c for c in self.changed if not self.new[c]),
            replaced=tuple(c for c in self.changed if self.old[c] and self.new[c]),
            steps=tuple(self.steps),
            outages={name: seconds for name, seconds in self.outages.items() if seconds > 0},
            moves=sum(len(self.new[card] - self.old[card]) for card in self.changed),
            nbytes=self.nbytes,
            ended=tuple(sorted(self.ended)),
        )

    def _threatened(self, card: str) -> set[str]:
        """Models that nobody else serves while the card is down, and that are served later."""
        alone = {name for name in self.now[card] if len(self.servers[name]) == 1}
        return alone - self.ended

    def _most_harmless(self) -> str:
        """The card whose change leaves the fewest models without anybody.

        Of these the one after whose change the fewest would be left so by the others; then one
        that ends.
        """
        harm = {card: len(self._threatened(card)) for card in self.pending}
        some = [card for card in self.pending if not harm[card]]
        if some:
            return min(some, key=lambda card: (self._harm_after(card), not self.new[card]))

        def left(card: str) -> tuple[int, int, int, bool]:
            covered = sum(len(names) for _, names in self._stand_ins(card))
            after = self._harm_after(card)
            return harm[card] - covered, harm[card], after, not self.new[card]

        return min(self.pending, key=left)

    def _harm_after(self, card: str) -> int:
        """How many more models than now the other changes threaten once this card's is made."""
        pending, more = set(self.pending), 0
        for name in self.now[card] - self.new[card] - self.ended:
            left = self.servers[name] - {card}
            more += len(left) == 1 and left <= pending
        for name in self.new[card] - self.now[card]:
            there = self.servers[name]
            more -= len(there) == 1 and there <= pending
        return more

    def _stand_ins(self, card: str) -> list[tuple[str, frozenset[str]]]:
        """Spare cards for the threatened models, and which of them each takes.

        The one that takes most of the demand first, as long as one can take any.
        """
        wanted, taken = self._threatened(card), dict[str, frozenset[str]]()
        while wanted:
            spares = self._spares(taken)
            found = {spare.name: self._room_for(spare, wanted) for spare in spares}
            best = max(found, key=lambda name: self._weight(found[name]), default=None)
            if best is None or not found[best]:
                break
            taken[best] = found[best] & wanted
            wanted -= found[best]
        return list(taken.items())

    def _spares(self, taken: Collection[str]) -> list[Card]:
        """Cards that hold nothing and are to hold nothing: of those that are alike the first."""
        cards = self.scene.cards
        free = (
            [
                cards[index]
                for index in alike
                if not (self.now[cards[index].name] or self.new[cards[index].name])
                and cards[index].name not in taken
            ]
            for alike in self.alike
        )
        return [some[0] for some in free if some]

    def _room_for(self, spare: Card, wanted: Collection[str]) -> frozenset[str]:
        """The models among these, with those that go with them, that a spare card can hold."""
        tally = empty_tally(spare)
        groups = {self.groups[name].name: self.groups[name] for name in sorted(wanted)}
        for group in sorted(groups.values(), key=lambda group: (-group.work, group.name)):
            after = joined(tally, group.models)
            if not forbidden(self.scene, group, tally) and not overfull(tally, after):
                tally = after
        return tally.names

    def _weight(self, names: Collection[str]) -> tuple[float, int]:
        return sum(self.groups[name].work for name in names), len(names)

    def _release(self) -> None:
        """Stop the stand-ins that nobody leans on, now or when the next cards change."""
        for spare, names in list(self.stones.items()):
            if not any(self._leans(name) for name in names):
                del self.stones[spare]
                self._stop(spare, stone=True)

    def _leans(self, name: str) -> bool:
        """Whether all who serve a model stand in, or are still to be changed."""
        return not self.servers[name] - self.stones.keys() - set(self.pending)

    def _start(self, card: str, names: frozenset[str], *, stone: bool = False) -> None:
        nbytes = sum(self.sizes[name] for name in names)
        self.nbytes += nbytes
        seconds = self.pace.start + nbytes / self.pace.load_bytes_per_second
        self._step("start", card, sorted(names), seconds, stone)
        self.now[card] = set(names)
        for name in names:
            self.servers[name].add(card)
        for name in names & self.since.keys():
            down = self.clock - self.since.pop(name)
            self.outages[name] = self.outages.get(name, 0.0) + down

    def _stop(self, card: str, *, stone: bool = False) -> None:
        names = sorted(self.now[card])
        for name in self._threatened(card):
            self.since[name] = self.clock
        self._step("drain", card, names, self.pace.drain, stone)
        self._step("stop", card, names, self.pace.stop, stone)
        for name in names:
            self.servers[name].discard(card)
        self.now[card] = set()
        self._step("wait", card, (), self.pace.wait, stone)

    def _step(
        self, action: Action, card: str, names: Sequence[str], seconds: float, stone: bool
    ) -> None:
        self.steps.append(Step(action, card, tuple(names), seconds, stone))
        self.clock += seconds
