"""A card from start to stop, on the real emulator with real threads."""

import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors import emulator
from actors.card import CardActor
from actors.emulator.faults import VARIABLE
from actors.errors import (
    CardBrokenError,
    CardError,
    DoesNotFitError,
    InvalidRequestError,
    LoadError,
    NotServingError,
    PredictError,
)
from actors.messages import SENDER_BITS, CardState, ModelOrder, Request
from actors.queue import AHEAD
from actors.shapes import BatchRule, Gear
from tests import models
from tests.card.conftest import (
    Door,
    Load,
    answer,
    ask,
    card_order,
    changed,
    expected,
    rows,
    stacks,
    threads_in,
    with_times,
)


def close(left: np.ndarray, right: np.ndarray) -> None:
    np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


def test_plan_and_ledger_agree_to_the_byte(
    load: Load, mlp: ModelOrder, conv: ModelOrder, words: ModelOrder, dynamic: ModelOrder
) -> None:
    card = load(
        changed(mlp, threads=2), conv, changed(words, threads=3), changed(dynamic, threads=2)
    )
    report = card.memory()
    assert report.measured == report.planned
    assert report.planned.workspace == max(
        m.planned.workspace for m in report.models if m.planned.shares
    )
    assert report.unshared.total > report.planned.total
    assert report.resident_bytes > 0
    for model in report.models:
        assert model.weights == model.planned.weight_total
        assert model.io == model.planned.io_total
        assert (model.workspace or 0) == model.planned.private_workspace


@pytest.mark.parametrize("share_weights", [True, False])
@pytest.mark.parametrize("share_workspace", [True, False])
def test_every_combination_of_sharing_is_charged_as_planned(
    load: Load, mlp: ModelOrder, conv: ModelOrder, share_weights: bool, share_workspace: bool
) -> None:
    how = {"share_weights": share_weights, "share_workspace": share_workspace, "threads": 2}
    card = load(changed(mlp, **how), changed(conv, **how))
    assert card.memory().measured == card.memory().planned
    close(answer(card, "mlp", x=rows(3))["y"], expected(mlp, x=rows(3))["y"])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_model_with_workspaces_of_its_own_widens_the_shared_one_if_it_is_sized(
    load: Load, mlp: ModelOrder, conv: ModelOrder, threads: int
) -> None:
    """Sizing a group widens the device's one workspace, even a group that shares weights alone."""
    apart = changed(conv, share_workspace=False, threads=threads)
    report = load(mlp, apart).memory()
    assert report.measured == report.planned
    assert mlp.footprint is not None
    assert conv.footprint is not None
    assert mlp.footprint.workspace < conv.footprint.workspace
    widest = conv if threads > 1 else mlp  # one thread needs no group to share its weights in
    assert widest.footprint is not None
    assert report.planned.workspace == widest.footprint.workspace
    assert report.planned.private == threads * conv.footprint.workspace


def test_a_plan_that_gave_up_the_shared_workspace_is_kept(load: Load, conv: ModelOrder) -> None:
    card = load(conv, share_workspace=False)
    report = card.memory()
    assert report.measured == report.planned
    assert report.planned.workspace == 0
    assert report.planned.private > 0


def test_the_load_report_names_what_the_models_take(mlp: ModelOrder, dynamic: ModelOrder) -> None:
    card = CardActor()
    identity = card.identify("node", "3", 0)
    assert (identity.node_id, identity.npu_id) == ("node", "3")
    report = card.load(card_order(mlp, dynamic))
    card.stop()
    assert report.signatures["mlp"].gears == mlp.gears
    assert report.signatures["mlp"].outputs[0].name == "y"
    assert report.signatures["dynamic"].dynamic
    assert report.identity.library.startswith("emulated mindspore_lite 2.")
    assert report.seconds > 0


@pytest.mark.parametrize("count", [1, 2, 4, 5, 11])
def test_small_requests_are_padded_and_large_ones_split(
    load: Load, mlp: ModelOrder, count: int
) -> None:
    x = rows(count)
    close(answer(load(mlp), "mlp", x=x)["y"], expected(mlp, x=x)["y"])


