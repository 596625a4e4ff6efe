"""From one plan to the next: what starts, stops or is replaced, in which order, with what outage.

A card's models are fixed for the life of its process, so a card whose models change is drained,
stopped, waited for until its memory is back, and started again; nothing can be ready on a card
before it is dropped there. A model keeps serving only through another card.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.placement.board import Tally, empty_tally, forbidden, joined, overfull
from orchestrator.placement.groups import World, world
from orchestrator.placement.plan import Plan
from orchestrator.placement.problem import Problem

Action = Literal["drain", "stop", "wait", "start"]


@dataclass(frozen=True)
class Pace:
    """Seconds that the steps of a change take. Assumptions until a deployment has measured them."""

    drain: float = 2.0
    stop: float = 1.0
    wait: float = 2.0
    start: float = 8.0
    load_bytes_per_second: float = 1 << 30


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

    ``restarts`` counts replaced cards, ``nbytes`` the weights that the steps load.
    """

    kept: tuple[str, ...]
    started: tuple[str, ...]
    stopped: tuple[str, ...]
    replaced: tuple[str, ...]
    steps: tuple[Step, ...]
    outages: Mapping[str, float] = field(default_factory=dict)
    moves: int = 0
    nbytes: int = 0

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
        return [head, *done, *(out or ["every model stays served throughout"])]


def plan_diff(
    problem: Problem, plan: Plan, pace: Pace | None = None, altered: Collection[str] = ()
) -> PlanDiff:
    """The steps from the problem's previous plan to ``plan``.

    ``altered``: cards that are replaced though they keep the same models.
    """
    return _Change(world(problem), plan, pace or Pace(), altered).diff()


class _Change:
    """A fleet while it changes: who serves now, what time it is, who is not served since when."""

    def __init__(self, scene: World, plan: Plan, pace: Pace, altered: Collection[str]) -> None:
        self.scene = scene
        self.pace = pace
        self.altered = altered
        known = {model.name for model in scene.models}
        self.old = {c.name: scene.previous.get(c.name, frozenset()) for c in scene.cards}
        self.new = {c.name: frozenset[str]() for c in scene.cards}
        self.new.update({held.card: frozenset(held.models) for held in plan.cards})
        self.now = {card: set(names) & known for card, names in self.old.items()}
        self.steps: list[Step] = []
        self.clock = 0.0
        self.since: dict[str, float] = {}
        self.outages: dict[str, float] = {}
        self.nbytes = 0
        self.sizes = {model.name: model.footprint.weight_total for model in scene.models}

    def diff(self) -> PlanDiff:
        """Cards that were idle start first; then one after the other, the harmless ones first."""
        changed = [
            card
            for card in self.old
            if self.old[card] != self.new[card] or (self.old[card] and card in self.altered)
        ]
        started = [card for card in changed if not self.old[card]]
        for card in started:
            self._start(card, self.new[card])
        pending = [card for card in changed if self.old[card]]
        while pending:
            card = min(pending, key=lambda card: (len(self._threatened(card)), not self.new[card]))
            pending.remove(card)
            self._change(card)
        return PlanDiff(
            kept=tuple(c for c in self.old if self.old[c] and c not in changed),
            started=tuple(started),
            stopped=tuple(c for c in changed if not self.new[c]),
            replaced=tuple(c for c in changed if self.old[c] and self.new[c]),
            steps=tuple(self.steps),
            outages={name: seconds for name, seconds in self.outages.items() if seconds > 0},
            moves=sum(len(self.new[card] - self.old[card]) for card in changed),
            nbytes=self.nbytes,
        )

    def _threatened(self, card: str) -> set[str]:
        """Models that nobody else serves while the card is down."""
        elsewhere = {name for other, held in self.now.items() if other != card for name in held}
        return self.now[card] - elsewhere

    def _change(self, card: str) -> None:
        """Replace or stop one card; with a stand-in on a spare card for what only it serves."""
        stone = self._stone(card)
        if stone:
            self._start(stone.card.name, stone.names, stone=True)
        self._stop(card)
        if self.new[card]:
            self._start(card, self.new[card])
        if stone:
            self._stop(stone.card.name, stone=True)

    def _stone(self, card: str) -> Tally | None:
        """The spare card that can stand in for most of the threatened models."""
        wanted = self._threatened(card)
        best: Tally | None = None
        for spare in self.scene.cards if wanted else ():
            if self.now[spare.name] or spare.name == card:
                continue
            tally = empty_tally(spare)
            for group in self.scene.groups:
                if not wanted & {model.name for model in group.models}:
                    continue
                after = joined(tally, group.models)
                if not forbidden(self.scene, group, tally) and not overfull(tally, after):
                    tally = after
            if tally.models and (best is None or len(tally.models) > len(best.models)):
                best = tally
        return best

    def _start(self, card: str, names: frozenset[str], *, stone: bool = False) -> None:
        nbytes = sum(self.sizes[name] for name in names)
        self.nbytes += nbytes
        seconds = self.pace.start + nbytes / self.pace.load_bytes_per_second
        self._step("start", card, sorted(names), seconds, stone)
        self.now[card] = set(names)
        for name in names & self.since.keys():
            down = self.clock - self.since.pop(name)
            self.outages[name] = self.outages.get(name, 0.0) + down

    def _stop(self, card: str, *, stone: bool = False) -> None:
        names = sorted(self.now[card])
        for name in self._threatened(card):
            self.since[name] = self.clock
        self._step("drain", card, names, self.pace.drain, stone)
        self._step("stop", card, names, self.pace.stop, stone)
        self.now[card] = set()
        self._step("wait", card, (), self.pace.wait, stone)

    def _step(
        self, action: Action, card: str, names: Sequence[str], seconds: float, stone: bool
    ) -> None:
        self.steps.append(Step(action, card, tuple(names), seconds, stone))
        self.clock += seconds
