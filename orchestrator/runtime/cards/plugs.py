"""Cards that are quarantined, and the idle processes that keep them from being used.

Ray gives a process any free card of its node, and takes a quarantined one for free. A process that
gets it is kept as a plug: it loads nothing, and while it is there Ray gives the card to nobody.
"""

from collections.abc import Mapping

from actors.messages import CardIdentity
from orchestrator.runtime.cards.fleet import CardProcess
from orchestrator.runtime.cards.losses import Loss

_Card = tuple[str, str]


class Plugs:
    """The quarantined cards of a deployment, each by the slot whose processes failed on it."""

    def __init__(self, losses: Mapping[str, Loss]) -> None:
        self._cards: dict[str, _Card] = {}
        self._processes: dict[_Card, CardProcess] = {}
        for name, loss in losses.items():
            self.shun(name, loss)

    def shun(self, name: str, loss: Loss) -> None:
        """The card of a slot is not to be used, if it is quarantined and can be told apart."""
        if loss.quarantined and loss.npu_id:
            self._cards[name] = (loss.node_id, loss.npu_id)

    def take(self, process: CardProcess, identity: CardIdentity) -> bool:
        """Keep a process as a plug if its card is not to be used; whether it is."""
        card = identity.node_id, identity.npu_id
        if card not in self._cards.values() or card in self._processes:
            return False
        self._processes[card] = process
        return True

    def on(self, node_id: str) -> list[str]:
        """The cards of a node that are not to be used."""
        return sorted({npu for node, npu in self._cards.values() if node == node_id})

    def nodes(self) -> list[str]:
        """The node of each plug."""
        return [node_id for node_id, _ in self._processes.copy()]

    def processes(self) -> list[CardProcess]:
        """All plugs."""
        return list(self._processes.values())

    def ended(self, process: CardProcess) -> None:
        """A plug is gone."""
        self._processes = {c: one for c, one in self._processes.items() if one is not process}

    def readmit(self, name: str) -> None:
        """The card of a slot may be used again."""
        card = self._cards.pop(name, None)
        if card is not None and card not in self._cards.values():
            process = self._processes.pop(card, None)
            if process is not None:
                process.kill()
