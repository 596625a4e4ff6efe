"""Every way to call a model gives what ONNX Runtime gives, in the caller's order."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np
import pytest

from actors.queue import AHEAD
from orchestrator import DeadlineError, InvalidRequestError, Orchestrator, OverloadedError
from tests.runtime.deployments import MAX_IN_FLIGHT, WIDTH, Truth, rows


def close(got: dict[str, np.ndarray], wanted: np.ndarray) -> bool:
    return got["y"].shape == wanted.shape and np.allclose(got["y"], wanted, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 23])
def test_small_batches_are_padded_and_large_ones_split(running, truth: Truth, count) -> None:
    x = rows(count)
    assert close(running.model("both").predict({"x": x}), truth(x))


class Own(np.ndarray):
    """An array that does not like to be sent."""

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        raise TypeError("not to be pickled")


@pytest.mark.parametrize(
    "turn",
    [np.asfortranarray, lambda x: x.astype(">f4"), lambda x: np.tile(x, (3000, 1)).view(Own)],
    ids=["fortran", "big-endian", "subclass"],
)
def test_memory_layout_byte_order_and_class_do_not_matter(running, truth: Truth, turn) -> None:
    x = turn(rows(7))
    wanted = truth(np.ascontiguousarray(x, np.float32))
    assert close(running.model("both").predict({"x": x}), wanted)


def test_several_inputs_and_outputs(running) -> None:
    left, right = np.ones((9, 8), np.float32), np.full((9, 8), 3, np.float32)
    got = running.model("pair").predict({"left": left, "right": right})
    assert np.array_equal(got["total"], left + right)
    assert np.array_equal(got["difference"], left - right)


def test_futures_and_many_in_flight(running, truth: Truth) -> None:
    x = rows(60)
    futures = [running.model("both").submit({"x": x[i : i + 1]}) for i in range(60)]
    assert all(close(f.result(), truth(x[i : i + 1])) for i, f in enumerate(futures))


def test_models_are_completed_by_name(running) -> None:
    assert {"both", "pair"} <= set(dir(running.models))


def test_whoever_would_wait_for_itself_is_told_so_and_what_it_sends_there_is_answered(
    running, truth: Truth
) -> None:
    """In a callback of a future, which runs on the thread that routes all requests."""
    x, told, sent = rows(1), Future(), Future()

    def answered(_: object) -> None:
        sent.set_result(running.model("both").submit({"x": x}))
        try:
            told.set_result(running.model("both").predict({"x": x}))
        except Exception as error:
            told.set_exception(error)

    running.model("slow").submit({"x": x}).add_done_callback(answered)
    with pytest.raises(InvalidRequestError, match="predict was called in a callback of a future"):
        told.result(250)
    assert close(sent.result().result(250), truth(x))


def test_any_event_loop_can_await(running, truth: Truth) -> None:
    x = rows(20)

    async def read() -> list[dict[str, np.ndarray]]:
        calls = (running.models.both.predict_async({"x": x[i : i + 2]}) for i in range(0, 20, 2))
        return await asyncio.gather(*calls)

    got = np.concatenate([answer["y"] for answer in asyncio.run(read())])
    assert np.allclose(got, truth(x), atol=1e-5)


def backlog(running: Orchestrator) -> int:
    """Rows of the slow model that are not answered."""
    return running._traffic()._router.view().result().backlog.get("slow", 0)


def batches_once_told(running: Orchestrator) -> int:
    """Batches of the slow model by the time that its card was told what is not wanted any more."""
    for _ in range(2):  # a card is told at the end of a turn
        running._traffic()._router.view().result()
    return batches(running)


def batches(running: Orchestrator) -> int:
    """Of the slow model, since its card started."""
    return sum(
        slot.serving.stats().result().models["slow"].batches
        for slot in running._traffic().slots()
        if slot.name == "local/1"
    )


def test_a_cancelled_task_cancels_its_request(running) -> None:
    async def leave() -> int:
        calls = [running.models.slow.predict_async({"x": rows(1)}) for _ in range(8)]
        tasks = [asyncio.create_task(call) for call in calls]
        while (sent := backlog(running)) + sum(task.done() for task in tasks) < 8:
            await asyncio.sleep(0)
        cancelled = [task for task in tasks if task.cancel()]
        ends = await asyncio.gather(*cancelled, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)
        assert backlog(running) == 0
        return sent

    while asyncio.run(leave()) < 8:  # some were answered before all had been sent
        pass
    before = batches_once_told(running)
    assert running.model("slow").predict({"x": rows(1)})["y"].shape == (1, WIDTH)
    assert batches(running) - before <= AHEAD + 2, "what had begun, one that was next, and ours"


def test_map_keeps_order_over_cards(running, truth: Truth) -> None:
    sizes = [1 + i % 6 for i in range(100)]
    batches = [rows(size, seed=i) for i, size in enumerate(sizes)]
    got = list(running.model("both").map({"x": x} for x in batches))
    assert len(got) == 100
    assert all(close(g, truth(x)) for g, x in zip(got, batches, strict=True))
    assert all(r.requests for r in running.status().replicas if r.model == "both")


def test_map_reads_ahead_no_further_than_its_window(running) -> None:
    taken = 0

    def endless() -> Iterator[dict[str, np.ndarray]]:
        nonlocal taken
        while True:
            taken += 1
            yield {"x": rows(1)}

    answers = running.model("both").map(endless(), window=5)
    for _ in range(20):
        next(answers)
    assert taken == 24
    answers.close()


def test_map_unordered_gives_every_answer_with_its_place(running, truth: Truth) -> None:
    batches = [rows(1 + i % 6, seed=i) for i in range(40)]
    got = dict(running.model("both").map_unordered(({"x": x} for x in batches), window=7))
    assert sorted(got) == list(range(40))
    assert all(close(got[i], truth(x)) for i, x in enumerate(batches))


def test_a_request_that_is_not_answered_in_time_says_where_it_was(running) -> None:
    slow = running.model("slow")  # one second a batch
    ahead = [slow.submit({"x": rows(1)}) for _ in range(2)]
    with pytest.raises(DeadlineError) as told:
        slow.predict({"x": rows(1)}, timeout=0.01)
    assert str(told.value).startswith("model slow: no answer within the 0.01 s allowed: it was ")
    assert slow.predict({"x": rows(1)}, timeout=1000)["y"].shape == (1, WIDTH)
    assert [future.result()["y"].shape for future in ahead] == [(1, WIDTH)] * 2


def test_a_driver_holds_no_more_requests_than_it_may(running) -> None:
    slow, held = running.model("slow"), []

    def fill() -> None:
        with pytest.raises(OverloadedError, match=f"has {MAX_IN_FLIGHT} requests for it under way"):
            while True:
                held.append(slow.submit({"x": rows(1)}, wait=False))

    def waited() -> str:
        with pytest.raises(DeadlineError) as told:
            asyncio.run(slow.predict_async({"x": rows(1)}, timeout=0.01))
        return str(told.value)

    fill()
    assert len(held) >= MAX_IN_FLIGHT
    while "within the 0.01 s allowed: it waited for some of" not in waited():
        fill()  # one was answered in between
    for future in held:
        future.cancel()
    assert backlog(running) == 0
    before = batches_once_told(running)
    assert slow.predict({"x": rows(1)})["y"].shape == (1, WIDTH)
    assert batches(running) - before <= AHEAD + 2 < MAX_IN_FLIGHT


def test_map_raises_at_the_place_of_the_bad_request(running) -> None:
    answers = running.model("both").map([{"x": rows(1)}, {"x": rows(1)[:, :3]}, {"x": rows(1)}])
    next(answers)
    with pytest.raises(InvalidRequestError, match="fits no gear"):
        next(answers)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"z": rows(1)}, "input 'z'"),
        ({"x": rows(1).astype(np.float64)}, "has dtype float64; the model takes float32"),
        ({"x": rows(1)[0]}, "has 1 dimensions"),
        ({"x": rows(1)[:, :5]}, "fits no gear"),
        ({"x": rows(0)}, "has no rows"),
        ({"x": [[1.0]]}, "is a list, not a numpy array"),
    ],
)
def test_a_wrong_request_is_refused_and_harms_nobody(running, truth: Truth, inputs, said) -> None:
    before = [card.pid for card in running.status().cards]
    with pytest.raises(InvalidRequestError, match=said):
        running.model("both").predict(inputs)
    x = rows(2)
    assert close(running.model("both").predict({"x": x}), truth(x))
    assert [card.pid for card in running.status().cards] == before


def test_an_unknown_model_is_named_with_the_nearest(running: Orchestrator) -> None:
    with pytest.raises(InvalidRequestError, match="no such model, did you mean 'both'"):
        running.model("boht")
    with pytest.raises(AttributeError, match="did you mean 'slow'"):
        running.models.slwo  # noqa: B018
    assert list(running.models) == ["both", "pair", "slow"]
    assert running.models["pair"].name == "pair"


def test_outputs_are_read_only(running) -> None:
    for count in (1, 9):
        with pytest.raises(ValueError, match="read-only"):
            running.model("both").predict({"x": rows(count)})["y"][0] = 0


def test_the_status_is_for_people_and_for_programs(running: Orchestrator) -> None:
    running.model("both").predict({"x": rows(3)})
    status = running.status()
    assert [card.state for card in status.cards] == ["ready", "ready"]
    assert len({card.npu_id for card in status.cards}) == 2
    assert len({card.pid for card in status.cards}) == 2
    for card in status.cards:
        assert card.measured_bytes is not None
        assert card.planned_bytes < card.capacity_bytes
    (both,) = (m for m in status.models if m.model == "both")
    assert both.answered >= 1
    assert both.latency_p50_ms is not None
    assert json.loads(status.to_json())["models"][0]["model"] == "both"
    for word in ("local/0", "local/1", "planned", "measured", "p99 ms", "both"):
        assert word in str(status)


def test_the_plan_explains_itself(running: Orchestrator) -> None:
    assert "both/0 -> local/0" in running.plan.explain()
