"""How a deployment is run, for whoever runs it. Imports no Ray."""

from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.dispatch import RetryRules, TransportRules


@dataclass(frozen=True)
class WatchRules:
    """When a process that serves is taken to hang, in seconds.

    Each is asked ``every`` so often what it does. It hangs when a batch has run for ``times`` as
    long as the batches under way took to warm up, and for ``least`` at any rate; or when it has
    said nothing for ``silent``.
    """

    every: float = 2.0
    times: float = 20.0
    least: float = 20.0
    silent: float = 30.0


@dataclass(frozen=True)
class RestartRules:
    """When a dead card process is replaced, in seconds, and when its slot is given up.

    The n-th failure in a row waits ``first_delay * 2**(n-1)``, at most ``max_delay``. A card that
    served for ``stable`` seconds starts to count anew. ``start`` bounds the wait for a free card,
    ``load`` the time that a process may take to load its models before it is taken to hang.
    A process that is unfit, because it hangs or fails on what it has answered before, is replaced
    ``most_unfit`` times within ``unfit_within`` seconds; then its slot is quarantined.
    """

    first_delay: float = 0.5
    max_delay: float = 30.0
    most_failures: int = 5
    stable: float = 60.0
    start: float = 120.0
    load: float = 1800.0
    most_unfit: int = 3
    unfit_within: float = 3600.0
    watch: WatchRules = field(default_factory=WatchRules)

    def delay(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return float(min(self.first_delay * 2 ** (failures - 1), self.max_delay))


@dataclass(frozen=True)
class Options:
    """How a deployment is run; see Orchestrator.

    ``nodes_patience``: seconds that a first card may take to come, where cards are asked of Ray.
    """

    address: str | None = None
    object_store_bytes: int | None = None
    batch: bool = False
    max_in_flight: int = 1024
    max_bytes_in_flight: int = 1 << 30
    progress: Callable[[str], None] = lambda line: None
    retry: RetryRules = field(default_factory=RetryRules)
    restarts: RestartRules = field(default_factory=RestartRules)
    transport: TransportRules = field(default_factory=TransportRules)
    nodes_patience: float = 600.0
