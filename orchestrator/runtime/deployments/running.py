"""A deployment that this process owns: its Ray, its cards; started and ended as one."""

import atexit
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from actors.messages import CardOrder, CardStats
from orchestrator.autoscale import Waiting
from orchestrator.config import Cards, Deployment
from orchestrator.dispatch import Route
from orchestrator.errors import CardsUnavailableError, ClusterError
from orchestrator.placement import DeploymentPlan
from orchestrator.profiles import Residuals
from orchestrator.routes import planned_models, routes
from orchestrator.runtime.calls.following import Seen, Watchers, shown
from orchestrator.runtime.calls.lending import Lending
from orchestrator.runtime.calls.samples import controller_samples
from orchestrator.runtime.calls.traffic import Traffic
from orchestrator.runtime.cards.changing import beside, carry_out, give_back_all
from orchestrator.runtime.cards.controller import Controller
from orchestrator.runtime.cards.fleet import CardProcess, Fleet
from orchestrator.runtime.cards.inherited import orders_held
from orchestrator.runtime.cards.losses import Loss, Losses
from orchestrator.runtime.cards.slots import Slot, signatures_of
from orchestrator.runtime.cluster.connect import Connection, connect
from orchestrator.runtime.cluster.discover import Node, bind_nodes, find_nodes
from orchestrator.runtime.cluster.planning import FirstPlan, first_plan, known_profiles
from orchestrator.runtime.deployments.observe import observe
from orchestrator.runtime.deployments.scaler import Scaler
from orchestrator.runtime.deployments.status import Status
from orchestrator.runtime.deployments.survivors import Survivors, Told
from orchestrator.runtime.journal import Journal
from orchestrator.runtime.metrics import publish
from orchestrator.runtime.options import Options

_STOP_SECONDS = 5.0
#: Of this process, which is in one Ray at a time.
_with_own_ray: "list[Running]" = []
_SHARED = (
    "it was started by another Orchestrator of this process, for its own cards: close that one "
    "first, put all models into one deployment, or start Ray before both, with the cards of both "
    "(ray.init(resources={'NPU': 2})), and leave the addresses out"
)


