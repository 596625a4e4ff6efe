"""A named deployment as one of its drivers sees it: its own way to the cards, and nothing else.

The controller says which process serves which slot whenever that changes; requests go straight to
the cards, whether the controller is there or not.
"""

import atexit
import contextlib
import logging
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from threading import Event, Thread
from typing import Any

from orchestrator.autoscale import Waiting
from orchestrator.errors import ClusterError, NoSuchDeploymentError, NotServingError
from orchestrator.runtime.calls.following import DOWN, Following, Seen, Watchers
from orchestrator.runtime.cards.changing import beside
from orchestrator.runtime.cards.slots import TO_COME, SlotState, told_of
from orchestrator.runtime.deployments.named import ControllerClient, join, require_same_controller
from orchestrator.runtime.deployments.observe import observe
from orchestrator.runtime.deployments.status import Status
from orchestrator.runtime.deployments.view import View
from orchestrator.runtime.options import Options

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.2
_VIEW_SECONDS = 30.0
_TELL_SECONDS = 1.0


class Joined(Following):
    """``start`` connects to a deployment that runs elsewhere; ``close`` leaves it as it is."""

    def __init__(self, name: str, options: Options) -> None:
        super().__init__(options)
        self._name = name
        self._client = ControllerClient(name)
        self._undo = contextlib.ExitStack()
        self._watchers = Watchers()
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
            first = require_same_controller(self._client.ask("view", seconds=_VIEW_SECONDS))
            if not first.served:
                self._client.ask("settled")
            view: View = self._client.ask("view", seconds=_VIEW_SECONDS)
            self.open(view.plan, self._lost, self.pardon)
            self._undo.callback(self._stop_router)
            self._undo.callback(self._left.set_result, None)
            self._apply(view)
            Thread(target=self._follow, name="orchestrator-follow", daemon=True).start()
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

    def _wait_for_models(self) -> None:
        known = self._models_known.wait(self._options.retry.patience)
        if self.over:
            raise NoSuchDeploymentError(self._name)
        if not known:
            told = f"no card has loaded its models within {self._options.retry.patience:g} s"
            cards = "; ".join(map(told_of, self.slots()))
            cure = f"orchestrator status {self._name} shows how far they are"
            raise NotServingError(f"deployment {self._name}", f"{told} ({cards})", cure)

    def _stop_router(self) -> None:
        self.end(self._drain_seconds)

    def _follow(self) -> None:
        seen = self._view.version
        while True:
            try:
                view = self._answer("follow", seen)
            except CancelledError:
                return
            except NoSuchDeploymentError:
                self.over = True
                self.end(why=DOWN)
                self._models_known.set()  # whoever waits for them is told
                self._watchers.tell()
                return
            if view is None:
                continue
            seen = view.version
            try:
                self._apply(view)
            except Exception:  # a mistake of ours: the next view may be right
                _log.exception("a view of deployment %s could not be followed", self._name)

    def _answer(self, method: str, *arguments: object) -> Any:  # noqa: ANN401
        """What the controller says, however long it is away.

        Raises:
            NoSuchDeploymentError: the deployment was taken down.
            CancelledError: this driver has left it.
        """
        while True:
            asked = self._client.call(method, *arguments)
            wait((asked, self._left), return_when=FIRST_COMPLETED)
            if self._left.done():
                raise CancelledError
            error = asked.exception()
            if error is None:
                return asked.result()
            if isinstance(error, NoSuchDeploymentError):
                raise error
            wait((self._left,), _RETRY_SECONDS)

    def _apply(self, view: View) -> None:
        self._view = view
        self.apply(self.seen())
        if self._all_known(view):
            self._models_known.set()
        self._watchers.tell()

    def _all_known(self, view: View) -> bool:
        """Whether there is nothing to wait for before the models can be called."""
        states = {slot.name: slot.state for slot in view.slots}
        to_come = any(states.get(name, SlotState.WAITING) in TO_COME for name in view.plan.slots)
        known = len(self.signatures) == len(view.plan.deployment.models)
        return known or not (view.asleep or to_come)

    def _tell_load(self) -> None:
        """Tell the controller what waits here, while something does and it can do about it."""
        told = False
        while not (self._closed.wait(_TELL_SECONDS) or self.over):
            if self._view.plan.deployment.autoscale is None:
                continue
            waiting = self.outlook.waiting()
            if not self._models_known.is_set():  # whoever waits to call a model waits for a row
                names = (model.name for model in self._view.plan.deployment.models)
                waiting = {name: Waiting(1.0) for name in names}
            if waiting or told:
                self._client.call("load", self._driver, waiting)
            told = bool(waiting)

    def seen(self) -> Seen:
        """See Lender."""
        view = self._view
        return Seen(view.plan, view.slots, view.signatures, view.waits_for, self.over)

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """See Lender."""
        return self._watchers.add(changed)

    def look(self, slot: str, life: int, reason: str) -> "Future[bool]":
        """See Lender: the controller looks, once it is there itself."""
        there: Future[bool] = Future()

        def look() -> None:
            found = False
            try:
                found = self._answer("lost", slot, life, reason)
            finally:
                there.set_result(found)

        beside("orchestrator-look", look)
        return there

    def pardon(self, deaths: Mapping[str, int]) -> None:
        """See Lender."""
        beside("orchestrator-pardon", lambda: self._answer("pardon", deaths))

    def _lost(self, name: str, life: int, reason: str) -> None:
        """A call found a card gone: if it is there after all, it is used again."""

        def looked(answer: "Future[bool]") -> None:
            self.looked(name, life, answer.result())

        self.look(name, life, reason).add_done_callback(looked)