def test_a_dynamic_model_runs_at_any_size_up_to_the_declared_one(
    load: Load, dynamic: ModelOrder
) -> None:
    card = load(dynamic)
    for count in (8, 3, 5, 20):
        x = rows(count, seed=count)
        close(answer(card, "dynamic", x=x)["y"], expected(dynamic, x=x)["y"])


@pytest.mark.parametrize(
    "lay_out",
    [
        np.asfortranarray,
        lambda x: x.astype(">f4"),
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: np.asfortranarray(x.astype(">f4")),
    ],
    ids=["fortran", "big-endian", "strided", "both"],
)
@pytest.mark.parametrize("count", [1, 4])
def test_any_memory_layout_gives_the_right_answer(
    load: Load, mlp: ModelOrder, lay_out, count: int
) -> None:
    card = load(mlp)
    answer(card, "mlp", x=rows(count, seed=9))  # old data that a silent refusal would leave behind
    x = rows(count)
    close(answer(card, "mlp", x=lay_out(x))["y"], expected(mlp, x=x)["y"])


def test_answers_belong_to_their_callers(load: Load, mlp: ModelOrder) -> None:
    card = load(mlp)
    first = answer(card, "mlp", x=rows(4))["y"]
    kept = first.copy()
    answer(card, "mlp", x=rows(4, seed=1))
    np.testing.assert_array_equal(first, kept)
    assert first.flags.writeable


def test_five_threads_use_one_copy_of_the_weights(load: Load, mlp: ModelOrder) -> None:
    card = load(changed(mlp, threads=5))
    one = load(changed(mlp, threads=1)).memory().measured
    measured = card.memory().planned
    assert one is not None
    assert measured.weights == one.weights
    card = load(changed(mlp, threads=5))
    inputs = [rows(1 + n % 4, seed=n) for n in range(40)]
    with ThreadPoolExecutor(10) as pool:
        outputs = list(pool.map(lambda x: answer(card, "mlp", x=x)["y"], inputs))
    for x, y in zip(inputs, outputs, strict=True):
        close(y, expected(mlp, x=x)["y"])
    assert card.memory().measured == card.memory().planned


def test_requests_of_one_call_are_joined(load: Load, mlp: ModelOrder) -> None:
    card = load(mlp)
    inputs = [{"x": rows(1, seed=n)} for n in range(8)]
    replies = ask(card, "mlp", *inputs)
    assert [reply.id for reply in replies] == list(range(8))
    for x, reply in zip(inputs, replies, strict=True):
        assert reply.outputs is not None
        close(reply.outputs["y"], expected(mlp, **x)["y"])
    stats = card.stats().models["mlp"]
    assert (stats.requests, stats.rows, stats.batches, stats.padded_rows) == (8, 8, 2, 0)
    assert stats.latency_p50_ms is not None
    assert stats.latency_p99_ms is not None
    assert stats.latency_p50_ms <= stats.latency_p99_ms


def test_requests_of_many_callers_are_joined(load: Load, mlp: ModelOrder) -> None:
    card = load(mlp)
    with ThreadPoolExecutor(9) as pool, Door(card, "mlp") as door:
        futures = [pool.submit(answer, card, "mlp", x=rows(1, seed=n)) for n in range(9)]
        while card.stats().models["mlp"].queued + len(door.came) < 9:
            pass
        door.open()
        outputs = [future.result()["y"] for future in futures]
    for n, y in enumerate(outputs):
        close(y, expected(mlp, x=rows(1, seed=n))["y"])
    assert card.stats().models["mlp"].batches == 3, "the first alone, and the others by four"


def test_waiting_for_company_ends_when_the_card_falls_idle(
    load: Load, mlp: ModelOrder, conv: ModelOrder
) -> None:
    patient = replace(mlp, batching=BatchRule(max_wait=3600.0))
    card = load(conv, patient)
    image = np.zeros((2, 3, 16, 16), np.float32)
    with ThreadPoolExecutor(3) as pool, Door(card, "conv") as door:
        busy = pool.submit(answer, card, "conv", x=image)
        while not card.stats().running:
            pass
        first = pool.submit(answer, card, "mlp", x=rows(1))
        second = pool.submit(answer, card, "mlp", x=rows(2))
        while card.stats().models["mlp"].queued < 2:
            pass
        door.open()
        for future in (busy, first, second):
            future.result()
    stats = card.stats().models["mlp"]
    assert (stats.requests, stats.batches, stats.padded_rows) == (2, 1, 1)


