"""The Ray actor of one card: it owns a CardActor and gives each kind of call its own threads.

An actor starts empty, because only after its start does it know which card Ray gave it. Nothing
that is imported here, Ray apart, brings native libraries along: the card's own comes first.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import ray

from actors import device
from actors.card import CardActor
from actors.errors import CardBrokenError, LoadError
from actors.machine.leaving import leave_early
from actors.messages import (
    Answers,
    CardIdentity,
    CardKind,
    CardOrder,
    CardState,
    CardStats,
    LoadReport,
    MemoryReport,
)
from orchestrator.runtime.cards.parcels import Parcel, pack_answers, unpack_requests
from orchestrator.runtime.cards.staging import staged, with_sources
from orchestrator.runtime.cards.turns import Turn
from orchestrator.runtime.cluster.package import package_version
from orchestrator.runtime.metrics import Sample, card_samples, publish

#: The resource whose ids are those of the driver; what else may count cards is counted from 0.
_NPU = "NPU"


@dataclass(frozen=True)
class Held:
    """What a card that serves was told to load, and what it said then."""

    order: CardOrder
    report: LoadReport


class CardHost:
    """What Ray starts in a card's process. ``data`` calls never delay ``control`` calls.

    The groups are Ray concurrency groups; their sizes are given when the actor is created.
    """

    def __init__(self) -> None:
        self._card = CardActor(on_broken=self._broke)
        self._over = threading.Event()
        self._broken: CardBrokenError | None = None
        self._held: Held | None = None
        self._turn: Turn | None = None

    @ray.method(concurrency_group="control")
    def identify(self, resource: str, kind: CardKind) -> CardIdentity:
        """Settle which card this process was given.

        Raises:
            DeviceError: an Ascend card that cannot be told from the others.
        """
        context = ray.get_runtime_context()
        ids = context.get_accelerator_ids().get(resource, [])
        # A resource that Ray does not know as an accelerator has no ids; real cards need one.
        device_id, npu_id = 0, ",".join(ids)
        if kind == "ascend":
            amounts = context.get_assigned_resources()  # type: ignore[no-untyped-call]
            assigned = amounts.get(resource)
            if resource != _NPU:  # Ray counts those from 0, whatever cards the node was given
                ids = device.numbers_at(os.environ, ids)
            device_id = device.identify(os.environ, ids, assigned)
            npu_id = device.npu_id_of(int(ids[0]))
        visible = os.environ.get(device.VISIBLE, "")
        found = self._card.identify(context.get_node_id(), npu_id, device_id, visible)
        return replace(found, ray_id=",".join(ids), package=package_version())

    @ray.method(concurrency_group="life")
    def watch(self) -> None:
        """Return when the card was stopped; a process that dies fails this call at once.

        Raises:
            CardBrokenError: a model fails on what it has answered before.
        """
        self._over.wait()
        if self._broken is not None:
            raise self._broken

    @ray.method(concurrency_group="control")
    def enter(self, peak: int) -> None:
        """Return when its host has so many bytes for its load, beside all loads under way there.

        0, of which nothing at all is known, does not wait.
        """
        if peak:
            with contextlib.suppress(OSError):  # of the cache: the load will say what is wrong
                self._turn = Turn(peak)
                self._turn.wait(self._over)

    @ray.method(concurrency_group="control")
    def load(self, order: CardOrder) -> LoadReport:
        """See CardActor.load. The library reads the models from this node's cache alone.

        Raises:
            LoadError: also where the node's files are not those of the plan, or cannot be kept.
        """
        try:
            told = staged(order)
            try:
                self._held = Held(order, self._card.load(told))
            except LoadError as error:
                raise with_sources(error, order, told) from error
            publish(self._samples, self._over)
            return self._held.report
        finally:
            if self._turn is not None:
                self._turn.end()
                self._turn = None
            if order.kind != "emulated":
                leave_early(self._card.stop)

    @ray.method(concurrency_group="control")
    def held(self) -> Held | None:
        """What it was told to load and what came of it; None unless it serves."""
        ready = self._card.stats().state is CardState.READY
        return self._held if ready else None

    @ray.method(concurrency_group="data")
    def reserve(self) -> int:
        """See CardActor.reserve."""
        return self._card.reserve()

    @ray.method(concurrency_group="data")
    def predict_many(self, parcel: Parcel) -> Parcel:
        """See CardActor.predict_many."""
        arrived = time.monotonic()
        replies = self._card.predict_many(*unpack_requests(parcel, arrived))
        return pack_answers(Answers(replies, time.monotonic() - arrived))

    @ray.method(concurrency_group="control")
    def forget(self, request_ids: list[int]) -> None:
        """See CardActor.forget."""
        self._card.forget(request_ids)

    @ray.method(concurrency_group="control")
    def stats(self) -> CardStats:
        """See CardActor.stats."""
        return self._card.stats()

    @ray.method(concurrency_group="control")
    def memory(self) -> MemoryReport:
        """See CardActor.memory."""
        return self._card.memory()

    @ray.method(concurrency_group="control")
    def drain(self, timeout_seconds: float) -> bool:
        """See CardActor.drain."""
        return self._card.drain(timeout_seconds)

    @ray.method(concurrency_group="control")
    def stop(self) -> None:
        """Stop the card and let ``watch`` return."""
        self._card.stop()
        self._over.set()

    def _broke(self, error: CardBrokenError) -> None:
        self._broken = error
        self._over.set()

    def _samples(self) -> Iterable[Sample]:
        assert self._held is not None
        return card_samples(self._held.order, self._card.stats(), self._card.memory())
