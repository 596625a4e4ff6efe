"""A deployment that runs: its Ray, its cards, and the way to them; started and ended as one."""

import atexit
import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from actors.messages import Array, Arrays
from actors.shapes import BatchRule, Signature, check, gear_rows, row_limit, split
from actors.shapes import bucket as bucket_of
from orchestrator.config import Cards, Deployment
from orchestrator.dispatch import Desk, RetryRules, Route, TransportRules
from orchestrator.placement import DeploymentPlan, plan_deployment
from orchestrator.profiles import ModelProfile, ProfileCache, Residuals, collect
from orchestrator.runtime.connect import Connection, connect
from orchestrator.runtime.controller import Controller, RestartRules
from orchestrator.runtime.discover import Node, bind_nodes, find_nodes, inventory_of
from orchestrator.runtime.fleet import Fleet
from orchestrator.runtime.gate import Gate
from orchestrator.runtime.measure import measure_missing, proven, reserved
from orchestrator.runtime.observe import observe
from orchestrator.runtime.router import Router
from orchestrator.runtime.status import Status

#: A replica without planned load still gets this part of what the most loaded one gets.
_LEAST_SHARE = 0.05
_STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Options:
    """How a deployment is run; see Orchestrator."""

    address: str | None = None
    object_store_bytes: int | None = None
    batch: bool = False
    max_in_flight: int = 1024
    progress: Callable[[str], None] = lambda line: None
    retry: RetryRules = field(default_factory=RetryRules)
    restarts: RestartRules = field(default_factory=RestartRules)
    transport: TransportRules = field(default_factory=TransportRules)


