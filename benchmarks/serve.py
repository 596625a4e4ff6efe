"""The same model behind a Ray Serve handle, to compare with. Needs ``ray[serve]``."""

import logging
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray import serve

from actors.messages import Array, Arrays
from benchmarks.bare import THREADS, Bare

_NAME = "compared"


class ServeHandle:
    """One replica of one model in its own process, and the two ways in which people call it."""

    def __init__(self, path: Path) -> None:
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        quiet: Any = {"log_level": "ERROR", "enable_access_log": False}
        serve.start(http_options={"location": "NoServer"}, logging_config=quiet)
        served: Any = serve.deployment(
            Bare, max_ongoing_requests=THREADS, ray_actor_options={"num_cpus": 0}
        )
        application = served.bind(str(path))
        self._handle: Any = serve.run(application, name=_NAME, route_prefix=None)

    def predict(self, inputs: Arrays) -> dict[str, Array]:
        """One call, waited for."""
        found: dict[str, Array] = self._handle.predict.remote(inputs).result()
        return found

    def pipelined(self, inputs: Arrays, count: int, depth: int) -> Iterator[dict[str, Array]]:
        """Many calls of which ``depth`` are under way, answers in order."""
        flying: deque[Any] = deque()
        for _ in range(count):
            flying.append(self._handle.predict.remote(inputs))
            if len(flying) >= depth:
                yield flying.popleft().result()
        while flying:
            yield flying.popleft().result()

    def close(self) -> None:
        """End Serve."""
        serve.shutdown()
