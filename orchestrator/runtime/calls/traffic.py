"""The way of requests from this process's callers to the cards, whoever keeps the cards alive."""

import os
import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass, replace
from threading import Event
from typing import NamedTuple

import ray

from actors.admission import Admission
from actors.errors import InvalidRequestError
from actors.messages import Array, Arrays
from actors.queue import PRIORITIES, Priority
from actors.shapes import BatchRule, Signature
from orchestrator.dispatch import Desk
from orchestrator.errors import NotServingError
from orchestrator.placement import DeploymentPlan
from orchestrator.routes import planned_models, routes
from orchestrator.runtime.calls.asked import Answer, Asked
from orchestrator.runtime.calls.gate import Gate
from orchestrator.runtime.calls.outlook import Outlook, Sent
from orchestrator.runtime.calls.router import CLOSED, Router
from orchestrator.runtime.calls.samples import publish_driver
from orchestrator.runtime.calls.suspicion import suspicion
from orchestrator.runtime.cards.slots import TO_COME, Slot, told_of
from orchestrator.runtime.journal import Journal
from orchestrator.runtime.options import Options

#: A router that does not say so soon what waits is asked again at the next look.
_VIEW_SECONDS = 0.5
_WAITS_FOR_ITSELF = (
    "predict was called in a callback of a future, on the thread that routes all requests, which "
    "would wait for itself: submit there, or predict on a thread of your own"
)
_FORKED = "this process is a fork of the one that reaches the cards, and cannot reach them itself"
_NO_FORK = "use threads, Ray tasks or actors, or connect anew in a process that is spawned"
_LEFT = "this process has left the Ray that its cards are in, as ray.shutdown() does"
_ANEW = "close the Orchestrator before that, and start or connect it anew"


class Checked(NamedTuple):
    """A request that its model takes: what is sent, and where it is let in with how many bytes."""

    asked: Asked
    gate: Gate
    nbytes: int


@dataclass(frozen=True)
class _Known:
    """A model that can be called."""

    rule: BatchRule
    admission: Admission
    gates: Mapping[Priority, Gate]


