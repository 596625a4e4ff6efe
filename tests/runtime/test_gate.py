"""Who may hold a request: never more than the limit, in order, and no place is lost."""

import asyncio
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator import DeadlineError, OverloadedError
from orchestrator.runtime.calls.gate import Gate


def test_past_the_limit_callers_are_refused_with_the_numbers() -> None:
    gate = Gate("det", 2, 100)
    gate.enter_or_refuse(8)
    gate.enter_or_refuse(8)
    with pytest.raises(OverloadedError) as told:
        gate.enter_or_refuse(8)
    assert str(told.value) == (
        "model det: overloaded: this driver has 2 requests for it under way, of at most 2, with 16 "
        "bytes of inputs, of at most 100, and 0 more wait to be let in: call again later, let "
        "calls wait, or raise max_in_flight or max_bytes_in_flight"
    )
    gate.leave(8)
    gate.enter_or_refuse(8)


def test_who_waits_too_long_is_told_and_leaves_the_queue() -> None:
    gate = Gate("det", 1, 100)
    gate.enter_or_refuse(8)
    with pytest.raises(
        DeadlineError, match=r"within the 0\.01 s allowed: it waited for some of at most 1 req"
    ):
        gate.enter_or_wait(8, 0.01)
    with pytest.raises(DeadlineError):
        asyncio.run(gate.enter_async(8, 0.01))
    gate.leave(8)
    gate.enter_or_refuse(8)


def test_a_cancelled_task_gives_its_place_back() -> None:
    gate = Gate("det", 1, 100)

    async def cancel() -> None:
        await gate.enter_async(8, None)
        tasks = [asyncio.ensure_future(gate.enter_async(8, None)) for _ in range(2)]
        await asyncio.sleep(0)
        gate.leave(8)  # grants the place to the first task, which is cancelled before it sees it
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert tasks[0].cancelled() and tasks[1].exception() is None

    asyncio.run(cancel())
    with pytest.raises(OverloadedError):
        gate.enter_or_refuse(8)
    gate.leave(8)
    gate.enter_or_refuse(8)


def test_many_threads_never_exceed_the_limit_and_all_get_in() -> None:
    gate, lock = Gate("det", 3, 100), threading.Lock()
    inside = most = entered = late = 0

    def work(seed: int) -> None:
        nonlocal inside, most, entered, late
        draw = random.Random(seed)
        for _ in range(200):
            try:
                gate.enter_or_wait(8, draw.choice([None, 0.0, 0.001]))
            except DeadlineError:
                late += 1
                continue
            with lock:
                inside += 1
                most = max(most, inside)
                entered += 1
            with lock:
                inside -= 1
            gate.leave(8)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert inside == 0
    assert most <= 3
    assert entered > 0
    for _ in range(3):
        gate.enter_or_refuse(8)
    with pytest.raises(OverloadedError):
        gate.enter_or_refuse(8)


def test_bytes_are_bounded_and_a_large_request_is_neither_overtaken_nor_refused_for_ever() -> None:
    gate = Gate("det", 10, 100)
    gate.enter_or_refuse(60)
    with pytest.raises(OverloadedError, match="with 60 bytes of inputs, of at most 100, and 0"):
        gate.enter_or_refuse(41)
    with ThreadPoolExecutor(2) as pool:
        large = pool.submit(gate.enter_or_wait, 1000, None)
        while not gate._queue:
            pass
        with pytest.raises(OverloadedError, match="and 1 more wait"):
            gate.enter_or_refuse(1)  # it would fit, and pass the large one
        gate.leave(60)
        large.result()
        small = [pool.submit(gate.enter_or_wait, 50, None) for _ in range(2)]
        while len(gate._queue) < 2:
            pass
        gate.leave(1000)
        assert [one.result() for one in small] == [None, None]
    gate.leave(50)
    gate.leave(50)
    assert (gate._inside, gate._held) == (0, 0)


def test_who_waits_behind_one_that_gives_up_comes_in() -> None:
    gate = Gate("det", 10, 100)
    gate.enter_or_refuse(60)
    with ThreadPoolExecutor(2) as pool:
        large = pool.submit(gate.enter_or_wait, 90, 0.2)
        while not gate._queue and not large.done():
            pass
        small = pool.submit(gate.enter_or_wait, 10, None)
        with pytest.raises(DeadlineError):
            large.result()
        assert small.result() is None