class Running(Traffic):
    """``start`` connects, plans, loads and returns when every card serves; ``close`` undoes it."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._undo = contextlib.ExitStack()
        self.asleep = False
        self.nodes: Mapping[str, str] = {}
        self.losses = Losses()
        self._changing_losses = threading.Lock()
        self._survivors: Survivors | None = None
        self._scaler: Scaler | None = None
        self._graceful = False
        self._drain_seconds = 0.0
        self._watchers = Watchers()
        self._lending: Lending | None = None
        self._lends = threading.Lock()
        self._controller: Controller
        self._fleet: Fleet

    def start(self, wanted: Deployment | DeploymentPlan) -> None:
        """Start everything, or raise and leave nothing.

        Raises:
            OrchestratorError: any of those that connecting, planning or loading may raise.
        """
        atexit.register(self.close)
        try:
            self._start(wanted)
        except BaseException as error:  # Ctrl-C too: what has been started must not stay
            self.close()
            if isinstance(error, ClusterError | CardsUnavailableError) and _with_own_ray:
                raise replace(error, hint=_SHARED) from error
            raise

    def close(self, drain_seconds: float = 0.0) -> None:
        """End what ``start`` started. Requests in flight get so long, then they fail."""
        atexit.unregister(self.close)
        self._drain_seconds = drain_seconds
        self.over = True
        self._undo.close()

    def status(self, timeout_seconds: float) -> Status:
        """Ask every card; those that do not answer in time are shown without numbers."""
        seen = observe(self.plan, self.slots(), self._router, timeout_seconds)
        scaling = self._scaler.shown() if self._scaler else None
        return replace(seen, scaling=scaling, notes=self.losses.told(self.plan))

    @property
    def drained(self) -> frozenset[str]:
        """Slots that must not be used."""
        return frozenset(self.losses.lost)

    def slots(self) -> list[Slot]:
        """All slots, as of now."""
        return list(self._controller.slots.values())

    def waiting(self) -> Mapping[str, Waiting]:
        """See Scaled."""
        return self.outlook.waiting()

    @property
    def plugged(self) -> list[str]:
        """See Scaled."""
        return self._controller.plugged

    def update_losses(self, change: Callable[[Losses], Losses]) -> None:
        """See Planned."""
        with self._changing_losses:
            self.losses = change(self.losses)

    def rescale(
        self,
        plan: DeploymentPlan | None,
        nodes: Mapping[str, str],
        back: Collection[str] = (),
    ) -> "Future[None]":
        """Begin to change what runs to a plan on these nodes, or to no card at all."""
        self.update_losses(lambda losses: losses.minus(back))
        if plan is not None:
            self.nodes = {**self.nodes, **nodes}
        return beside("orchestrator-change", partial(self._carry_out, plan))

    def let_go(self, slot: str) -> None:
        """See Scaled."""
        self._controller.retire(slot, 0.0)

    def _start(self, wanted: Deployment | DeploymentPlan) -> None:
        first: FirstPlan | None = None
        if isinstance(wanted, DeploymentPlan):
            most = wanted.deployment.cards.count if wanted.deployment.autoscale else None
            self._connect(wanted.deployment.cards, max(len(wanted.inventory), most or 0))
            plan = wanted
        else:
            wanted, profiles = known_profiles(wanted, self._options.progress)
            connection = self._connect(wanted.cards, wanted.cards.count or 1)
            first = first_plan(wanted, profiles, self._options, started=connection.ours)
            plan = first.plan
        self._run_cards(plan, find_nodes(plan.deployment.cards.resource, len(plan.slots)))
        if plan.deployment.autoscale is not None:
            self._follow_the_work(first.node_seconds if first else None)

    def _connect(self, cards: Cards, count: int) -> Connection:
        self._options.progress("connecting to Ray")
        connection = connect(
            self._options.address,
            # Ray detects real cards; others exist because we say so.
            resources={} if cards.kind == "ascend" else {cards.resource: float(count)},
            object_store_bytes=self._options.object_store_bytes,
        )
        self._undo.callback(connection.close)
        if connection.ours:
            _with_own_ray.append(self)
            self._undo.callback(_with_own_ray.remove, self)
        return connection

    def _run_cards(self, plan: DeploymentPlan, nodes: tuple[Node, ...]) -> None:
        used = Counter(slot.rpartition("/")[0] for slot in plan.slots)
        cards = plan.deployment.cards
        self.nodes = bind_nodes(used, nodes, cards.resource)
        self._fleet = Fleet(cards.resource, cards.kind)
        slots = [self._empty_slot(name, plan.orders(name)) for name in plan.slots]
        journal = Journal(plan.deployment.name)
        self._controller = Controller(slots, self._fleet, self._options.restarts, journal=journal)
        self._undo.callback(
            publish(
                lambda: controller_samples(self._controller.slots.copy().values()), self._closed
            )
        )
        self._undo.callback(self._closed.set)
        self._undo.callback(self._stop_cards)
        self._options.progress(f"loading models on {len(slots)} cards")
        self.open(plan, self._controller.lost, self._controller.pardon)
        self._undo.callback(self._stop_router)
        self._controller.start(Told(self, self._gone)).result()
        self._survivors = Survivors(self)
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

    def failed(self, slot: Slot) -> None:
        """See Listener: what counts of its processes ends with this one, as they do."""

    def losing(self, slot: Slot, loss: Loss) -> None:
        """See Listener."""
        if self._survivors is not None and not slot.refused:
            self._survivors.pending.add(slot.name)
            self.update_losses(lambda losses: losses.plus({slot.name: loss}, self.plan))

    def seen(self) -> Seen:
        """See Lender."""
        pending = self._survivors.pending.copy() if self._survivors else ()
        return Seen(self.plan, shown(self.slots()), self.signatures, frozenset(pending))

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

    def pardon(self, deaths: Mapping[str, int]) -> None:
        """See Lender."""
        self._controller.pardon(deaths)

    def lend(self) -> str:
        """The name of the board by which processes of this Ray reach the cards; see lending."""
        with self._lends:
            if self._lending is None:
                # Called while Ray pickles a handle: what it notes meanwhile is kept by thread.
                with ThreadPoolExecutor(1) as pool:
                    self._lending = pool.submit(Lending, self).result()
                self._undo.callback(self._lending.close)
            return self._lending.name

    def _gone(self, slot: str) -> "Future[None]":
        """A card is gone for good: once all have served, the others take over."""
        if self._survivors is not None and not self._controller.slots[slot].refused:
            return self._survivors.gone(slot)
        nobody: Future[None] = Future()
        nobody.set_result(None)
        return nobody

    def _empty_slot(self, name: str, order: CardOrder) -> Slot:
        return Slot(name, self.nodes[name.rpartition("/")[0]], order)

    def _follow_the_work(self, node_seconds: float | None) -> None:
        self._scaler = Scaler(self, node_seconds)
        self._undo.callback(self._scaler.close)
        self._scaler.start()

    def _carry_out(self, plan: DeploymentPlan | None) -> None:
        """Change what runs to a plan, or to nothing; requests are routed by either meanwhile."""
        controller = self._controller
        if plan is None:
            self.asleep = True
            give_back_all(controller)
            self._watchers.tell()
            return
        held = orders_held(controller.slots.copy().values(), ())
        self._router.adopt(self._routes(plan, self.slots()))
        self.asleep = False
        try:
            carry_out(controller, plan, held, self._empty_slot)
        finally:
            self.know(plan, {**self.signatures, **signatures_of(controller.slots.copy().values())})
        lost = [slot for slot in self.slots() if slot.lost]  # for their story
        self._router.adopt(self._routes(plan, lost))
        self._watchers.tell()

    def _routes(self, plan: DeploymentPlan, also: Iterable[Slot]) -> list[Route]:
        """Where the plan has its models, and where these slots have theirs."""
        placed = {name: set(models) for name, models in planned_models(plan).items()}
        for slot in also:
            placed.setdefault(slot.name, set()).update(model.name for model in slot.order.models)
        return routes(plan, placed, self._options.transport)

    def _stop_router(self) -> None:
        self._graceful = self.end(self._drain_seconds) and self._drain_seconds > 0

    def _stop_cards(self) -> None:
        self._controller.close(_STOP_SECONDS if self._graceful else 0.0)


def note_residuals(plan: DeploymentPlan, slots: Iterable[Slot]) -> None:
    """Keep what the cards took beyond their plans for the next plan."""
    residuals, cards = Residuals(), plan.deployment.cards
    for slot in slots:
        if slot.report is not None:
            residuals.note(cards.kind, cards.type, slot.report.memory)