def test_a_bad_request_fails_alone(load: Load, mlp: ModelOrder) -> None:
    card = load(mlp)
    good, bad = {"x": rows(1)}, {"x": np.zeros((1, 64))}
    replies = ask(card, "mlp", good, bad, good, {"y": rows(1)})
    assert [reply.error is None for reply in replies] == [True, False, True, False]
    assert isinstance(replies[1].error, InvalidRequestError)
    assert "model mlp: input x has dtype float64; the model takes float32" in str(replies[1].error)
    assert "did you mean" in str(replies[3].error) or "no such input" in str(replies[3].error)
    [reply] = ask(card, "mpl", good)
    assert "model mpl: not on card local/0, whose models are: mlp" in str(reply.error)
    assert card.stats().models["mlp"].errors == 2


def test_a_request_that_the_library_refuses_fails_alone(load: Load, words: ModelOrder) -> None:
    card = load(words)
    good, bad = np.ones((1, 6), np.int64), np.full((1, 6), 999, np.int64)
    replies = ask(card, "words", {"ids": good}, {"ids": bad}, {"ids": good})
    assert [reply.error is None for reply in replies] == [True, False, True]
    error = replies[1].error
    assert isinstance(error, PredictError)
    text = str(error)
    assert text.startswith("card local/0: model words failed: predict failed!")
    assert "native log:" in text
    assert "999" in text, "the cause, which the library keeps to its log"
    assert isinstance(error.__cause__, RuntimeError)
    whole = np.ones((4, 6), np.int64)
    close(answer(card, "words", ids=whole)["vectors"], expected(words, ids=whole)["vectors"])


def test_models_of_one_card_answer_together(
    load: Load, mlp: ModelOrder, conv: ModelOrder, dynamic: ModelOrder
) -> None:
    card = load(changed(mlp, threads=2), changed(conv, threads=2), dynamic)
    image = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)
    wanted = expected(conv, x=image)["y"]

    def both(n: int) -> None:
        x = rows(1 + n % 6, seed=n)
        close(answer(card, "mlp", x=x)["y"], expected(mlp, x=x)["y"])
        close(answer(card, "conv", x=image)["y"], wanted)
        close(answer(card, "dynamic", x=x)["y"], expected(dynamic, x=x)["y"])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(both, range(24)))


def test_a_plan_that_does_not_fit_is_refused_before_anything_is_built(mlp: ModelOrder) -> None:
    card = CardActor()
    with pytest.raises(DoesNotFitError) as caught:
        card.load(card_order(mlp, capacity_bytes=20_000, reserve_bytes=1000))
    error = caught.value
    short = error.needed_bytes - 19_000
    assert str(error).startswith(f"card local/0: its models need {error.needed_bytes:,} bytes (")
    assert str(error).endswith(f"and it has 19,000: {short:,} bytes too few")
    assert card.stats().state is CardState.FAILED
    with pytest.raises(NotServingError, match="it is failed and cannot become loading"):
        card.load(card_order(mlp))


def test_control_calls_do_not_wait_behind_data(load: Load, mlp: ModelOrder) -> None:
    card = load(with_times(mlp, 20))
    with ThreadPoolExecutor(1) as pool, Door(card, "mlp") as door:
        slow = pool.submit(answer, card, "mlp", x=rows(1))
        while not card.stats().running:
            pass
        for _ in range(20):
            assert card.stats().state is CardState.READY
            card.memory()
        door.open()
        slow.result()
    busy = card.stats().busy_share
    assert busy is not None
    assert 0 < busy <= 1


