"""What the data plane is compared with: plain Ray actors that run the same models by themselves."""

import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ray

from actors.messages import Array, Arrays

#: Bytes of the emulated card in a bare actor's process: more than any model here takes.
_CAPACITY = 1 << 30
#: Threads of a bare actor.
THREADS = 8


class Bare:
    """One model on the library's own API; takes and returns a dict of arrays, as a handle does."""

    def __init__(self, path: str) -> None:
        import actors.emulator as library

        library.configure([_CAPACITY])
        context = library.Context()
        context.target = ["ascend"]
        context.ascend.device_id = 0
        self._model = library.Model()
        self._model.build_from_file(path, library.ModelType.MINDIR, context)
        self._lock = threading.Lock()

    def predict(self, inputs: Arrays) -> dict[str, Array]:
        """One batch of exactly the model's shape."""
        with self._lock:
            tensors = self._model.get_inputs()
            for tensor in tensors:
                tensor.set_data_from_numpy(inputs[tensor.name])
            outputs = self._model.predict(tensors)
            return {tensor.name: tensor.get_data_to_numpy().copy() for tensor in outputs}


class BareActor:
    """A threaded Ray actor with one model, and the two ways in which people call it."""

    def __init__(self, path: Path) -> None:
        kind: Any = ray.remote(Bare)
        self._actor: Any = kind.options(num_cpus=0, max_concurrency=THREADS).remote(str(path))

    def predict(self, inputs: Arrays) -> dict[str, Array]:
        """One call, waited for."""
        found: dict[str, Array] = ray.get(self._actor.predict.remote(inputs))
        return found

    def pipelined(self, inputs: Arrays, count: int, depth: int) -> Iterator[dict[str, Array]]:
        """Many calls of which ``depth`` are under way, answers in order."""
        flying: deque[Any] = deque()
        for _ in range(count):
            flying.append(self._actor.predict.remote(inputs))
            if len(flying) >= depth:
                yield ray.get(flying.popleft())
        while flying:
            yield ray.get(flying.popleft())

    def close(self) -> None:
        """End its process."""
        ray.kill(self._actor)


def ones(shape: tuple[int, ...]) -> dict[str, Array]:
    """A request."""
    return {"x": np.ones(shape, np.float32)}
