"""A named deployment as one of its drivers sees it: its own way to the cards, and nothing else.

The controller says which process serves which slot whenever that changes; requests go straight to
the cards, whether the controller is there or not.
"""

import atexit
import contextlib
import logging
import secrets
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from threading import Event, Thread

from actors.messages import Arrays
from actors.queue import Priority
from orchestrator.autoscale import Waiting
from orchestrator.errors import ClusterError, NoSuchDeploymentError, NotServingError
from orchestrator.runtime.controller_host import View
from orchestrator.runtime.gate import Gate
from orchestrator.runtime.named import ControllerClient, join
from orchestrator.runtime.observe import observe
from orchestrator.runtime.options import Options
from orchestrator.runtime.slots import Slot, SlotState
from orchestrator.runtime.status import Status
from orchestrator.runtime.traffic import Send, Traffic, planned_models, routes

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.2
_VIEW_SECONDS = 30.0
_TELL_SECONDS = 1.0
_DOWN = "the deployment was taken down"


class Joined(Traffic):
    """``start`` connects to a deployment that runs elsewhere; ``close`` leaves it as it is."""

    def __init__(self, name: str, options: Options) -> None:
        super().__init__(options)
        self._name = name
        self._client = ControllerClient(name)
        self._undo = contextlib.ExitStack()
        self._told: dict[str, tuple[int, SlotState, bool]] = {}
        self._models_known = Event()
        self._left: Future[None] = Future()
        self._drain_seconds = 0.0
        self._driver = secrets.token_hex(8)
        self._view: View

    def start(self) -> None:
        """Connect, and wait until the deployment has served once.

        Raises:
            ClusterError: the cluster cannot be joined, or the controller does not answer.
            NoSuchDeploymentError: nothing of that name runs there.
            LoadError, DoesNotFitError, CardLostError: it is being started, and fails.
        """
        atexit.register(self.close)
        try:
            self._undo.callback(join(self._options.address).close)
            if not self._client.ask("view", seconds=_VIEW_SECONDS).served:
                self._client.ask("settled")
            view: View = self._client.ask("view", seconds=_VIEW_SECONDS)
            self.open(view.plan, self._lost)
            self._undo.callback(self._stop_router)
            self._apply(view)
            Thread(target=self._follow, name="orchestrator-follow", daemon=True).start()
            self._undo.callback(self._left.set_result, None)
            Thread(target=self._tell_load, name="orchestrator-load", daemon=True).start()
            self._wait_for_models()
        except BaseException:
            self.close()
            raise

    def close(self, drain_seconds: float = 0.0) -> None:
        """Leave. Requests in flight get so long, then they fail."""
        atexit.unregister(self.close)
        self._drain_seconds = drain_seconds
        self._undo.close()

    def status(self, timeout_seconds: float) -> Status:
        """Ask every card; the last that was heard from the controller, if it does not answer."""
        with contextlib.suppress(ClusterError):
            self._view = self._client.ask("view", seconds=timeout_seconds)
        view = self._view
        seen = observe(view.plan, view.slots, self._router, timeout_seconds)
        return seen.controlled_by(view.pid, view.scaling, view.notes)

    def _checked(self, model: str, inputs: Arrays, priority: Priority) -> tuple[Gate, Send]:
        if self.over:
            raise NoSuchDeploymentError(self._name)
        return super()._checked(model, inputs, priority)

    def _wait_for_models(self) -> None:
        if not self._models_known.wait(self._options.retry.patience):
            raise NotServingError(f"of deployment {self._name}", "starting again")

    def _stop_router(self) -> None:
        self._closed.set()
        self._router.close(self._drain_seconds)

    def _follow(self) -> None:
        seen = self._view.version
        while True:
            asked = self._client.call("follow", seen)
            wait((asked, self._left), return_when=FIRST_COMPLETED)
            if self._left.done():
                return
            error = asked.exception()
            if isinstance(error, NoSuchDeploymentError):
                self.over = True
                self._router.close(0.0, _DOWN)
                return
            if error is not None:
                wait((self._left,), _RETRY_SECONDS)
            elif asked.result() is not None:
                seen = asked.result().version
                try:
                    self._apply(asked.result())
                except Exception:  # a mistake of ours: the next view may be right
                    _log.exception("a view of deployment %s could not be followed", self._name)

    def _apply(self, view: View) -> None:
        """Tell the router what has changed since the view before."""
        self._view = view
        placed = {name: set(models) for name, models in planned_models(view.plan).items()}
        for slot in view.slots:
            placed.setdefault(slot.name, set()).update(model.name for model in slot.order.models)
        replicas = routes(view.plan, placed, self._options.transport)
        self._router.adopt(replicas)
        self.know(view.plan, {**self.signatures, **view.signatures})
        used = {route.slot for route in replicas}
        for slot in view.slots:
            if slot.name in used:
                self._tell(slot, over=slot.lost and slot.name not in view.waits_for)
        for name in self._told.keys() - {slot.name for slot in view.slots}:
            self._router.down(name, self._told.pop(name)[0], "it is no longer in the deployment")
        if self._all_known(view):
            self._models_known.set()

    def _tell(self, slot: Slot, over: bool) -> None:
        """What serves a slot now; ``over``: nothing will, and nobody takes over any more."""
        now = slot.life, slot.state, over
        before = self._told.get(slot.name)
        if now == before:
            return
        self._told[slot.name] = now
        process = slot.serving
        if before is not None and (process is None or before[0] != slot.life):
            self._router.down(slot.name, before[0], slot.why or "its process is replaced")
        if process is not None:
            models = frozenset(model.name for model in slot.order.models)
            self._router.serving(slot.name, slot.life, process, models)
        elif before is None:
            self._router.down(slot.name, slot.life, slot.why or f"is {slot.state.value}")
        if over:
            self._router.give_up(slot.name, slot.why)

    def _all_known(self, view: View) -> bool:
        """Whether there is nothing to wait for before the models can be called."""
        starting = (SlotState.STARTING, SlotState.LOADING, SlotState.WAITING)
        return len(self.signatures) == len(view.plan.deployment.models) or not (
            view.asleep or any(slot.state in starting for slot in view.slots)
        )

    def _tell_load(self) -> None:
        """Tell the controller what waits here, while something does and it can do about it."""
        told = False
        while not self._closed.wait(_TELL_SECONDS):
            if self._view.plan.deployment.autoscale is None or self.over:
                continue
            waiting = self.waiting()
            if not self._models_known.is_set():  # whoever waits to call a model waits for a row
                names = (model.name for model in self._view.plan.deployment.models)
                waiting = {name: Waiting(1.0) for name in names}
            if waiting or told:
                self._client.call("load", self._driver, waiting)
            told = bool(waiting)

    def _lost(self, name: str, life: int, reason: str) -> None:
        """A call found a card gone: the controller looks, and so do we if it is there after all."""
        answer = self._client.call("lost", name, life, reason)
        answer.add_done_callback(partial(self._looked, name, life))

    def _looked(self, name: str, life: int, answer: "Future[bool]") -> None:
        there = answer.exception() is None and answer.result()
        slot = next((slot for slot in self._view.slots if slot.name == name), None)
        if there and slot is not None and slot.life == life and slot.serving is not None:
            models = frozenset(model.name for model in slot.order.models)
            self._router.serving(name, life, slot.serving, models)
