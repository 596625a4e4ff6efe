"""A deployment that this process owns: its Ray, its cards; started and ended as one."""

import atexit
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from actors.messages import CardStats
from orchestrator.config import Cards, Deployment
from orchestrator.placement import DeploymentPlan
from orchestrator.profiles import Residuals
from orchestrator.runtime.connect import Connection, connect
from orchestrator.runtime.controller import Controller
from orchestrator.runtime.discover import Node, bind_nodes, find_nodes
from orchestrator.runtime.fleet import CardProcess, Fleet
from orchestrator.runtime.following import Seen, Watchers, shown
from orchestrator.runtime.journal import Journal
from orchestrator.runtime.metrics import publish
from orchestrator.runtime.observe import observe
from orchestrator.runtime.options import Options
from orchestrator.runtime.planning import known_profiles, plan_on
from orchestrator.runtime.samples import controller_samples
from orchestrator.runtime.slots import Slot, signatures_of
from orchestrator.runtime.status import Status
from orchestrator.runtime.traffic import Traffic

_STOP_SECONDS = 5.0


class Running(Traffic):
    """``start`` connects, plans, loads and returns when every card serves; ``close`` undoes it."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._undo = contextlib.ExitStack()
        self._graceful = False
        self._drain_seconds = 0.0
        self._watchers = Watchers()
        self._controller: Controller

    def start(self, wanted: Deployment | DeploymentPlan) -> None:
        """Start everything, or raise and leave nothing.

        Raises:
            OrchestratorError: any of those that connecting, planning or loading may raise.
        """
        atexit.register(self.close)
        try:
            self._start(wanted)
        except BaseException:  # Ctrl-C too: what has been started must not stay
            self.close()
            raise

    def close(self, drain_seconds: float = 0.0) -> None:
        """End what ``start`` started. Requests in flight get so long, then they fail."""
        atexit.unregister(self.close)
        self._drain_seconds = drain_seconds
        self._undo.close()

    def status(self, timeout_seconds: float) -> Status:
        """Ask every card; those that do not answer in time are shown without numbers."""
        return observe(self.plan, self._controller.slots.values(), self._router, timeout_seconds)

    def _start(self, wanted: Deployment | DeploymentPlan) -> None:
        if isinstance(wanted, DeploymentPlan):
            self._connect(wanted.deployment.cards, len(wanted.inventory))
            plan = wanted
        else:
            wanted, profiles = known_profiles(wanted, self._options.progress)
            connection = self._connect(wanted.cards, wanted.cards.count or 1)
            nodes = find_nodes(wanted.cards.resource, wanted.cards.count or 1)
            plan = plan_on(nodes, wanted, profiles, self._options, started=connection.ours)
        self._run_cards(plan, find_nodes(plan.deployment.cards.resource, len(plan.slots)))

    def _connect(self, cards: Cards, count: int) -> Connection:
        self._options.progress("connecting to Ray")
        connection = connect(
            self._options.address,
            # Ray detects real cards; others exist because we say so.
            resources={} if cards.kind == "ascend" else {cards.resource: float(count)},
            object_store_bytes=self._options.object_store_bytes,
        )
        self._undo.callback(connection.close)
        return connection

    def _run_cards(self, plan: DeploymentPlan, nodes: tuple[Node, ...]) -> None:
        orders = {slot: plan.orders(slot) for slot in plan.slots}
        used = Counter(slot.rpartition("/")[0] for slot in orders)
        cards = plan.deployment.cards
        bound = bind_nodes(used, nodes, cards.resource)
        most_models = max(len(order.models) for order in orders.values())
        data_threads = self._options.transport.most_calls * most_models
        fleet = Fleet(cards.resource, cards.kind, data_threads)
        slots = [Slot(name, bound[name.rpartition("/")[0]], orders[name]) for name in orders]
        journal = Journal(plan.deployment.name)
        self._controller = Controller(slots, fleet, self._options.restarts, journal=journal)
        publish(lambda: controller_samples(self._controller.slots.copy().values()), self._closed)
        self._undo.callback(self._stop_cards)
        self._undo.callback(self._stop_router)
        self._options.progress(f"loading models on {len(orders)} cards")
        self.open(plan, self._controller.lost)
        self._controller.start(self).result()
        note_residuals(plan, self._controller.slots.values())
        self.know(plan, signatures_of(self._controller.slots.values()))

    def serving(self, slot: str, life: int, card: CardProcess) -> None:
        """See Listener."""
        self._router.serving(slot, life, card)
        self._watchers.tell()

    def down(self, slot: str, life: int, reason: str) -> None:
        """See Listener."""
        self._router.down(slot, life, reason)
        self._watchers.tell()

    def give_up(self, slot: str, reason: str) -> None:
        """See Listener."""
        self._router.give_up(slot, reason)
        self._watchers.tell()

    def seen(self) -> Seen:
        """See Lender."""
        return Seen(self.plan, shown(self._controller.slots.values()))

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """See Lender."""
        return self._watchers.add(changed)

    def look(self, slot: str, life: int, reason: str) -> "Future[bool]":
        """See Lender."""
        there: Future[bool] = Future()
        known = self._controller.slots.get(slot)
        process = None if known is None or known.life != life else known.serving
        if process is None:
            there.set_result(False)
            return there

        def looked(answer: "Future[CardStats]") -> None:
            there.set_result(answer.exception() is None)
            if answer.exception() is not None:
                self._controller.lost(slot, life, reason)

        process.stats().add_done_callback(looked)
        return there

    def _stop_router(self) -> None:
        self._closed.set()
        self._graceful = self._router.close(self._drain_seconds) and self._drain_seconds > 0

    def _stop_cards(self) -> None:
        self._controller.close(_STOP_SECONDS if self._graceful else 0.0)


def note_residuals(plan: DeploymentPlan, slots: Iterable[Slot]) -> None:
    """Keep what the cards took beyond their plans for the next plan."""
    residuals, cards = Residuals(), plan.deployment.cards
    for slot in slots:
        if slot.report is not None:
            residuals.note(cards.kind, cards.type, slot.report.memory)
