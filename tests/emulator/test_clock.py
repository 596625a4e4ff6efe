"""The execution clock: executions queue, real computing counts, nothing is counted twice."""

import threading
import time

import pytest

from actors.emulator.clock import Clock


def run_all(clock: Clock, seconds: list[float]) -> float:
    def execute(duration: float) -> None:
        with clock.executing(duration):
            pass

    threads = [threading.Thread(target=execute, args=(duration,)) for duration in seconds]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - start


def test_executions_queue_one_after_the_other():
    clock = Clock()
    assert run_all(clock, [0.02, 0.03, 0.04]) >= 0.09
    assert clock.busy_seconds == pytest.approx(0.09, rel=0.5)


def test_real_computing_counts_towards_the_emulated_time():
    clock = Clock()
    start = time.monotonic()
    with clock.executing(0.3):
        time.sleep(0.2)
    assert 0.3 <= time.monotonic() - start < 0.48


def test_computing_longer_than_the_emulated_time_holds_up_the_next():
    clock = Clock()
    with clock.executing(0.01):
        time.sleep(0.03)
    assert clock.busy_seconds >= 0.03


def test_overlapping_computing_without_emulated_time_is_counted_once():
    clock = Clock()
    barrier = threading.Barrier(3)

    def compute() -> None:
        barrier.wait()
        with clock.executing(0.0):
            time.sleep(0.05)

    threads = [threading.Thread(target=compute) for _ in range(2)]
    for thread in threads:
        thread.start()
    start = time.monotonic()
    barrier.wait()
    for thread in threads:
        thread.join()
    assert 0.05 <= clock.busy_seconds <= time.monotonic() - start + 0.01


def test_waiting_is_sleeping():
    clock = Clock()
    before = time.process_time()
    with clock.executing(0.1):
        pass
    assert time.process_time() - before < 0.05


def test_an_execution_that_fails_still_takes_its_time():
    clock = Clock()
    with pytest.raises(ValueError, match="no"), clock.executing(0.02):
        raise ValueError("no")
    assert clock.busy_seconds >= 0.02
