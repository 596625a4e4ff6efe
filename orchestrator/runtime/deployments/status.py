"""What a running deployment looks like now: cards, replicas, bytes, counts, latencies."""

import json
from dataclasses import asdict, dataclass, replace
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table

from actors.memory import CardMemory
from orchestrator.runtime.deployments.scaling import Scaling
from orchestrator.units import format_bytes


@dataclass(frozen=True)
class CardStatus:
    """One slot. Bytes and ``busy_share`` are None where the card cannot be asked or measured."""

    slot: str
    state: str
    node_id: str
    npu_id: str
    pid: int | None
    restarts: int
    capacity_bytes: int
    planned_bytes: int
    measured_bytes: int | None
    unshared_bytes: int | None
    resident_bytes: int | None
    busy_share: float | None
    uptime_seconds: float | None
    in_flight: int
    why: str = ""
    measured: CardMemory | None = None
    """``measured_bytes`` by part."""
    warnings: tuple[str, ...] = ()
    """What its users should know, though it serves."""


@dataclass(frozen=True)
class ReplicaStatus:
    """One model on one card since its process started; latencies as the card sees them."""

    model: str
    slot: str
    planned_bytes: int
    requests: int
    rows: int
    padded_rows: int
    batches: int
    errors: int
    queued: int
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    version: str = ""
    """The label that its deployment gives it."""
    digest: str = ""
    """SHA-256 of its files and options; empty where the plan was made without its files."""


@dataclass(frozen=True)
class ModelStatus:
    """One model as the driver sees it; latencies from call to answer, of the most recent calls."""

    model: str
    answered: int
    failed: int
    retried: int
    waiting: int
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    unserved: str = ""


@dataclass(frozen=True)
class Status:
    """A snapshot; ``str()`` is for people, ``to_json()`` for programs."""

    deployment: str
    cards: tuple[CardStatus, ...]
    replicas: tuple[ReplicaStatus, ...]
    models: tuple[ModelStatus, ...]
    set_aside: tuple[str, ...] = ()
    controller_pid: int | None = None
    """Of a named deployment: the process of its controller."""
    scaling: Scaling | None = None
    """Of one whose cards follow the work."""
    notes: tuple[str, ...] = ()
    """What became of lost cards' models."""

    def controlled_by(
        self, pid: int, scaling: Scaling | None, notes: tuple[str, ...] = ()
    ) -> "Status":
        """The same of a deployment whose controller is a process of its own."""
        return replace(self, controller_pid=pid, scaling=scaling, notes=notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the fields under their own names."""
        return asdict(self)

    def to_json(self) -> str:
        """The same as JSON text."""
        return json.dumps(self.to_dict(), indent=1)

    def __str__(self) -> str:
        tables = [self._cards(), self._replicas(), *([self._models()] if self.models else [])]
        notes = [f"model {m.model} is not served: {m.unserved}" for m in self.models if m.unserved]
        notes += [f"card {card.slot}: {card.why}" for card in self.cards if card.why]
        notes += [f"card {card.slot}: {told}" for card in self.cards for told in card.warnings]
        notes += [*self.notes, *self.set_aside]
        notes += self.scaling.lines() if self.scaling else []
        if self.controller_pid is not None:
            notes.append(f"controller: pid {self.controller_pid}")
        out = StringIO()
        console = Console(file=out, width=120, color_system=None, markup=False, emoji=False)
        for table in tables:
            console.print(table)
        for note in notes:
            console.print(note, soft_wrap=True, highlight=False)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())

    def _cards(self) -> Table:
        headers = ("card", "state", "npu", "pid", "planned", "measured", "unshared", "capacity")
        table = _table(f"deployment {self.deployment}", *headers, "busy", "in flight", "restarts")
        for card in self.cards:
            table.add_row(
                card.slot,
                card.state,
                card.npu_id or "-",
                _or_dash(card.pid),
                format_bytes(card.planned_bytes),
                _bytes(card.measured_bytes),
                _bytes(card.unshared_bytes),
                format_bytes(card.capacity_bytes),
                "-" if card.busy_share is None else f"{card.busy_share:.0%}",
                str(card.in_flight),
                str(card.restarts),
            )
        return table

    def _replicas(self) -> Table:
        headers = (
            "replica",
            "card",
            "version",
            "planned",
            "requests",
            "rows",
            "padded",
            "batches",
            "errors",
        )
        table = _table("", *headers, "queued", "p50 ms", "p99 ms")
        for one in self.replicas:
            table.add_row(
                one.model,
                one.slot,
                " ".join(filter(None, (one.version, one.digest[:12]))) or "-",
                format_bytes(one.planned_bytes),
                str(one.requests),
                str(one.rows),
                str(one.padded_rows),
                str(one.batches),
                str(one.errors),
                str(one.queued),
                _ms(one.latency_p50_ms),
                _ms(one.latency_p99_ms),
            )
        return table

    def _models(self) -> Table:
        headers = ("model", "answered", "failed", "retried", "waiting", "p50 ms", "p99 ms")
        table = _table("", *headers)
        for one in self.models:
            table.add_row(
                one.model,
                str(one.answered),
                str(one.failed),
                str(one.retried),
                str(one.waiting),
                _ms(one.latency_p50_ms),
                _ms(one.latency_p99_ms),
            )
        return table


def _table(title: str, *headers: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for index, header in enumerate(headers):
        table.add_column(header, justify="left" if index < 2 else "right", no_wrap=True)
    return table


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)


def _bytes(nbytes: int | None) -> str:
    return "-" if nbytes is None else format_bytes(nbytes)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
