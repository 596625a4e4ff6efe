"""Which replica of which model is on which card, and which of them take work now."""

from collections.abc import Iterable

from actors.queue import Priority
from orchestrator.dispatch.calls import Slot
from orchestrator.dispatch.retry import Ticket
from orchestrator.dispatch.routing import Replica, Route, TransportRules


class Board:
    """All replicas by model and slot. Those of a plan that has been left stay, retired.

    What is in flight on a retired replica ends by itself; nothing new is sent there.
    """

    def __init__(self, transport: TransportRules) -> None:
        self._transport = transport
        self.replicas: dict[str, dict[str, Replica]] = {}
        self.slots: dict[str, Slot] = {}

    def adopt(self, routes: Iterable[Route]) -> None:
        """These are the replicas from now on; a known one keeps what was learned of it."""
        for on in self.replicas.values():
            for replica in on.values():
                replica.retired = True
        for route in routes:
            replica = self.replicas.setdefault(route.model, {}).setdefault(
                route.slot, Replica(route)
            )
            replica.route, replica.retired = route, False
            self.slots.setdefault(route.slot, Slot(route.slot))

    def on(self, slot: str) -> list[Replica]:
        """The replicas of one card."""
        return [on[slot] for on in self.replicas.values() if slot in on and not on[slot].retired]

    def live(self, model: str) -> list[str]:
        """The cards where the model is served now."""
        return [slot for slot in self._planned(model) if self.slots[slot].serves(model)]

    def serving(self, model: str) -> list[Replica]:
        """The replicas that serve the model now, with room for a call or not."""
        return [self.replicas[model][slot] for slot in self.live(model)]

    def abandoned(self, model: str) -> bool:
        """Whether no card is left that serves the model or will again."""
        for slot, replica in self.replicas.get(model, {}).items():  # asked for every request
            if not (replica.retired or self.slots[slot].gone):
                return False
        return True

    def free(self, model: str, priority: Priority) -> list[Replica]:
        """Replicas that take one more call."""
        return [
            replica
            for slot, replica in self.replicas[model].items()
            if replica.takes(priority, self._transport)
            and not replica.retired
            and self.slots[slot].serves(model)
            and self.slots[slot].held_for is None
        ]

    def hold(self, ticket: Ticket) -> Slot | None:
        """Keep a card free for a suspect: the one that it holds already, or the least busy one."""
        live = [self.slots[name] for name in self.live(ticket.model)]
        for card in live:
            if card.held_for == ticket.id:
                return card
        self.release(ticket.id)  # of a card that does not serve its model any more
        free = [card for card in live if card.held_for is None]
        if not free:
            return None
        chosen = min(free, key=lambda card: (len(card.in_flight), card.name in ticket.failed_on))
        chosen.held_for = ticket.id
        return chosen

    def release(self, ticket_id: int) -> None:
        """A suspect needs no card any more."""
        for card in self.slots.values():
            if card.held_for == ticket_id:
                card.held_for = None

    def why_unserved(self, model: str) -> str:
        """What became of each of its replicas."""
        told = [f"{s} {self.slots[s].gone or self.slots[s].why}" for s in self._planned(model)]
        story = "; ".join(told) or "it is no longer part of the deployment"
        return f"model {model} is not served now: {story}"

    def _planned(self, model: str) -> list[str]:
        return [slot for slot, one in self.replicas.get(model, {}).items() if not one.retired]
