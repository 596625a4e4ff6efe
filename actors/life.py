"""The life of a card's process: its state, and the lock that guards that and what waits."""

import threading
from collections.abc import Mapping

from actors.errors import NotServingError
from actors.messages import CardState

#: Which states may follow which. A card's process loads once: there is no way back.
FOLLOWS: Mapping[CardState, frozenset[CardState]] = {
    CardState.EMPTY: frozenset({CardState.LOADING, CardState.STOPPED}),
    CardState.LOADING: frozenset({CardState.READY, CardState.FAILED, CardState.STOPPED}),
    CardState.READY: frozenset({CardState.DRAINING, CardState.STOPPED, CardState.FAILED}),
    CardState.DRAINING: frozenset({CardState.STOPPED, CardState.FAILED}),
    CardState.FAILED: frozenset({CardState.STOPPED}),
    CardState.STOPPED: frozenset(),
}


class Life:
    """Empty at first. ``changed`` is told of every change of the state, and of the card's work."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.state = CardState.EMPTY
        self.slot = "? (no slot yet)"

    @property
    def ready(self) -> bool:
        """Whether the card takes requests."""
        return self.state is CardState.READY

    @property
    def over(self) -> bool:
        """Whether nothing is begun on the card any more."""
        return self.state in (CardState.FAILED, CardState.STOPPED)

    def move(self, to: CardState, slot: str = "") -> None:
        """Change the state, which is done nowhere else. Callers hold the lock.

        ``slot``: the one that wants it, if not the card's own.

        Raises:
            NotServingError: what cannot follow the state that it is in.
        """
        if to not in FOLLOWS[self.state]:
            problem = f"it is {self.state.value} and cannot become {to.value}"
            raise NotServingError(f"card {slot or self.slot}", problem)
        self.state = to
        self.changed.notify_all()

    def refusal(self) -> NotServingError:
        """What is told whoever wants something that the card does not do in its state."""
        return NotServingError(f"card {self.slot}", f"it is {self.state.value}")

    def require_ready(self) -> None:
        """Callers hold the lock.

        Raises:
            NotServingError: the card takes no requests now.
        """
        if not self.ready:
            raise self.refusal()
