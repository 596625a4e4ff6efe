"""The same work as Ray Data does it by itself: actors of its own that take 5 ms for a batch."""

import logging
import time

import numpy as np
import numpy.typing as npt
import ray.data

Array = npt.NDArray[np.float32]


class Sleeper:
    """Answers a batch after its device time; sleeping, as a card leaves the host idle."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, batch: dict[str, Array]) -> dict[str, Array]:
        """Twice the input."""
        time.sleep(self._seconds)
        return {"y": batch["data"] * 2}


def native(data: Array, rows: int, actors: int, seconds: float) -> float:
    """Seconds of ``map_batches`` over the rows with so many actors, their start included."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    dataset = ray.data.from_numpy(data).repartition(4 * actors)
    started = time.perf_counter()
    answers = dataset.map_batches(
        Sleeper,
        fn_constructor_args=(seconds,),
        batch_size=rows,
        batch_format="numpy",
        num_cpus=0.1,
        compute=ray.data.ActorPoolStrategy(size=actors),
    )
    count = sum(len(batch["y"]) for batch in answers.iter_batches(batch_format="numpy"))
    if count != len(data):
        raise RuntimeError(f"{count} rows of {len(data)}")
    return time.perf_counter() - started
