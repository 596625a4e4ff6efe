"""One simulation: a heap of events around the desks of drivers and the queues of cards."""

import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from actors.errors import OrchestratorError
from actors.queue import Batch, CardQueue, Entry
from orchestrator.dispatch import Bundle, Desk, Failure, Ticket
from orchestrator.simulate.world import Death, Slower, Source, World

#: An actor call of Ray takes about this long, there and back.
TRAVEL_SECONDS = 0.001
#: What waits for a model without a card is looked at so often.
_PATIENCE_TICK = 1.0


@dataclass
class ModelOutcome:
    """Requests of one model; ``latencies`` in seconds, and how many rows each card answered."""

    arrived: int = 0
    failed: int = 0
    latencies: list[float] = field(default_factory=list)
    rows_by_card: Counter[str] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        """Requests with an answer."""
        return len(self.latencies)

    def latency(self, share: float) -> float | None:
        """The latency that this share of the answers had at most; None where there is none."""
        ordered = sorted(self.latencies)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None


@dataclass(frozen=True)
class Outcome:
    """What happened in so many seconds: by model, and the busy share of each card."""

    seconds: float
    models: Mapping[str, ModelOutcome]
    busy: Mapping[str, float]


def simulate(
    world: World,
    sources: Iterable[Source],
    seconds: float,
    *,
    events: Iterable[Slower | Death] = (),
    seed: int = 0,
) -> Outcome:
    """Run a load for so many seconds of simulated time. Equal arguments give an equal outcome."""
    run = _Run(world, list(sources), seconds, random.Random(seed))
    return run.run(events)


@dataclass(eq=False)
class _Call:
    """One actor call on its card, and how many of its entries are not done."""

    driver: int
    bundle: Bundle
    arrived: float = 0.0
    left: int = 0


class _Card:
    """A card's process and its calls; its execution clock is taken until ``clock``.

    ``busy``: seconds of executions, as far as they lie before ``end``.
    """

    def __init__(self, name: str, world: World, end: float) -> None:
        self.name, self.speed = name, world.speeds[name]
        self._terms, self._end = world.terms[name], end
        self._threads = {model: world.models[model].threads for model in self._terms}
        self.life, self.busy = -1, 0.0
        self.calls: dict[tuple[int, int], _Call] = {}
        self.start(0.0)

    def start(self, now: float) -> None:
        """A new process serves."""
        self.queue: CardQueue[_Call] = CardQueue(self._terms)
        self.free = dict(self._threads)
        self.life, self.alive, self.clock, self.wake = self.life + 1, True, now, math.inf

    def end(self, now: float) -> list[_Call]:
        """It dies: the calls that it had, and what it was to execute is not executed."""
        self.busy -= self._within(now, self.clock)
        calls, self.calls, self.alive = list(self.calls.values()), {}, False
        return calls

    def execute(self, seconds: float, now: float) -> float:
        """When a batch that comes now is done."""
        started = max(now, self.clock)
        self.clock = started + seconds / self.speed
        self.busy += self._within(started, self.clock)
        return self.clock

    def due(self) -> float:
        """When a batch is due that could be begun, if nothing else happens."""
        free = (model for model, threads in self.free.items() if threads)
        return min((self.queue.next_due(model) for model in free), default=math.inf)

    def _within(self, start: float, stop: float) -> float:
        return max(0.0, min(stop, self._end) - start)


