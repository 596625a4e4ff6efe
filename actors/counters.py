"""What a model did since its card started, in numbers."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.histogram import ROWS, SECONDS, Histogram
from actors.messages import ModelStats

#: Latencies kept for the percentiles: the latest ones, so that they follow the present load.
LATENCIES = 2048


@dataclass
class Counters:
    """What a model did since its card started; changed under the card's lock only.

    Except for ``running``, ``batch_copy`` and ``batch_predict``: those are counted by the threads
    that run the batches.
    """

    requests: int = 0
    rows: int = 0
    padded_rows: int = 0
    batches: int = 0
    errors: int = 0
    running: int = 0
    wait_seconds: float = 0.0
    predict_seconds: float = 0.0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES))
    batch_rows: Histogram = field(default_factory=lambda: Histogram(ROWS))
    batch_wait: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    batch_copy: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    batch_predict: Histogram = field(default_factory=lambda: Histogram(SECONDS))

    def stats(self, queued: int) -> ModelStats:
        """A snapshot; percentiles over the latest requests."""
        latest = sorted(self.latencies)
        return ModelStats(
            requests=self.requests,
            rows=self.rows,
            padded_rows=self.padded_rows,
            batches=self.batches,
            errors=self.errors,
            queued=queued,
            in_flight=queued + self.running,
            wait_seconds=self.wait_seconds,
            predict_seconds=self.predict_seconds,
            latency_p50_ms=_percentile_ms(latest, 0.50),
            latency_p99_ms=_percentile_ms(latest, 0.99),
            histograms={
                "rows": self.batch_rows.counted(),
                "wait": self.batch_wait.counted(),
                "copy": self.batch_copy.counted(),
                "predict": self.batch_predict.counted(),
            },
        )


def _percentile_ms(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that ``share`` of all do not exceed."""
    if not ordered:
        return None
    return ordered[math.ceil(share * len(ordered)) - 1] * 1e3
