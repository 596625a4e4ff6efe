"""CardActor: the process that owns one card. A plain class that the runtime starts and calls.

It starts empty, is identified, gets one CardOrder in its life, and answers batches until it is
drained and stopped. Control calls (stats, memory, drain, stop) never wait for the library.
"""

import os
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from actors.accounts import busy_share, memory_report
from actors.device import DEVICES
from actors.errors import CardBrokenError
from actors.life import Life
from actors.lite import library_name
from actors.loading import Loaded, load_models
from actors.messages import (
    CardIdentity,
    CardOrder,
    CardState,
    CardStats,
    LoadReport,
    MemoryReport,
    Reply,
    Request,
)
from actors.work import CardWork


class CardActor:
    """One card: ``identify``, ``load``, then ``predict_many`` from any number of threads."""

    def __init__(
        self,
        on_built: Callable[[], None] | None = None,
        devices: Path = DEVICES,
        on_broken: Callable[[CardBrokenError], None] = lambda error: None,
    ) -> None:
        """Start empty. ``on_built`` is called once, when all models are built and none has run.

        ``devices`` is the folder of the cards' device files. ``on_broken`` is called when a model
        fails on what it has answered before: the card takes nothing any more.
        """
        self._on_built = on_built
        self._devices = devices
        self._life = Life()
        self._work = CardWork(self._life, on_broken)
        self._identity = CardIdentity("", "", 0, os.getpid())
        self._started = time.monotonic()
        self._order: CardOrder | None = None
        self._loaded: Loaded | None = None
        self._busy: Callable[[], float | None] = lambda: None

    def identify(
        self, node_id: str, npu_id: str, device_id: int, visible: str = ""
    ) -> CardIdentity:
        """Tell the process which card it was given, and return its identity."""
        self._identity = CardIdentity(node_id, npu_id, device_id, os.getpid(), visible=visible)
        self._life.slot = f"{npu_id or '?'} (no slot yet)"
        return self._identity

    def load(self, order: CardOrder) -> LoadReport:
        """Declare, size, build and warm up the slot's models; once in the life of the process.

        Raises:
            DoesNotFitError: the planned bytes exceed the card; nothing was built.
            LoadError: a model could not be loaded. The process is of no further use.
            CardError: loaded before, or the library or the card is not there.
        """
        started = time.monotonic()
        with self._life.lock:
            self._life.move(CardState.LOADING, order.slot)
            self._life.slot, self._order = order.slot, order
        try:
            loaded = load_models(order, self._identity, self._devices, self._on_built)
            self._order, self._loaded = loaded.order, loaded
            self._identity = replace(self._identity, library=library_name(loaded.library))
            self._busy = busy_share(order.kind, loaded.library, self._identity.device_id)
            with self._life.lock:
                self._life.move(CardState.READY)
                self._work.begin(order, loaded.served, loaded.objects)
        except BaseException:  # whatever it was, the process is of no further use
            with self._life.lock:
                if self._life.state is CardState.LOADING:
                    self._life.move(CardState.FAILED)
            raise
        signatures = {name: served.signature for name, served in loaded.served.items()}
        seconds = time.monotonic() - started
        memory = self.memory(fresh=True)
        return LoadReport(self._identity, signatures, memory, seconds, loaded.warnings)

    def reserve(self) -> int:
        """Begin nothing more, end what runs, and keep the card free for one call.

        Returns what to give to ``predict_many`` within ten seconds. If the process dies after this
        has returned and before that call has, it is of that call.

        Raises:
            NotServingError: the card takes no requests now.
        """
        return self._work.holds.reserve()

    def predict_many(self, requests: Sequence[Request], reservation: int = 0) -> list[Reply]:
        """Answer requests, in their order; blocks until all are done.

        They are joined with whatever else waits for the same model; with a ``reservation`` the card
        runs nothing else until they are done. A request that fails has its error in its own reply.

        Raises:
            NotServingError: the card takes no requests now; none of these was run.
        """
        return self._work.answer(requests, reservation)

    def forget(self, request_ids: Collection[int]) -> None:
        """Nobody waits for these any more: those that are not begun are not run.

        Nor are those that come later: their call may travel for longer than this one.
        """
        self._work.forget(request_ids)

    def stats(self) -> CardStats:
        """State and counters now; never waits for the library."""
        with self._life.lock:
            state = self._life.state
            models, running, working = self._work.stats()
        return CardStats(
            slot=self._life.slot,
            state=state,
            identity=self._identity,
            models=models,
            uptime_seconds=time.monotonic() - self._started,
            busy_share=self._busy(),
            running=running,
            working=working,
            occupied_seconds=self._loaded.occupied.seconds if self._loaded else 0.0,
        )

    def memory(self, fresh: bool = False) -> MemoryReport:
        """Planned against measured bytes; ``fresh`` waits for the card's memory to be read anew.

        Raises:
            NotServingError: no models are loaded.
        """
        order, loaded = self._order, self._loaded
        if order is None or loaded is None:
            raise self._life.refusal()
        now = loaded.gauge.read() if fresh else loaded.gauge.latest
        device_id = self._identity.device_id
        return memory_report(order, loaded.library, device_id, loaded.idle, now)

    def drain(self, timeout_seconds: float) -> bool:
        """Take nothing new and finish what is here; False when that took longer than allowed."""
        with self._life.lock:
            if self._life.state is not CardState.DRAINING:
                self._life.move(CardState.DRAINING)
                self._work.holds.let_go()  # a call that comes for it now is refused
            return self._life.changed.wait_for(lambda: self._work.empty, timeout_seconds)

    def stop(self) -> None:
        """Answer what still waits with NotServingError, let running batches end, join the threads.

        Nothing of the library is finalised: models may be referenced elsewhere, and memory comes
        back with the end of the process.
        """
        with self._life.lock:
            if self._life.state is not CardState.STOPPED:
                self._life.move(CardState.STOPPED)
            self._work.end()
        self._work.join()
        if self._loaded is not None:
            self._loaded.gauge.close()