class _Run:
    """One simulation. Everything happens in the order of its time, and then of its making."""

    def __init__(
        self, world: World, sources: list[Source], seconds: float, rng: random.Random
    ) -> None:
        self._world, self._sources, self._seconds, self._rng = world, sources, seconds, rng
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._made, self._ids = itertools.count(), itertools.count()
        self._cards = {name: _Card(name, world, seconds) for name in world.terms}
        self._outcomes = {source.model: ModelOutcome() for source in sources}
        self._came: dict[int, tuple[float, ModelOutcome]] = {}
        self._desks = {source.driver: Desk(world.routes) for source in sources}
        for desk, card in itertools.product(self._desks.values(), self._cards.values()):
            desk.serving(card.name, card.life)

    def run(self, events: Iterable[Slower | Death]) -> Outcome:
        for event in events:
            if isinstance(event, Slower):
                self._at(event.at, partial(self._slower, event))
            else:
                self._at(event.at, partial(self._dies, event))
        for source in self._sources:
            self._next_of(source)
        self._at(_PATIENCE_TICK, self._expire)
        while self._events and self._events[0][0] <= self._seconds:
            self._now, _, happens = heapq.heappop(self._events)
            happens()
        busy = {card.name: card.busy / self._seconds for card in self._cards.values()}
        return Outcome(self._seconds, self._outcomes, busy)

    def _at(self, when: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._made), happens))

    def _next_of(self, source: Source) -> None:
        self._at(self._now + self._rng.expovariate(source.rps), partial(self._arrives, source))

    def _arrives(self, source: Source) -> None:
        self._next_of(source)
        ticket = Ticket(next(self._ids), source.model, source.rows, 0, self._now, source.priority)
        outcome = self._outcomes[source.model]
        outcome.arrived += 1
        self._came[ticket.id] = self._now, outcome
        self._fail(self._desks[source.driver].submit(ticket))
        self._send(source.driver)

    def _send(self, driver: int) -> None:
        """Whatever a driver's desk lets go now is on its way."""
        for bundle in self._desks[driver].dispatch(self._now):
            call = _Call(driver, bundle)
            self._cards[bundle.slot].calls[driver, bundle.id] = call
            self._at(self._now + TRAVEL_SECONDS / 2, partial(self._reaches, call))

    def _reaches(self, call: _Call) -> None:
        """A call is on its card, unless the process has died meanwhile."""
        bundle, card = call.bundle, self._cards[call.bundle.slot]
        if card.calls.get((call.driver, bundle.id)) is not call:
            return
        call.arrived, most = self._now, self._world.models[bundle.model].most
        for ticket in bundle.tickets:
            for at in range(0, ticket.rows, most):
                rows = min(most, ticket.rows - at)
                call.left += 1
                card.queue.put(
                    Entry(
                        bundle.model, (), rows, most, self._now, call, ticket.priority, call.driver
                    )
                )
        self._go(card)

    def _go(self, card: _Card) -> None:
        """Begin every batch whose turn it is, and come back when the next one is due."""
        if not card.alive:
            return
        while True:
            ready = (model for model in card.queue.next(self._now) if card.free[model])
            taken = (card.queue.take(model, self._now) for model in ready)
            batch = next((one for one in taken if one is not None), None)
            if batch is None:
                break
            self._begin(card, batch)
        due = card.due()
        if self._now < due < card.wake:
            card.wake = due
            self._at(due, partial(self._woken, card, card.life))

    def _woken(self, card: _Card, life: int) -> None:
        if card.life == life:
            card.wake = math.inf
            self._go(card)

    def _begin(self, card: _Card, batch: Batch[_Call]) -> None:
        card.free[batch.model] -= 1
        rows = sum(entry.rows for entry in batch.entries)
        done = card.execute(self._world.models[batch.model].seconds(rows), self._now)
        self._at(done, partial(self._executed, card, card.life, batch))

    def _executed(self, card: _Card, life: int, batch: Batch[_Call]) -> None:
        if card.life != life or not card.alive:
            return
        card.queue.finished(batch, self._now)
        card.free[batch.model] += 1
        outcome = self._outcomes[batch.model]
        for entry in batch.entries:
            outcome.rows_by_card[card.name] += entry.rows
            entry.item.left -= 1
            if not entry.item.left:
                self._leaves(card, entry.item)
        self._go(card)

    def _leaves(self, card: _Card, call: _Call) -> None:
        del card.calls[call.driver, call.bundle.id]
        on_card = self._now - call.arrived
        self._at(self._now + TRAVEL_SECONDS / 2, partial(self._returns, call, on_card))

    def _returns(self, call: _Call, on_card: float) -> None:
        outcomes: dict[int, OrchestratorError | None]
        outcomes = dict.fromkeys(ticket.id for ticket in call.bundle.tickets)
        desk = self._desks[call.driver]
        done, failed = desk.answered(call.bundle, outcomes, self._now, on_card)
        for request in done:
            came, outcome = self._came.pop(request)
            outcome.latencies.append(self._now - came)
        self._fail(failed)
        self._send(call.driver)

    def _slower(self, event: Slower) -> None:
        self._cards[event.card].speed = event.speed

    def _dies(self, event: Death) -> None:
        card = self._cards[event.card]
        for call in card.end(self._now):
            self._fail(self._desks[call.driver].died(call.bundle, "killed", self._now))
        for driver, desk in self._desks.items():
            desk.down(card.name, card.life, "killed", self._now)
            if event.back is None:
                self._fail(desk.give_up(card.name, "killed"))
            self._send(driver)
        if event.back is not None:
            self._at(self._now + event.back, partial(self._serves_again, card))

    def _serves_again(self, card: _Card) -> None:
        card.start(self._now)
        for driver, desk in self._desks.items():
            desk.serving(card.name, card.life)
            self._send(driver)

    def _expire(self) -> None:
        self._at(self._now + _PATIENCE_TICK, self._expire)
        for desk in self._desks.values():
            self._fail(desk.expire(self._now))

    def _fail(self, failures: Iterable[Failure]) -> None:
        for failure in failures:
            self._came.pop(failure.id)[1].failed += 1
