"""What a deployment tells Prometheus, through ``ray.util.metrics``.

Cards and drivers count anyway; a thread of each process publishes the counts now and then, so that
a request costs nothing more. Histograms are published as their cumulative buckets: one call into
Ray for each batch would take more of a card's process than all else here.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import ray

from actors.histogram import Counted
from actors.messages import CardOrder, CardStats, MemoryReport, ModelStats

_log = logging.getLogger(__name__)

#: Ray itself exports what it was told every ten seconds, unless it is set up otherwise.
EVERY_SECONDS = 5.0
#: How long the thread may take to notice that it is over.
_END_SECONDS = 2.0
_CARD = ("deployment", "card", "node")
_MODEL = ("deployment", "model", "version", "card", "node")
_CALLS = ("deployment", "model", "version")

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Metric:
    """One metric. Counters and buckets count from the start of the process that exports them."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: tuple[str, ...]

    @property
    def exported(self) -> tuple[str, ...]:
        """Its names as Prometheus sees them: Ray puts ``ray_`` before, and ``_total`` behind."""
        if self.kind == "counter":
            return (f"ray_{self.name}_total",)
        if self.kind == "gauge":
            return (f"ray_{self.name}",)
        return tuple(f"ray_{self.name}_{part}" for part in ("bucket", "sum", "count"))


_CARD_METRICS = (
    Metric("orchestrator_requests", "counter", "Requests that the card has finished.", _MODEL),
    Metric("orchestrator_errors", "counter", "Of these, requests that failed.", _MODEL),
    Metric("orchestrator_rows", "counter", "Rows of requests that were run.", _MODEL),
    Metric("orchestrator_padded_rows", "counter", "Rows that only filled batches up.", _MODEL),
    Metric("orchestrator_batches", "counter", "Batches that were run.", _MODEL),
    Metric("orchestrator_in_flight", "gauge", "Requests that wait on the card or run.", _MODEL),
    Metric("orchestrator_batch_rows", "histogram", "Rows of a batch.", _MODEL),
    Metric(
        "orchestrator_queue_wait_seconds",
        "histogram",
        "How long the request of a batch that waited longest was on the card before.",
        _MODEL,
    ),
    Metric(
        "orchestrator_copy_seconds",
        "histogram",
        "Joining a batch's inputs, and copying to and from the library's tensors.",
        _MODEL,
    ),
    Metric("orchestrator_predict_seconds", "histogram", "The library's predict.", _MODEL),
    Metric("orchestrator_busy_seconds", "counter", "Time in which the card had a batch.", _CARD),
    Metric(
        "orchestrator_model_info",
        "gauge",
        "1 for each model on a card; digest is the SHA-256 of its files and options.",
        (*_MODEL, "digest"),
    ),
    Metric("orchestrator_planned_bytes", "gauge", "Card memory as planned.", _CARD),
    Metric("orchestrator_measured_bytes", "gauge", "Card memory as measured.", _CARD),
)
_DRIVER_METRICS = (
    Metric("orchestrator_answered", "counter", "Requests that a driver had answered.", _CALLS),
    Metric("orchestrator_failed", "counter", "Requests that failed for good.", _CALLS),
    Metric("orchestrator_retries", "counter", "Requests that failed there and went on.", _MODEL),
    Metric("orchestrator_waiting", "gauge", "Requests that wait in a driver.", _CALLS),
)
_CONTROLLER_METRICS = (
    Metric("orchestrator_restarts", "counter", "Times that a card's process was replaced.", _CARD),
    Metric("orchestrator_serving", "gauge", "1 for a card that serves, else 0.", _CARD),
)
#: Every metric there is, by name.
METRICS = {one.name: one for one in (*_CARD_METRICS, *_DRIVER_METRICS, *_CONTROLLER_METRICS)}


@dataclass(frozen=True)
class Sample:
    """One value: of a counter, so far; of a histogram, all its buckets."""

    name: str
    labels: Labels
    value: float | Counted


def card_samples(
    order: CardOrder, stats: CardStats, memory: MemoryReport | None
) -> Iterator[Sample]:
    """What one card tells."""
    card = card_labels(order.deployment, order.slot)
    yield Sample("orchestrator_busy_seconds", card, stats.occupied_seconds)
    if memory is not None:
        yield Sample("orchestrator_planned_bytes", card, memory.planned.total)
        if memory.measured_bytes is not None:
            yield Sample("orchestrator_measured_bytes", card, memory.measured_bytes)
    for model in order.models:
        labels = {**card, "model": model.name, "version": model.version}
        digest = model.files.digest if model.files else ""
        yield Sample("orchestrator_model_info", {**labels, "digest": digest}, 1)
        yield from _model_samples(stats.models.get(model.name, ModelStats()), labels)


