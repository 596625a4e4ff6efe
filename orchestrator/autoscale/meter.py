"""What the cards and the drivers count, as loads: rows a second, card time of a row. Pure."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: Seconds over which rates are smoothed.
_WINDOW = 5.0


@dataclass(frozen=True)
class Ran:
    """What one model did on a card since its process started."""

    rows: int
    predict_seconds: float


@dataclass(frozen=True)
class CardReport:
    """What a card's process did since it started; ``life`` tells processes apart.

    ``occupied_seconds``: how long it had at least one batch.
    """

    slot: str
    life: int
    occupied_seconds: float
    models: Mapping[str, Ran]


@dataclass(frozen=True)
class Waiting:
    """Rows of one model that drivers wait for; ``coming``: further rows that a job will send."""

    rows: float = 0.0
    coming: float = 0.0

    def __add__(self, other: "Waiting") -> "Waiting":
        """Of two drivers together."""
        return Waiting(self.rows + other.rows, self.coming + other.coming)


@dataclass(frozen=True)
class Load:
    """One model's load: rows a second that arrive, and seconds for which a row occupies a card.

    ``waiting`` rows are not answered yet, ``coming`` ones are still to be sent by a job.
    ``served``: whether some were answered since the look before.
    """

    rate: float
    row_seconds: float
    waiting: float = 0.0
    coming: float = 0.0
    served: bool = False

    @property
    def offered(self) -> float:
        """How many cards what arrives keeps busy; what a job is still to send is no part of it."""
        return 0.0 if self.coming else self.rate * self.row_seconds

    @property
    def work(self) -> float:
        """Card-seconds that are there to be done."""
        return (self.waiting + self.coming) * self.row_seconds

    @property
    def idle(self) -> bool:
        """Whether nothing was done and nothing is to be done."""
        return not self.served and self.waiting + self.coming <= 0


@dataclass
class _Model:
    row_seconds: float
    rate: float = 0.0
    waiting: float = 0.0


@dataclass
class Meter:
    """Turns counts into loads, look by look.

    ``row_seconds`` are those that the plan expects, until there are measured ones; a model that it
    does not know is taken to need 1 ms.
    """

    row_seconds: Mapping[str, float]
    _models: dict[str, _Model] = field(default_factory=dict)
    _before: dict[str, CardReport] = field(default_factory=dict)
    _at: float | None = None

    def look(
        self, now: float, cards: Iterable[CardReport], waiting: Mapping[str, Waiting]
    ) -> dict[str, Load]:
        """The loads as of now. What arrived is what was served, and what waits more than before.

        A card that did not report now is counted with its next report; what cards had done before
        the first look is not.
        """
        rows, work = self._since(tuple(cards))
        if self._at is None:
            rows, work = {}, {}
        seconds = 0.0 if self._at is None else now - self._at
        self._at = now
        share = 1 - math.exp(-seconds / _WINDOW)
        loads = {}
        for name, planned in self.row_seconds.items():
            model = self._models.setdefault(name, _Model(planned or 1e-3))
            there = waiting.get(name, Waiting())
            served = rows.get(name, 0)
            arrived = max(served + there.rows - model.waiting, 0.0)
            if seconds > 0:
                model.rate += share * (arrived / seconds - model.rate)
            if served and work.get(name, 0.0) > 0:
                model.row_seconds += share * (work[name] / served - model.row_seconds)
            model.waiting = there.rows
            loads[name] = Load(
                model.rate, model.row_seconds, there.rows, there.coming, bool(served)
            )
        return loads

    def _since(self, cards: tuple[CardReport, ...]) -> tuple[dict[str, int], dict[str, float]]:
        """Rows and card time of each model since the look before, over all cards.

        The time that a card was occupied is its models' in proportion to their time in predict,
        which for models that take turns includes waiting for it.
        """
        rows: dict[str, int] = {}
        work: dict[str, float] = {}
        before = self._before
        self._before = {**before, **{card.slot: card for card in cards}}
        for card in cards:
            old = before.get(card.slot)
            if old is None or old.life != card.life:
                old = CardReport(card.slot, card.life, 0.0, {})
            ran = {
                name: (
                    now.rows - old.models.get(name, Ran(0, 0.0)).rows,
                    now.predict_seconds - old.models.get(name, Ran(0, 0.0)).predict_seconds,
                )
                for name, now in card.models.items()
            }
            occupied = card.occupied_seconds - old.occupied_seconds
            predicted = sum(seconds for _, seconds in ran.values())
            for name, (count, seconds) in ran.items():
                rows[name] = rows.get(name, 0) + count
                if predicted > 0:
                    work[name] = work.get(name, 0.0) + occupied * seconds / predicted
        return rows, work
