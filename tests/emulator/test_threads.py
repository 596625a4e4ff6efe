"""Which locks the library takes, and what five threads with a group each may and may not do."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest

import actors.emulator as lite
from actors.emulator import Model
from actors.emulator.model import FREEZE
from actors.lite import EmulatedCard, LiteCard, load_library
from actors.messages import ModelOrder
from tests import models
from tests.emulator.conftest import Zoo, build, predict, reference, share, values

THREADS = 5
LOOPS = 30


def in_threads(job: Callable[[int], object]) -> list[object]:
    """Run the job in five threads, all from the same moment on; what each returned or raised."""
    barrier = threading.Barrier(THREADS)

    def run(number: int) -> object:
        barrier.wait()
        try:
            return job(number)
        except RuntimeError as error:
            return str(error)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


def runs_beside_another_execution(model: Model, seconds: float) -> bool:
    """Whether a predict ends while the device's lock is taken, within so many seconds."""
    x = values(4, 64)
    with ThreadPoolExecutor(1) as pool:
        with lite.registry.LIBRARY.devices[0].lock:
            running = pool.submit(predict, model, x)
            ended, _ = wait([running], seconds)
        running.result()
    return bool(ended)


@pytest.mark.parametrize(
    ("flag", "locked"),
    [
        (None, False),
        ("SHARE_WEIGHT", False),
        ("SHARE_WORKSPACE", True),
        ("SHARE_WEIGHT_WORKSPACE", True),
    ],
)
def test_execution_is_locked_per_device_when_a_workspace_is_shared_and_not_for_weights_only(
    zoo: Zoo, flag, locked
):
    if flag:
        share(zoo.mlp, flag=flag)
    assert runs_beside_another_execution(build(zoo.mlp), 0.3 if locked else 60) != locked


def test_dynamic_models_are_unshared_but_locked(zoo: Zoo):
    share(zoo.open)
    model = build(zoo.open)
    model.resize(model.get_inputs(), [[4, 64]])
    assert lite.memory(0).workspace == 0
    assert not runs_beside_another_execution(model, 0.3)


def test_five_threads_with_share_weight_groups_of_their_own_work(zoo: Zoo):
    """Each thread groups, sizes, builds and runs its own object of one file; one set of weights."""
    kept: list[Model] = []
    expected = reference(zoo.mlp, x=values(4, 64))[0]

    def own_group(_: int) -> bool:
        share(zoo.mlp, flag="SHARE_WEIGHT")
        model = build(zoo.mlp)
        kept.append(model)
        found = [predict(model, values(4, 64))[0] for _ in range(LOOPS)]
        return all(np.allclose(one, expected, atol=1e-6) for one in found)

    assert in_threads(own_group) == [True] * THREADS
    found = lite.memory(0)
    assert [entry.path for entry in found.models if entry.weights] == [zoo.mlp]
    assert found.weights == lite.registry.LIBRARY.devices[0].rule.alloc(2 * (64 * 64 + 64) * 4)


def test_five_threads_with_workspace_sharing_groups_of_their_own_do_not(zoo: Zoo):
    """The first to build closes the list: whoever sizes later fails."""
    kept: list[Model] = []
    turn = threading.Lock()

    def own_group(_: int) -> bool:
        with turn:
            share(zoo.mlp)
            kept.append(build(zoo.mlp))
        return True

    failed = "ModelGroup's cal max size of workspace failed."
    assert sorted(map(str, in_threads(own_group))) == [failed] * (THREADS - 1) + ["True"]


@pytest.mark.parametrize("job", [share, build], ids=["sizing", "building"])
def test_builds_are_serial_per_process_and_sizing_waits_for_them(zoo: Zoo, job):
    lite.calibration(zoo.mlp)
    with ThreadPoolExecutor(1) as pool:
        with lite.registry.LIBRARY.building:  # as another build holds it
            waiting = pool.submit(job, zoo.mlp)
            ended, _ = wait([waiting], 0.3)
        assert waiting.result() is not None
    assert not ended


def test_build_leaves_the_interpreter_to_other_threads(tmp_path: Path):
    path = str(models.write_mlp(tmp_path, "new", rows=2, width=8))
    ticks = 0
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(build, path)
        building.add_done_callback(lambda _: done.set())
        while not done.wait(0.001):
            ticks += 1
    assert building.result().get_inputs()
    assert ticks >= 10


def test_a_call_that_would_freeze_the_process_is_told_in_the_log(zoo: Zoo, caplog):
    model = build(zoo.mlp)
    model.get_inputs()
    assert FREEZE not in caplog.text
    with ThreadPoolExecutor(1) as pool:
        with model._lock:  # as a running predict holds it
            asking = pool.submit(model.get_inputs)
            while FREEZE not in caplog.text and not asking.done():
                wait([asking], 0.01)
        assert len(asking.result()) == 1
    assert FREEZE in caplog.text


def test_our_own_lock_keeps_every_second_thread_out_of_a_model(zoo: Zoo, caplog):
    """The defence: threads wait for each other in Python, where the interpreter is free."""
    library = load_library("emulated", emulated=EmulatedCard(64 << 20))
    order = ModelOrder("mlp", zoo.mlp, config={"emulated_card": {"execute_ms": "5"}})
    card = LiteCard(library, "emulated", "local/0", 0)
    card.declare([order])
    target = card.build(order)
    gear = target.signature.gears[0]

    def run(number: int) -> bool:
        x = values(4, 64, seed=number)
        found = target.predict(gear, [x], lambda outputs: outputs["y"].copy())
        return bool(np.allclose(found, reference(zoo.mlp, x=x)[0], atol=1e-6))

    assert in_threads(run) == [True] * THREADS
    assert FREEZE not in caplog.text
