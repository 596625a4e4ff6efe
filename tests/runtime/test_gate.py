"""Who may hold a request: never more than the limit, in order, and no place is lost."""

import asyncio
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator import DeadlineError, OverloadedError
from orchestrator.runtime.gate import Gate


def test_past_the_limit_callers_are_refused_with_the_numbers() -> None:
    gate = Gate("det", 2)
    gate.enter_or_refuse()
    gate.enter_or_refuse()
    with pytest.raises(OverloadedError) as told:
        gate.enter_or_refuse()
    assert str(told.value) == (
        "model det: overloaded: this driver has 2 requests for it under way, which is its limit, "
        "and 0 more wait to be let in: call again later, let calls wait, or raise max_in_flight"
    )
    gate.leave()
    gate.enter_or_refuse()


def test_who_waits_too_long_is_told_and_leaves_the_queue() -> None:
    gate = Gate("det", 1)
    gate.enter_or_refuse()
    with pytest.raises(DeadlineError, match=r"within the 0\.01 s allowed: it waited for one of"):
        gate.enter_or_wait(0.01)
    with pytest.raises(DeadlineError):
        asyncio.run(gate.enter_async(0.01))
    gate.leave()
    gate.enter_or_refuse()


def test_a_cancelled_task_gives_its_place_back() -> None:
    gate = Gate("det", 1)

    async def cancel() -> None:
        await gate.enter_async(None)
        tasks = [asyncio.ensure_future(gate.enter_async(None)) for _ in range(2)]
        await asyncio.sleep(0)
        gate.leave()  # grants the place to the first task, which is cancelled before it sees it
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert tasks[0].cancelled() and tasks[1].exception() is None

    asyncio.run(cancel())
    with pytest.raises(OverloadedError):
        gate.enter_or_refuse()
    gate.leave()
    gate.enter_or_refuse()


def test_many_threads_never_exceed_the_limit_and_all_get_in() -> None:
    gate, lock = Gate("det", 3), threading.Lock()
    inside = most = entered = late = 0

    def work(seed: int) -> None:
        nonlocal inside, most, entered, late
        draw = random.Random(seed)
        for _ in range(200):
            try:
                gate.enter_or_wait(draw.choice([None, 0.0, 0.001]))
            except DeadlineError:
                late += 1
                continue
            with lock:
                inside += 1
                most = max(most, inside)
                entered += 1
            with lock:
                inside -= 1
            gate.leave()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert inside == 0
    assert most <= 3
    assert entered > 0
    for _ in range(3):
        gate.enter_or_refuse()
    with pytest.raises(OverloadedError):
        gate.enter_or_refuse()
