"""The same work as Ray Data does it by itself, and as it forwards it to cards that are up."""

import logging
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import ray.data

from orchestrator import ModelHandle
from orchestrator.bridges import ToCards, stream

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Layout:
    """How the rows are cut into blocks, and how many tasks wait at an actor."""

    blocks: int
    tasks: int


#: Of these the fastest counts.
LAYOUTS = (Layout(8, 2), Layout(8, 4), Layout(40, 4))


class Sleeper:
    """Answers a batch after its device time; sleeping, as a card leaves the host idle."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, batch: dict[str, Array]) -> dict[str, Array]:
        """Twice the input."""
        time.sleep(self._seconds)
        return {"y": batch["data"] * 2}


def native(data: Array, rows: int, actors: int, seconds: float, layout: Layout) -> float:
    """Seconds of ``map_batches`` over the rows with so many actors, their start included."""
    dataset = _quiet(data).repartition(layout.blocks)
    started = time.perf_counter()
    answers = dataset.map_batches(
        Sleeper,
        fn_constructor_args=(seconds,),
        batch_size=rows,
        batch_format="numpy",
        num_cpus=0.1,
        compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=layout.tasks),
    )
    return _drained(answers, len(data), started)


def forwarded(data: Array, rows: int, model: ModelHandle) -> float:
    """Seconds of ``map_batches`` through one process of ``ToCards``, its start included."""
    dataset = _quiet(data).repartition(LAYOUTS[0].blocks)
    started = time.perf_counter()
    answers = dataset.map_batches(
        ToCards,
        fn_constructor_args=(model, {"x": "data"}),
        batch_size=rows,
        batch_format="numpy",
        num_cpus=0.1,
        compute=ray.data.ActorPoolStrategy(size=1, max_concurrent_calls_per_actor=32),
    )
    return _drained(answers, len(data), started)


def looped(data: Array, rows: int, model: ModelHandle) -> float:
    """Seconds of a bare loop: a dataset's batches through a handle, and nothing is written."""
    dataset = _quiet(data)
    started = time.perf_counter()
    answers = stream(dataset, model, columns={"x": "data"}, batch_size=rows)
    count = sum(len(answer["y"]) for answer in answers)
    if count != len(data):
        raise RuntimeError(f"{count} rows of {len(data)}")
    return time.perf_counter() - started


def _quiet(data: Array) -> ray.data.Dataset:
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray.data.from_numpy(data)


def _drained(answers: ray.data.Dataset, rows: int, started: float) -> float:
    count = sum(len(batch["y"]) for batch in answers.iter_batches(batch_format="numpy"))
    if count != rows:
        raise RuntimeError(f"{count} rows of {rows}")
    return time.perf_counter() - started