def _model_samples(seen: ModelStats, labels: Labels) -> Iterator[Sample]:
    yield Sample("orchestrator_requests", labels, seen.requests)
    yield Sample("orchestrator_errors", labels, seen.errors)
    yield Sample("orchestrator_rows", labels, seen.rows)
    yield Sample("orchestrator_padded_rows", labels, seen.padded_rows)
    yield Sample("orchestrator_batches", labels, seen.batches)
    yield Sample("orchestrator_in_flight", labels, seen.in_flight)
    for key, name in (
        ("rows", "orchestrator_batch_rows"),
        ("wait", "orchestrator_queue_wait_seconds"),
        ("copy", "orchestrator_copy_seconds"),
        ("predict", "orchestrator_predict_seconds"),
    ):
        if key in seen.histograms:
            yield Sample(name, labels, seen.histograms[key])


def card_labels(deployment: str, slot: str) -> Labels:
    """What says which card a value is of."""
    return {"deployment": deployment, "card": slot, "node": slot.rpartition("/")[0]}


class Exporter:
    """Hands samples to Ray, and remembers what it has handed over."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._last: dict[tuple[str, tuple[str, ...]], float] = {}
        self._told: dict[tuple[str, tuple[str, ...]], Labels] = {}

    def export(self, samples: Iterable[Sample]) -> None:
        """Tell Ray the present values; a gauge of what is there no longer is 0."""
        before, self._told = self._told, {}
        for sample in samples:
            metric, value = METRICS[sample.name], sample.value
            if isinstance(value, Counted):
                self._histogram(metric, sample.labels, value)
            elif metric.kind == "counter":
                self._count(metric, sample.labels, value)
            else:
                key = metric.name, tuple(sample.labels.values())
                before.pop(key, None)
                self._told[key] = sample.labels
                self._gauge(metric.name, metric, metric.labels).set(value, dict(sample.labels))
        for (name, _), labels in before.items():
            self._made[name].set(0, dict(labels))

    def _count(self, metric: Metric, labels: Labels, value: float) -> None:
        from ray.util.metrics import Counter

        if metric.name not in self._made:
            made = Counter(metric.name, description=metric.text, tag_keys=metric.labels)
            self._made[metric.name] = made
        key = metric.name, tuple(labels[name] for name in metric.labels)
        more = value - self._last.get(key, 0.0)
        if more > 0:
            self._last[key] = value
            self._made[metric.name].inc(more, dict(labels))

    def _histogram(self, metric: Metric, labels: Labels, value: Counted) -> None:
        """As Prometheus has them: ``_bucket`` by upper bound, ``_sum`` and ``_count``."""
        buckets = self._gauge(f"{metric.name}_bucket", metric, (*metric.labels, "le"))
        below = 0
        for bound, below in value.cumulative():
            limit = "+Inf" if bound == float("inf") else f"{bound:g}"
            buckets.set(below, {**labels, "le": limit})
        self._gauge(f"{metric.name}_sum", metric, metric.labels).set(value.total, dict(labels))
        self._gauge(f"{metric.name}_count", metric, metric.labels).set(below, dict(labels))

    def _gauge(self, name: str, metric: Metric, labels: tuple[str, ...]) -> Any:  # noqa: ANN401
        from ray.util.metrics import Gauge

        if name not in self._made:
            self._made[name] = Gauge(name, description=metric.text, tag_keys=labels)
        return self._made[name]


def publish(samples: Callable[[], Iterable[Sample]], over: threading.Event) -> Callable[[], None]:
    """Export samples every few seconds, on a thread of its own, until ``over`` is set.

    Returns what waits for the end of that, which whoever leaves Ray does first: the thread calls
    it. Nothing at all is done where this node exports no metrics: that needs ``ray[default]``.
    """
    if not _node_exports():
        return _nothing

    def run() -> None:
        exporter, told = Exporter(), ""
        while not over.wait(EVERY_SECONDS):
            try:
                exporter.export(samples())
            except Exception as error:  # the next values may be told; the reason is, once
                if repr(error) != told:
                    _log.exception("metrics could not be published")
                told = repr(error)

    thread = threading.Thread(target=run, name="orchestrator-metrics", daemon=True)
    thread.start()
    return partial(thread.join, _END_SECONDS)


def _nothing() -> None:
    """There is no thread to wait for."""


def _node_exports() -> bool:
    here = ray.get_runtime_context().get_node_id()
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return any(node["NodeID"] == here and node["MetricsExportPort"] > 0 for node in nodes)
