"""When to add cards and when to give some back. Pure: time is an argument."""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.autoscale.forecast import finish_seconds, worth_starting
from orchestrator.autoscale.meter import Load

#: Cards are given back when the rest would stay below this part of the share that is wanted.
_SLACK = 0.75
#: What waits is to be done within so many seconds.
_CATCH_UP = 10.0
#: Floating point may say 2.0000001 cards.
_ROUNDING = 1e-6
_MINUTE = 60.0


@dataclass(frozen=True)
class Rules:
    """Bounds and patience. ``least`` and ``most`` cards; ``busy`` is the share that is wanted.

    More cards must have been needed for ``out_after`` seconds, fewer for ``idle``, and after every
    change nothing happens for ``cool_down``, unless there is no card at all.
    """

    least: int
    most: int
    busy: float = 0.8
    idle: float = 60.0
    starts_per_minute: int = 20
    out_after: float = 2.0
    cool_down: float = 3.0


@dataclass(frozen=True)
class Fleet:
    """Cards as of now: ``cards`` were decided on, ``serving`` of them take work.

    ``floor``: the fewest that hold all models. ``load_seconds``: from a decision to serving.
    """

    cards: int
    serving: int
    floor: int
    load_seconds: float


@dataclass(frozen=True)
class Decision:
    """So many cards are wanted, and why; ``demand`` in rows a second is what to plan for."""

    cards: int
    why: str
    demand: Mapping[str, float]


class Autoscaler:
    """Decides, look by look. ``most_replicas``: the most cards that a model may be on."""

    def __init__(self, rules: Rules, most_replicas: Mapping[str, int | None]) -> None:
        self._rules = rules
        self._most_replicas = most_replicas
        self._outs: deque[tuple[float, int]] = deque()
        self._ins: deque[tuple[float, int]] = deque()
        self._starts: deque[float] = deque()
        self._changed = -math.inf
        self.held = ""
        """Why no more cards are wanted, although they would be busy."""

    def decide(self, now: float, fleet: Fleet, loads: Mapping[str, Load]) -> Decision | None:
        """Other cards than there are now; None to leave it."""
        rules, self.held = self._rules, ""
        idle = all(load.idle for load in loads.values())
        low = min(rules.least if idle else max(rules.least, fleet.floor, 1), rules.most)
        outs = low if idle else self._within(low, self._cards(loads, rules.busy))
        ins = low if idle else self._within(low, self._cards(loads, rules.busy * _SLACK))
        _note(self._outs, now, outs, rules.out_after)
        _note(self._ins, now, ins, rules.idle)
        if fleet.cards < low:  # fewer than may be: that is no question of patience
            why = self._story(loads) or f"{low} are the least"
            return self._more(now, fleet, outs, low - fleet.cards, loads, why)
        if now - self._changed < rules.cool_down:
            return None
        steady = min(wanted for _, wanted in self._outs)
        if steady > fleet.cards and now - self._outs[0][0] >= rules.out_after:
            return self._more(now, fleet, steady, 0, loads, self._story(loads))
        enough = max(wanted for _, wanted in self._ins)
        if enough < fleet.cards and now - self._ins[0][0] >= rules.idle:
            what = "there was nothing to do" if idle else f"{enough} would have been enough"
            return self._to(now, enough, f"{what} for {rules.idle:g} s", loads)
        return None

    def restarted(self, now: float, cards: int) -> None:
        """So many cards beside those that were decided on are started, for whatever reason."""
        self._starts.extend([now] * cards)

    def _more(
        self,
        now: float,
        fleet: Fleet,
        wanted: int,
        must: int,
        loads: Mapping[str, Load],
        why: str,
    ) -> Decision | None:
        """More cards, as far as is allowed now.

        Those that must be, those that what arrives keeps busy, and to catch up those that are worth
        their start.
        """
        arriving = self._cards(loads, self._rules.busy, catch_up=False)
        must = max(must, min(arriving, wanted) - fleet.cards)
        work = sum(load.work for load in loads.values())
        offered = sum(load.offered for load in loads.values())
        while self._starts and self._starts[0] <= now - _MINUTE:
            self._starts.popleft()
        room = self._rules.starts_per_minute - len(self._starts)
        if room <= 0:
            self.held = f"{len(self._starts)} cards were started within a minute, the most allowed"
            return None
        starting = fleet.cards - fleet.serving + must
        more = wanted - fleet.cards - must
        useful = worth_starting(work, fleet.serving, offered, fleet.load_seconds, more, starting)
        if must + useful <= 0:
            done = finish_seconds(work, fleet.serving, offered, starting, fleet.load_seconds)
            self.held = (
                f"the work will be done in {done:.0f} s, and a card takes "
                f"{fleet.load_seconds:.0f} s to load"
            )
            return None
        more = min(must + useful, room)
        self._starts.extend([now] * more)
        return self._to(now, fleet.cards + more, why, loads)

    def _to(self, now: float, cards: int, why: str, loads: Mapping[str, Load]) -> Decision:
        """Begin to wait anew, with these cards."""
        self._changed = now
        self._outs.clear()
        self._ins.clear()
        demand = {
            name: load.rate + (load.waiting + load.coming) / _CATCH_UP
            for name, load in loads.items()
        }
        return Decision(cards, why, demand)

    def _within(self, low: int, cards: int) -> int:
        return min(max(cards, low), self._rules.most)

    def _cards(self, loads: Mapping[str, Load], busy: float, catch_up: bool = True) -> int:
        """Cards that what arrives keeps busy to this share, with those that catch up in time."""
        needed = 0.0
        for name, load in loads.items():
            most = self._most_replicas.get(name)
            cards = load.offered / busy + (load.work / _CATCH_UP if catch_up else 0.0)
            needed += cards if most is None else min(cards, most)
        return math.ceil(needed - _ROUNDING)

    def _story(self, loads: Mapping[str, Load]) -> str:
        """The models that ask for most, in numbers."""
        ranked = sorted(loads, key=lambda name: -(loads[name].offered + loads[name].work))
        return "; ".join(
            f"{name}: {load.rate:.4g} rows/s of {load.row_seconds * 1000:.3g} ms"
            + (f", {load.waiting + load.coming:.0f} rows to do" if load.work else "")
            for name in ranked[:3]
            if (load := loads[name]) and not load.idle
        )


def _note(seen: deque[tuple[float, int]], now: float, wanted: int, seconds: float) -> None:
    """Keep what was wanted within the last seconds, and the last before that."""
    seen.append((now, wanted))
    while len(seen) > 1 and seen[1][0] <= now - seconds:
        seen.popleft()