def test_draining_finishes_what_is_here_and_takes_nothing_new(load: Load, mlp: ModelOrder) -> None:
    card = load(mlp)
    with ThreadPoolExecutor(1) as pool, Door(card, "mlp") as door:
        future = pool.submit(answer, card, "mlp", x=rows(9))
        while not card.stats().models["mlp"].queued:
            pass
        assert not card.drain(timeout_seconds=0.01)
        with pytest.raises(NotServingError, match="card local/0 takes no requests: it is draining"):
            answer(card, "mlp", x=rows(1))
        door.open()
        assert card.drain(timeout_seconds=250)
        close(future.result()["y"], expected(mlp, x=rows(9))["y"])
    card.stop()
    assert card.stats().state is CardState.STOPPED


def test_stopping_answers_those_who_still_wait(load: Load, mlp: ModelOrder) -> None:
    before = set(threading.enumerate())
    card = load(mlp)
    assert set(threading.enumerate()) - before
    with ThreadPoolExecutor(2) as pool, Door(card, "mlp") as door:
        future = pool.submit(ask, card, "mlp", {"x": rows(4)}, {"x": rows(4)}, {"x": rows(4)})
        while not (door.came and card.stats().models["mlp"].queued):
            pass
        stopped = pool.submit(card.stop)
        while card.stats().state is CardState.READY:
            pass
        door.open()
        replies = future.result()
        stopped.result()
    assert set(threading.enumerate()) <= before
    errors = [reply.error for reply in replies]
    assert errors[0] is None, "what had begun ends"
    assert isinstance(errors[-1], NotServingError)
    assert str(errors[-1]) == "card local/0 takes no requests: it is stopped"
    card.stop()


def test_a_card_without_models_answers_nothing(mlp: ModelOrder) -> None:
    card = CardActor()
    with pytest.raises(NotServingError, match="it is empty"):
        answer(card, "mlp", x=rows(1))
    with pytest.raises(NotServingError, match="it is empty"):
        card.memory()
    card.stop()


def test_a_card_loads_once(load: Load, mlp: ModelOrder) -> None:
    card = load(mlp)
    with pytest.raises(NotServingError, match="it is ready and cannot become loading"):
        card.load(card_order(mlp))


def test_a_card_that_failed_to_load_loads_nothing_more(mlp: ModelOrder, tmp_path: Path) -> None:
    """What the failure left behind, in the library or on the card, is its process's to lose."""
    card = CardActor()
    bad = replace(mlp, path=str(models.write_garbage(tmp_path, "garbage")))
    with pytest.raises(LoadError):
        card.load(card_order(bad))
    with pytest.raises(NotServingError, match="it is failed and cannot become loading"):
        card.load(card_order(mlp))


