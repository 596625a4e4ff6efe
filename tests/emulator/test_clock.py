"""The execution clock: executions queue, real computing counts, nothing is counted twice."""

import pytest

from actors.emulator.clock import Clock


class Time:
    """A time of its own, that passes only by computing and by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept = 0.0

    def read(self) -> float:
        return self.now

    def compute(self, seconds: float) -> None:
        self.now += seconds

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def clock(time: Time) -> Clock:
    return Clock(time.read, time.sleep)


def test_executions_queue_one_after_the_other(clock: Clock, time: Time):
    with clock.executing(0.02), clock.executing(0.03), clock.executing(0.04):
        pass
    assert time.now == pytest.approx(100.09)
    assert clock.busy_seconds == pytest.approx(0.09)


def test_real_computing_counts_towards_the_emulated_time(clock: Clock, time: Time):
    with clock.executing(0.3):
        time.compute(0.2)
    assert time.slept == pytest.approx(0.1)
    assert clock.busy_seconds == pytest.approx(0.3)


def test_computing_longer_than_the_emulated_time_holds_up_the_next(clock: Clock, time: Time):
    with clock.executing(0.01):
        time.compute(0.03)
    assert (time.slept, clock.busy_seconds) == (0.0, pytest.approx(0.03))
    with clock.executing(0.01):
        pass
    assert time.now == pytest.approx(100.04)


def test_overlapping_computing_without_emulated_time_is_counted_once(clock: Clock, time: Time):
    with clock.executing(0.0):
        time.compute(0.01)
        with clock.executing(0.0):
            time.compute(0.05)
        time.compute(0.01)
    assert clock.busy_seconds == pytest.approx(0.07)


def test_what_was_handed_over_before_starts_when_the_one_before_it_ends(clock: Clock, time: Time):
    with clock.executing(0.01):
        handed_over = clock.now()
    time.compute(0.004)  # until the thread that waited runs
    with clock.executing(0.01, handed_over):
        time.compute(0.002)
    assert time.now == pytest.approx(100.02)
    assert clock.busy_seconds == pytest.approx(0.02)


def test_idle_time_is_not_busy(clock: Clock, time: Time):
    for _ in range(2):
        with clock.executing(0.1):
            pass
        time.compute(1.0)
    assert clock.busy_seconds == pytest.approx(0.2)


def test_an_execution_that_fails_still_takes_its_time(clock: Clock):
    with pytest.raises(ValueError, match="no"), clock.executing(0.02):
        raise ValueError("no")
    assert clock.busy_seconds == pytest.approx(0.02)
