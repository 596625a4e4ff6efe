"""Who waits for whom: locks, copies, the clock, and the interpreter's lock."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import actors.emulator as lite
from actors.emulator import Model
from actors.emulator.arena import CAPPED
from tests import models
from tests.emulator.conftest import Zoo, build, predict, reference, share, values

#: Of sums of seconds.
ROUNDING = 1e-6


def together(*jobs: Callable[[], object]) -> None:
    """Run all jobs at the same time, each in a thread of its own."""
    barrier = threading.Barrier(len(jobs))

    def run(job: Callable[[], object]) -> None:
        barrier.wait()
        job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        for future in [pool.submit(run, job) for job in jobs]:
            future.result()


def calls_during(slow: Model, fast: Model) -> int:
    """How many calls one model answers while another one answers a single call."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(calls(slow))
        count = 0
        while not running.done():
            calls(fast)()
            count += 1
    return count


def times(**milliseconds: float | str) -> dict[str, dict[str, str]]:
    return {"emulated_card": {key: str(value) for key, value in milliseconds.items()}}


def calls(model: Model, count: int = 1) -> Callable[[], None]:
    def run() -> None:
        for _ in range(count):
            model.predict([values(4, 64)])

    return run


@pytest.mark.parametrize("flag", [None, "SHARE_WEIGHT", "SHARE_WEIGHT_WORKSPACE"])
def test_executions_of_a_card_queue_on_its_clock_locked_or_not(zoo: Zoo, flag):
    if flag:
        share(zoo.mlp, flag=flag)
    kept = [build(zoo.mlp, config=times(execute_ms=30)) for _ in range(3)]
    start = time.monotonic()
    together(*(calls(model, 2) for model in kept))
    assert time.monotonic() - start >= 6 * 0.03
    assert lite.memory(0).busy_seconds >= 6 * 0.03 - ROUNDING


def test_executions_of_different_cards_do_not_wait_for_each_other(zoo: Zoo):
    slow, fast = (build(zoo.mlp, card, times(execute_ms=ms)) for card, ms in ((0, 2000), (1, 1)))
    assert calls_during(slow, fast) > 5, "one before and one after, had it to wait"


def test_copies_lie_outside_the_lock_and_the_clock(zoo: Zoo):
    share(zoo.mlp)
    slow, fast = (build(zoo.mlp, config=times(copy_in_ms=ms)) for ms in (2000, 1))
    assert calls_during(slow, fast) > 5, "one before and one after, had it to wait"


def test_each_gear_has_its_time(zoo: Zoo):
    model = build(zoo.gears, config=times(execute_ms="10,200"))
    spent = []
    for rows in (1, 4):
        model.resize(model.get_inputs(), [[rows, 64]])
        before = lite.memory(0).busy_seconds
        model.predict([values(rows, 64)])
        spent.append(lite.memory(0).busy_seconds - before)
    assert spent[0] >= 0.01 - ROUNDING
    assert spent[1] >= 0.2 - ROUNDING


def test_one_model_object_answers_one_call_at_a_time(zoo: Zoo):
    model = build(zoo.mlp, config=times(copy_in_ms=60))
    start = time.monotonic()
    together(calls(model), calls(model))
    assert time.monotonic() - start >= 0.12


def test_get_inputs_waits_for_a_running_predict(zoo: Zoo):
    model = build(zoo.mlp, config=times(execute_ms=200))
    worked: list[float] = []

    def ask() -> None:
        while not lite.memory(0).busy_seconds:  # until the other thread executes
            pass
        model.get_inputs()
        worked.append(lite.memory(0).busy_seconds)

    together(calls(model), ask)
    assert worked[0] >= 0.2 - ROUNDING, "the other thread's execution was over"


def test_predict_leaves_the_interpreter_to_other_threads(tmp_path: Path):
    """A long execution, and a thread that counts while it lasts; of many, one is counted in."""
    model = build(str(models.write_mlp(tmp_path, "heavy", rows=1000, width=1000, layers=3)))
    ticks, most, done = 0, 0, threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.wait(0.001):
            ticks += 1

    def run() -> None:
        nonlocal ticks, most
        x = values(1000, 1000)
        try:
            for _ in range(50):
                if most < 10:
                    ticks = 0
                    model.predict([x])
                    most = max(most, ticks)
        finally:
            done.set()

    together(tick, run)
    assert most >= 10


@pytest.mark.parametrize(
    "flag", [None, "SHARE_WEIGHT", "SHARE_WORKSPACE", "SHARE_WEIGHT_WORKSPACE"]
)
def test_answers_are_right_when_threads_and_models_alternate(zoo: Zoo, flag):
    inputs: dict[str, Sequence[np.ndarray]] = {
        zoo.conv: [values(1, 3, 96, 96)],
        zoo.small: [values(1, 3, 16, 16)],
        zoo.pair: [values(2, 8), values(2, 8, seed=1)],
    }
    names = {zoo.conv: ["x"], zoo.small: ["x"], zoo.pair: ["left", "right"]}
    expected = {
        path: reference(path, **dict(zip(names[path], arrays, strict=True)))
        for path, arrays in inputs.items()
    }
    if flag:
        share(*inputs, flag=flag)
    kept = {path: [build(path) for _ in range(3)] for path in inputs}

    def work(number: int) -> None:
        for _ in range(5):
            for path, arrays in inputs.items():
                found = predict(kept[path][number], *arrays)
                for one, other in zip(found, expected[path], strict=True):
                    np.testing.assert_allclose(one, other, atol=2e-6)

    together(*(lambda n=number: work(n) for number in range(3)))


def test_models_built_in_any_order_share_the_card_of_their_device(zoo: Zoo):
    """Arenas cannot be registered again: sessions made in between must not lose theirs."""
    for card in (0, 1):
        share(zoo.conv, zoo.small, device_id=card)
    kept = []
    for path, card in [(zoo.conv, 0), (zoo.conv, 1), (zoo.mlp, 0), (zoo.small, 0), (zoo.small, 1)]:
        kept.append((path, build(path, card)))
    arenas = {
        engine.arena for card in lite.registry.LIBRARY.devices for engine in card.engines.values()
    }
    assert len(arenas) == 2
    for path, model in kept:
        shape = model.get_inputs()[0].shape
        found = predict(model, values(*shape))[0]
        np.testing.assert_allclose(found, reference(path, x=values(*shape))[0], atol=2e-6)


def test_models_may_be_built_while_others_run(zoo: Zoo):
    share(zoo.conv, zoo.small)
    first = build(zoo.conv)
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            predict(first, values(1, 3, 96, 96))

    def grow() -> None:
        try:
            for path in (zoo.mlp, zoo.small, zoo.mlp, zoo.small):
                kept.append(build(path))
        finally:
            done.set()

    kept: list[Model] = []
    together(run, grow)
    assert len(kept) == 4


@pytest.mark.skipif(not CAPPED, reason="this onnxruntime has no exact limit")
def test_a_full_workspace_is_refused_and_the_model_stays_usable(zoo: Zoo):
    """The cap is hard: a workspace that is too small makes the run fail, and that run only."""
    share(zoo.small)
    kept = build(zoo.small)
    arena = lite.registry.LIBRARY.devices[0].shared_arena()
    size = arena.nbytes
    arena.resize(size // 2)
    with pytest.raises(RuntimeError, match="predict failed!"):
        kept.predict([values(1, 3, 16, 16)])
    assert "Available memory of" in lite.last_native_log()
    arena.resize(size)
    assert predict(kept, values(1, 3, 16, 16))[0].shape == (1, 3, 16, 16)
