"""What the drivers of a named deployment wait for, as they tell its controller."""

import time
from collections.abc import Mapping

from orchestrator.autoscale import Waiting

#: A driver that has not said for so long what it waits for is gone.
_LOAD_SECONDS = 10.0


class Loads:
    """The last that each driver told. Thread-safe."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, Mapping[str, Waiting]]] = {}

    def tell(self, driver: str, waiting: Mapping[str, Waiting]) -> None:
        """What a driver waits for; it tells that again and again while it waits for something."""
        self._told[driver] = time.monotonic(), waiting

    def gone(self) -> list[str]:
        """The drivers that are not heard of any more though they waited for something; once."""
        oldest = time.monotonic() - _LOAD_SECONDS
        late = [driver for driver, (at, _) in self._told.copy().items() if at <= oldest]
        return [driver for driver in late if self._told.pop(driver, (0.0, {}))[1]]

    def total(self) -> dict[str, Waiting]:
        """All that is waited for, by model."""
        found: dict[str, Waiting] = {}
        for _, told in self._told.copy().values():
            for model, more in told.items():
                found[model] = found.get(model, Waiting()) + more
        return found
