"""Who waits for whom: locks, copies, the clock, and the interpreter's lock."""

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

import actors.emulator as lite
from actors.emulator import Model
from actors.emulator.arena import CAPPED
from tests.emulator.conftest import Zoo, build, predict, reference, share, values


def timed(*jobs: Callable[[], object]) -> float:
    """Wall seconds of running all jobs at the same time, each in a thread of its own."""
    barrier = threading.Barrier(len(jobs) + 1)
    errors: list[BaseException] = []

    def run(job: Callable[[], object]) -> None:
        barrier.wait()
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    barrier.wait()
    start = time.monotonic()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return time.monotonic() - start


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
    assert timed(*(calls(model, 2) for model in kept)) >= 6 * 0.03
    assert lite.memory(0).busy_seconds == pytest.approx(6 * 0.03, rel=0.5)


def test_executions_of_different_cards_do_not_wait_for_each_other(zoo: Zoo):
    kept = [build(zoo.mlp, card, times(execute_ms=300)) for card in (0, 1)]
    assert timed(*(calls(model) for model in kept)) < 0.55


def test_copies_lie_outside_the_lock_and_the_clock(zoo: Zoo):
    share(zoo.mlp)
    config = times(copy_in_ms=150, copy_out_ms=150)
    kept = [build(zoo.mlp, config=config) for _ in range(3)]
    assert 0.3 <= timed(*(calls(model) for model in kept)) < 0.8
    assert lite.memory(0).busy_seconds < 0.15


def test_each_gear_has_its_time(zoo: Zoo):
    model = build(zoo.gears, config=times(execute_ms="10,200"))
    spent = []
    for rows in (1, 4):
        model.resize(model.get_inputs(), [[rows, 64]])
        before = lite.memory(0).busy_seconds
        model.predict([values(rows, 64)])
        spent.append(lite.memory(0).busy_seconds - before)
    assert 0.01 <= spent[0] < 0.15
    assert spent[1] >= 0.2


def test_one_model_object_answers_one_call_at_a_time(zoo: Zoo):
    model = build(zoo.mlp, config=times(copy_in_ms=60))
    assert timed(calls(model), calls(model)) >= 0.12


def test_get_inputs_waits_for_a_running_predict(zoo: Zoo):
    model = build(zoo.mlp, config=times(execute_ms=200))
    order: list[str] = []

    def run() -> None:
        model.predict([values(4, 64)])
        order.append("predict")

    def ask() -> None:
        while model._lock.acquire(blocking=False):  # until the other thread is inside
            model._lock.release()
        model.get_inputs()
        order.append("inputs")

    timed(run, ask)
    assert order[0] == "predict"


def test_build_and_predict_leave_the_interpreter_to_other_threads(zoo: Zoo):
    model = build(zoo.conv)
    image = values(1, 3, 96, 96)
    longest, done = 0.0, threading.Event()

    def tick() -> None:
        nonlocal longest
        last = time.monotonic()
        while not done.is_set():
            time.sleep(0.001)
            now = time.monotonic()
            longest, last = max(longest, now - last), now

    ticker = threading.Thread(target=tick)
    ticker.start()
    start = time.monotonic()
    while time.monotonic() - start < 0.5:
        model.predict([image])
    spent = time.monotonic() - start
    done.set()
    ticker.join()
    assert longest < spent / 2


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

    timed(*(lambda n=number: work(n) for number in range(3)))


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
    timed(run, grow)
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
