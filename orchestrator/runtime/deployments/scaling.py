"""What is shown of the number of cards that follows the work."""

import time
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ScaleEvent:
    """A decision: ``at`` in seconds since the epoch, from so many cards to so many, and why."""

    at: float
    before: int
    cards: int
    why: str

    def __str__(self) -> str:
        return f"{time.strftime('%H:%M:%S', time.localtime(self.at))} {self.told()}"

    def told(self) -> str:
        """In words, without the time."""
        if self.before == self.cards:
            return f"{self.cards} cards: {self.why}"
        return f"{self.before} -> {self.cards} cards: {self.why}"


@dataclass(frozen=True)
class Scaling:
    """Bounds, the cards that are wanted now, why no more are, and the latest decisions."""

    least: int
    most: int
    wanted: int
    held: str
    events: tuple[ScaleEvent, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the fields under their own names."""
        return asdict(self)

    def lines(self, latest: int = 5) -> list[str]:
        """In words."""
        head = f"autoscale: {self.wanted} cards wanted, {self.least} to {self.most} allowed"
        return [f"{head}; {self.held}" if self.held else head, *map(str, self.events[-latest:])]
