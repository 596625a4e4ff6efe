"""A deployment of one model as a fluid: rows arrive, cards work, cards that start take a while."""

from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.autoscale import Autoscaler, CardReport, Fleet, Meter, Ran, Rules, Waiting

ROW_SECONDS = 0.01


@dataclass
class World:
    rules: Rules
    load_seconds: float = 5.0
    now: float = 0.0
    waiting: float = 0.0
    coming: float = 0.0
    starting: list[float] = field(default_factory=list)
    serving: int = 0
    rows: float = 0.0
    busy: float = 0.0
    cards: list[int] = field(default_factory=list)
    """Cards that were wanted, second by second."""
    starts: list[float] = field(default_factory=list)
    why: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scaler = Autoscaler(self.rules, {"m": None})
        self.meter = Meter({"m": ROW_SECONDS})
        self.serving = self.rules.least

    def run(self, seconds: int, arriving: Callable[[float], float]) -> None:
        for _ in range(seconds):
            self.now += 1.0
            self._work(arriving(self.now))
            self._decide()

    def _work(self, arriving: float) -> None:
        self.serving += sum(ready <= self.now for ready in self.starting)
        self.starting = [ready for ready in self.starting if ready > self.now]
        sent = min(self.coming, max(64 * max(self.serving, 1) - self.waiting, 0.0))
        self.coming -= sent
        self.waiting += arriving + sent
        done = min(self.waiting, self.serving / ROW_SECONDS)
        self.waiting -= done
        self.rows += done
        self.busy += done * ROW_SECONDS

    def _decide(self) -> None:
        report = CardReport("a/0", 1, self.busy, {"m": Ran(round(self.rows), self.busy)})
        waiting = {"m": Waiting(self.waiting, self.coming)}
        loads = self.meter.look(self.now, [report], waiting)
        cards = self.serving + len(self.starting)
        fleet = Fleet(cards, self.serving, 1, self.load_seconds)
        decision = self.scaler.decide(self.now, fleet, loads)
        wanted = cards if decision is None else decision.cards
        if decision is not None:
            self.why.append(decision.why)
        for _ in range(wanted - cards):
            self.starts.append(self.now)
            self.starting.append(self.now + self.load_seconds)
        for _ in range(cards - wanted):
            if self.starting:
                self.starting.pop()
            else:
                self.serving -= 1
        self.cards.append(wanted)

    @property
    def changes(self) -> int:
        return sum(a != b for a, b in zip(self.cards, self.cards[1:], strict=False))