class Running:
    """``start`` connects, plans, loads and returns when every card serves; ``close`` undoes it."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._undo = contextlib.ExitStack()
        self._graceful = False
        self._drain_seconds = 0.0
        self.plan: DeploymentPlan
        self.signatures: dict[str, Signature] = {}
        self._rules: dict[str, BatchRule] = {}
        self._gates: dict[str, Gate] = {}
        self._router: Router
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

    def submit(
        self, model: str, inputs: Arrays, timeout: float | None, wait: bool
    ) -> "Future[dict[str, Array]]":
        """Check a request, wait for room or not, and send it in the pieces that a batch holds."""
        send = self._checked(model, inputs)
        started = time.monotonic()
        if wait and not self._router.is_this_thread:
            self._gates[model].enter_or_wait(timeout)
        else:
            self._gates[model].enter_or_refuse()
        return send(started, timeout)

    async def submit_async(
        self, model: str, inputs: Arrays, timeout: float | None, wait: bool
    ) -> "Future[dict[str, Array]]":
        """``submit`` that leaves the event loop free while it waits for room."""
        send = self._checked(model, inputs)
        started = time.monotonic()
        if wait:
            await self._gates[model].enter_async(timeout)
        else:
            self._gates[model].enter_or_refuse()
        return send(started, timeout)

    def _checked(
        self, model: str, inputs: Arrays
    ) -> "Callable[[float, float | None], Future[dict[str, Array]]]":
        signature, rule = self.signatures[model], self._rules[model]
        total = check(signature, rule, model, inputs)
        pieces = split(signature, rule, inputs)
        rows = _piece_rows(signature, rule, inputs, total)

        def send(started: float, timeout: float | None) -> "Future[dict[str, Array]]":
            future = self._router.submit(model, rule, pieces, rows, started, timeout)
            future.add_done_callback(lambda _: self._gates[model].leave())
            return future

        return send

    def status(self, timeout_seconds: float) -> Status:
        """Ask every card; those that do not answer in time are shown without numbers."""
        return observe(self.plan, self._controller.slots, self._router, timeout_seconds)

    def _start(self, wanted: Deployment | DeploymentPlan) -> None:
        if isinstance(wanted, DeploymentPlan):
            self._connect(wanted.deployment.cards, len(wanted.inventory))
            self.plan = wanted
        else:
            wanted = proven(wanted, self._options.progress)
            profiles = known_profiles(wanted, self._options.progress)
            connection = self._connect(wanted.cards, wanted.cards.count or 1)
            nodes = find_nodes(wanted.cards.resource, wanted.cards.count or 1)
            inventory = inventory_of(wanted.cards, nodes, started=connection.ours)
            inventory = reserved(inventory, wanted.cards, self._options.progress)
            self.plan = plan_deployment(wanted, profiles, inventory, batch=self._options.batch)
        self._run_cards(find_nodes(self.plan.deployment.cards.resource, len(self.plan.slots)))

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

    def _run_cards(self, nodes: tuple[Node, ...]) -> None:
        orders = {slot: self.plan.orders(slot) for slot in self.plan.slots}
        used = Counter(slot.rpartition("/")[0] for slot in orders)
        cards = self.plan.deployment.cards
        bound = bind_nodes(used, nodes, cards.resource)
        most_models = max(len(order.models) for order in orders.values())
        fleet = Fleet(cards.resource, cards.kind, self._options.transport.calls * most_models)
        self._controller = Controller(
            orders,
            {slot: bound[slot.rpartition("/")[0]] for slot in orders},
            fleet,
            self._options.restarts,
        )
        desk = Desk(
            routes(self.plan, self._options.transport), self._options.retry, self._options.transport
        )
        self._router = Router(desk, self._controller.lost)
        self._undo.callback(self._stop_cards)
        self._undo.callback(self._stop_router)
        self._options.progress(f"loading models on {len(orders)} cards")
        self._router.start()
        self._controller.start(self._router)
        residuals = Residuals()
        for slot in self._controller.slots.values():
            if slot.report is not None:
                self.signatures.update(slot.report.signatures)
                residuals.note(cards.kind, cards.type, slot.report.memory)
        self._rules = {
            order.name: order.batching for card in orders.values() for order in card.models
        }
        self._gates = {name: Gate(name, self._options.max_in_flight) for name in self._rules}

    def _stop_router(self) -> None:
        self._graceful = self._router.close(self._drain_seconds) and self._drain_seconds > 0

    def _stop_cards(self) -> None:
        self._controller.close(_STOP_SECONDS if self._graceful else 0.0)


def known_profiles(
    deployment: Deployment, progress: Callable[[str], None]
) -> Mapping[str, ModelProfile]:
    """Sizes and times of every model, measuring first what nobody knows."""
    cache = ProfileCache()
    measure_missing(deployment, cache, progress)
    return collect(deployment, cache)


def routes(plan: DeploymentPlan, transport: TransportRules) -> list[Route]:
    """The replicas of a plan with their planned shares and what keeps each one busy."""
    orders = {order.name: order for order in plan.deployment.orders()}
    made = []
    for name, order in orders.items():
        slots = plan.plan.replicas(name)
        rps = {slot: plan.plan.rps.get((name, slot), 0.0) for slot in slots}
        most = max(rps.values(), default=0.0)
        profile = plan.profiles[name]
        measured = profile.measurement.gears if profile.measurement else ()
        gears = [one.gear for one in measured] or list(order.gears or ())
        batch = max((gear_rows(gear, order.batching) for gear in gears), default=1)
        batch = min(batch, order.batching.max_batch or batch)
        rows = math.ceil(2 * order.threads * batch / transport.calls)
        seconds = (profile.service_ms or 1.0) / 1000
        for slot in slots:
            share = max(rps[slot] / most, _LEAST_SHARE) if most else 1.0
            made.append(Route(name, slot, share, seconds, rows))
    return made


def _piece_rows(signature: Signature, rule: BatchRule, inputs: Arrays, total: int) -> Sequence[int]:
    """Rows of each piece that ``split`` makes."""
    if rule.axis is None:
        return [1]
    limit = row_limit(signature, rule, bucket_of(signature, rule, inputs))
    return [min(limit, total - at) for at in range(0, total, limit)]