class Traffic:
    """Checks requests, lets them in, and routes them; ``open`` first, then ``know`` the models."""

    plan: DeploymentPlan
    over = False
    """Whether there is nothing left that could take requests."""
    _router: Router
    _pid: int
    """Of the process whose threads carry requests; a fork of it has none."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.signatures: Mapping[str, Signature] = {}
        self._known: Mapping[str, _Known] = {}
        self._closed = Event()
        self.outlook = Outlook(self.sent)

    @property
    def options(self) -> Options:
        """How it is run; may be sent to other processes."""
        return replace(self._options, progress=_say_nothing)

    def open(
        self,
        plan: DeploymentPlan,
        on_lost: Callable[[str, int, str], None],
        on_culprit: Callable[[Mapping[str, int]], None] = lambda deaths: None,
    ) -> None:
        """Take requests for the models of a plan; ``on_lost`` hears of cards that are gone.

        ``on_culprit`` hears of deaths, by slot, that a request is to blame for.
        """
        transport = self._options.transport
        self.plan = plan
        desk = Desk(routes(plan, planned_models(plan), transport), self._options.retry, transport)
        journal = Journal(plan.deployment.name)
        self._router = Router(desk, on_lost, journal=journal, on_culprit=on_culprit)
        self._router.start()
        self._pid = os.getpid()
        self._exported = publish_driver(lambda: self.plan, self._router, self._closed)

    def end(self, drain_seconds: float = 0.0, why: str = CLOSED) -> bool:
        """Take nothing new, finish what is here, then fail the rest; nothing is exported any more.

        False when some was failed.
        """
        self._closed.set()
        finished = self._router.close(drain_seconds if ray.is_initialized() else 0.0, why)
        self._exported()
        return finished

    def know(self, plan: DeploymentPlan, signatures: Mapping[str, Signature]) -> None:
        """These are the models now, as the cards that loaded them say."""
        limits = self._options.max_in_flight, self._options.max_bytes_in_flight
        rules = {order.name: order.batching for order in plan.deployment.orders()}
        known = {name: one for name, one in signatures.items() if name in rules}
        gates = {name: one.gates for name, one in self._known.items()}
        self.plan = plan
        self._known = {
            name: _Known(
                rules[name],
                Admission(signature, rules[name], name),
                gates.get(name) or {p: Gate(name, *limits) for p in PRIORITIES},
            )
            for name, signature in known.items()
        }
        self.signatures = known

    def slots(self) -> Sequence[Slot]:
        """The cards, as of now."""
        raise NotImplementedError

    def signature(self, model: str) -> Signature:
        """What a model takes and gives.

        Raises:
            NotServingError: no card has loaded it.
        """
        found = self.signatures.get(model)
        if found is None:
            raise self._not_loaded(model)
        return found

    def submit(
        self,
        model: str,
        inputs: Arrays,
        timeout: float | None,
        wait: bool,
        priority: Priority,
        here: bool = False,
    ) -> "Future[dict[str, Array]]":
        """Check a request, wait for room or not, and send it in the pieces that a batch holds.

        ``here``: the caller would wait for the answer next; see ``Router.submit``.
        """
        if here and self._router.is_this_thread:
            raise InvalidRequestError(model, _WAITS_FOR_ITSELF)
        asked, gate, nbytes = self._checked(model, inputs, priority, timeout)
        self._enter(gate, nbytes, timeout, wait)
        return self._submit(asked, gate, nbytes, here)

    def send(
        self,
        model: str,
        inputs: Arrays,
        timeout: float | None,
        priority: Priority,
        answer: Answer,
    ) -> None:
        """``submit`` of a request of a stream, whose answer is ended, unless this raises."""
        asked, gate, nbytes = self._checked(model, inputs, priority, timeout)
        self._enter(gate, nbytes, timeout, wait=True)
        answer.nbytes, answer.leave = nbytes, gate.leave
        try:
            self._router.send(asked, answer)
        except BaseException:  # Ctrl-C: it may have been sent
            self._router.drop([answer])
            raise

    def drop(self, answers: Collection[Answer]) -> None:
        """Nobody reads their stream any more."""
        self._router.drop(answers)

    async def submit_async(
        self, model: str, inputs: Arrays, timeout: float | None, wait: bool, priority: Priority
    ) -> "Future[dict[str, Array]]":
        """``submit`` that leaves the event loop free while it waits for room."""
        asked, gate, nbytes = self._checked(model, inputs, priority, timeout)
        if wait:
            await gate.enter_async(nbytes, timeout)
        else:
            gate.enter_or_refuse(nbytes)
        return self._submit(asked, gate, nbytes)

    def unserved(self, model: str) -> str:
        """Why a model has no card left; empty while it has one, or is not known to have none."""
        try:
            return self._router.view().result(_VIEW_SECONDS).unserved.get(model, "")
        except NotInTime:  # or the router is closed, as the next request will be told
            return ""

    def hear(self, worker: Hashable, sent: Sent) -> None:
        """See Lender."""
        self.outlook.hear(worker, sent)

    def sent(self) -> Sent:
        """What callers of this process wait for, and what was answered."""
        counts = self._router.counts.copy()
        try:
            waiting = self._router.view().result(_VIEW_SECONDS).backlog
        except NotInTime:
            waiting = {}
        return Sent(waiting, {name: seen.rows for name, seen in counts.items()})

    def _checked(
        self, model: str, inputs: Arrays, priority: Priority, timeout: float | None
    ) -> Checked:
        known = self._known.get(model)
        if known is None:
            raise self._not_loaded(model)
        if os.getpid() != self._pid:  # its threads are not here, so nothing would ever be sent
            raise NotServingError(f"model {model}", _FORKED, _NO_FORK)
        if not ray.is_initialized():
            raise NotServingError(f"model {model}", _LEFT, _ANEW)
        placed = known.admission.place(inputs)
        asked = Asked(
            model,
            known.rule,
            known.admission.pieces(inputs, placed),
            placed.piece_rows,
            placed.piece_bytes,
            time.monotonic(),
            timeout,
            priority,
            suspicion(),
        )
        return Checked(asked, known.gates[priority], placed.nbytes)

    def _not_loaded(self, model: str) -> NotServingError:
        """Why a model cannot be called of which no card has ever said what it takes."""
        deployment = self.plan.deployment
        names = [one.name for one in deployment.models]
        if model not in names:
            gone = f"deployment {deployment.name} has it no more"
            return NotServingError(f"model {model}", gone, f"it has {', '.join(names)}")
        meant = {card.card for card in self.plan.plan.cards if model in card.models}
        slots = [slot for slot in self.slots() if slot.name in meant]
        cards = "; ".join(map(told_of, slots)) or "the plan has it on none"
        to_come = any(slot.state in TO_COME for slot in slots)
        cure = "call it again later" if to_come else "orchestrator drain CARD --undo tries it again"
        return NotServingError(f"model {model}", f"no card has loaded it ({cards})", cure)

    def _enter(self, gate: Gate, nbytes: int, timeout: float | None, wait: bool) -> None:
        if wait and not self._router.is_this_thread:
            gate.enter_or_wait(nbytes, timeout)
        else:
            gate.enter_or_refuse(nbytes)

    def _submit(
        self, asked: Asked, gate: Gate, nbytes: int, here: bool = False
    ) -> "Future[dict[str, Array]]":
        try:
            future = self._router.submit(asked, here)
        except BaseException:  # Ctrl-C while it was carried
            gate.leave(nbytes)
            raise
        future.add_done_callback(lambda _: gate.leave(nbytes))
        return future


def _say_nothing(line: str) -> None:
    """What is slow about a start, nobody asks elsewhere."""