def test_models_are_built_in_one_thread_and_none_is_dropped_before_the_process_ends(
    mlp: ModelOrder, conv: ModelOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build in another thread, or a Model that goes meanwhile, would stop the whole process."""
    threads: list[int] = []
    build = emulator.Model.build_from_file

    def noted(*arguments: object, **options: object) -> None:
        threads.append(threading.get_ident())
        build(*arguments, **options)

    monkeypatch.setattr(emulator.Model, "build_from_file", noted)
    card = CardActor()
    card.load(card_order(changed(mlp, threads=2), conv))
    built = [entry.path for entry in emulator.memory(0).models if entry.object > 0]
    card.stop()
    gc.collect()
    assert threads == [threading.get_ident()] * 3
    kept = [entry.path for entry in emulator.memory(0).models if entry.object > 0]
    assert kept == built == [mlp.path, mlp.path, conv.path]


def load_error(*orders: ModelOrder) -> str:
    card = CardActor()
    with pytest.raises(LoadError) as caught:
        card.load(card_order(*orders))
    assert card.stats().state is CardState.FAILED
    return str(caught.value)


def test_what_is_wrong_with_an_order_is_said(mlp: ModelOrder, conv: ModelOrder) -> None:
    assert "its order has no planned bytes" in load_error(replace(mlp, footprint=None))
    twin = replace(mlp, name="twin")
    assert "model twin has the same path" in load_error(mlp, twin)
    odd = replace(conv, gears=(Gear((("x", (3, 3, 16, 16)),)),))
    assert "declared shape (3, 3, 16, 16) of input x; the model has (2, 3, 16, 16)" in load_error(
        odd
    )
    named = replace(conv, gears=(Gear((("image", (2, 3, 16, 16)),)),))
    assert "the declared shapes name image; the inputs are x" in load_error(named)
    axis = replace(conv, batching=BatchRule(axis=4))
    assert "batching.axis is 4 and input x has 4 dimensions" in load_error(axis)


def test_a_card_that_cannot_be_is_refused(mlp: ModelOrder) -> None:
    card = CardActor()
    with pytest.raises(CardError, match=r"cannot be used here: not supported yet: release 1\.0"):
        card.load(card_order(mlp, release="1.0"))
    assert card.stats().state is CardState.FAILED
    card = CardActor()
    card.identify("node", "77", 77)
    with pytest.raises(CardError, match="device_id 77 is out of range: this process sees"):
        card.load(replace(card_order(mlp), kind="ascend"))


def test_open_dimensions_must_be_declared(dynamic: ModelOrder) -> None:
    text = load_error(replace(dynamic, gears=None, dynamic=False, config={}))
    assert "model dynamic" in text
    told = "input x (-1, 64) has open dimensions: declare shapes as gears or dynamic max_shape"
    assert text.endswith(told), "nothing is guessed of what is known"


def test_a_light_model_waits_for_two_heavy_batches_at_most_whatever_another_driver_sends(
    load: Load, mlp: ModelOrder, conv: ModelOrder
) -> None:
    card = load(with_times(changed(conv, threads=2), 5), mlp)
    image = {"x": np.zeros((2, 3, 16, 16), np.float32)}
    flood = [Request((1 << SENDER_BITS) + n, "conv", image, "batch") for n in range(60)]
    light = [Request((2 << SENDER_BITS) + n, "mlp", {"x": rows(1)}) for n in range(8)]
    between = []
    with ThreadPoolExecutor(2) as pool, Door(card, "mlp", "conv") as door:
        heavy = pool.submit(card.predict_many, flood)
        for request in light:
            while not door.waiting:  # a heavy one has its turn
                assert not heavy.done(), "all others went before the light ones"
            before = len(door.came)
            one = pool.submit(card.predict_many, [request])
            while not (card.stats().models["mlp"].queued or "mlp" in door.came[before:]):
                pass
            began = len(door.came)
            while not one.done():
                door.let_one_in()
            assert one.result()[0].error is None
            at = door.came.index("mlp", before)
            between.append(door.came[began:at].count("conv"))
        door.open()
        heavy.result()
    # Beside the one that executes; a light one that was kept at the door is charged for it later.
    assert sorted(between)[len(between) // 2] <= AHEAD - 1


def test_a_call_that_can_run_at_once_runs_in_its_own_thread(load: Load, mlp: ModelOrder) -> None:
    card = load(mlp)
    with ThreadPoolExecutor(1) as pool, Door(card, "mlp") as door:
        ident = pool.submit(threading.get_ident).result()
        pool.submit(answer, card, "mlp", x=rows(3))
        while not door.waiting:
            pass
        inside = threads_in("predict")
    assert inside == {ident}


def test_what_came_meanwhile_waits_for_company_no_longer_than_it_may(
    load: Load, mlp: ModelOrder, conv: ModelOrder
) -> None:
    """The model's only object is in a caller's hands then; another model keeps the card busy."""
    rule = replace(mlp.batching, max_wait=0.2)
    card = load(
        changed(mlp, threads=1, share_workspace=False, batching=rule),
        conv,
    )
    image = {"x": np.zeros((2, 3, 16, 16), np.float32)}
    with (
        ThreadPoolExecutor(3) as pool,
        Door(card, "conv") as long,
        Door(card, "mlp") as door,
    ):
        pool.submit(ask, card, "conv", image)
        while not long.waiting:
            pass
        full = pool.submit(ask, card, "mlp", {"x": rows(4)})
        while not door.waiting:
            pass
        late = pool.submit(answer, card, "mlp", x=rows(1))
        while not card.stats().models["mlp"].queued:
            pass
        door.open()
        close(late.result()["y"], expected(mlp, x=rows(1))["y"])
        assert full.result()[0].error is None
        assert long.waiting


def test_inputs_are_copied_while_another_batch_executes(load: Load, conv: ModelOrder) -> None:
    times = {"execute_ms": "150", "copy_in_ms": "150", "copy_out_ms": "150"}
    slow = replace(conv, config={"emulated_card": times})
    image = {"x": np.zeros((2, 3, 16, 16), np.float32)}

    def seen(threads: int) -> bool:
        """Whether one batch was copied in or out while another one executed."""
        card = load(changed(slow, threads=threads))
        asked = threading.Thread(target=ask, args=(card, "conv", *[image] * 4))
        asked.start()
        found = False
        while asked.is_alive():
            now = list(stacks().values())  # what the emulated card does, in each thread
            executes = [number for number, names in enumerate(now) if "executing" in names]
            copies = [number for number, names in enumerate(now) if "_pause" in names]
            found = found or bool(executes and copies)
        return found

    assert not seen(threads=1)
    assert seen(threads=2)


def test_a_card_that_fails_on_what_it_has_answered_before_takes_nothing_more(
    mlp: ModelOrder, conv: ModelOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = tmp_path / "faults"
    monkeypatch.setenv(VARIABLE, str(faults))
    told: list[CardBrokenError] = []
    card = CardActor(on_broken=told.append)
    card.identify("node", "0", 0)
    card.load(card_order(with_times(mlp, 50), conv))
    close(answer(card, "mlp", x=rows(1))["y"], expected(mlp, x=rows(1))["y"])
    faults.write_text(f"{os.getpid()} fail\n")
    replies = ask(card, "mlp", *[{"x": rows(4)}] * 3)
    assert isinstance(replies[0].error, CardBrokenError)
    assert str(replies[0].error).startswith(
        "card local/0 is broken: model mlp fails on what it has answered before: predict failed!"
    )
    assert [str(reply.error) for reply in replies[1:]] == [
        "card local/0 takes no requests: it is failed"
    ] * 2
    assert [error.model for error in told] == ["mlp"]
    assert card.stats().state is CardState.FAILED
    with pytest.raises(NotServingError, match="it is failed"):
        answer(card, "conv", x=np.zeros((2, 3, 16, 16), np.float32))
    card.stop()
    emulator.reset()


class FailsOn:
    """The library's model on a card that is broken for batches of some rows, or one bad value."""

    def __init__(self, model: Any, rows: int, value: float | None = None) -> None:
        self._model, self._rows, self._value = model, rows, value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, tensors: list[Any]) -> Any:
        x = tensors[0].get_data_to_numpy()
        if len(x) == self._rows and (self._value is None or x.flat[0] == self._value):
            raise RuntimeError("predict failed!")
        return self._model.predict(tensors)


@pytest.mark.parametrize(("value", "wanted"), [(None, CardBrokenError), (7.0, PredictError)])
def test_a_card_is_tried_with_the_gear_that_failed(
    load: Load, mlp: ModelOrder, value, wanted
) -> None:
    card = load(mlp)
    [place] = card._work._idle["mlp"]
    place.target._model = FailsOn(place.target._model, 4, value)
    assert answer(card, "mlp", x=rows(1))["y"].shape[0] == 1
    with pytest.raises(wanted):
        answer(card, "mlp", x=np.full((4, 64), 7, np.float32))


def test_a_card_tells_what_it_works_on_and_how_long_that_should_take(
    load: Load, mlp: ModelOrder
) -> None:
    card = load(with_times(mlp, 200))
    with ThreadPoolExecutor(1) as pool, Door(card, "mlp") as door:
        slow = pool.submit(answer, card, "mlp", x=rows(1))
        while not door.waiting:
            pass
        working = card.stats().working
        door.open()
        slow.result()
    assert [(one.model, one.expected >= 0.2) for one in working] == [("mlp", True)]
    assert card.stats().working == ()
