"""Sizes from differences: the arithmetic for any numbers, and real models on the emulator."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import emulator
from actors.accounts import resident_bytes
from actors.differences import Steps, measure_ge, measure_on_card, measure_on_host, parts_of
from actors.errors import LoadError
from actors.lite import EmulatedCard, LiteCard, load_library
from actors.machine.gauge import Gauge, open_gauge
from actors.memory import ASCEND
from actors.messages import ModelOrder
from tests.card.conftest import GiB, changed, gears_of
from tests.models import write_weightless
from tests.oms import write_compiled

SIZES = st.integers(0, 1 << 33)


@given(
    weights=SIZES,
    workspace=SIZES,
    tensors=st.lists(st.integers(1, 1 << 24), min_size=1, max_size=4),
    object_bytes=st.integers(0, 1 << 24),
    overhead=SIZES,
    drift=st.integers(0, 1 << 20),
    lazily=st.integers(0, 1 << 24),
    dynamic=st.booleans(),
)
def test_the_parts_follow_from_the_differences(  # noqa: PLR0913, PLR0917 - one for each part
    weights: int,
    workspace: int,
    tensors: list[int],
    object_bytes: int,
    overhead: int,
    drift: int,
    lazily: int,
    dynamic: bool,
) -> None:
    io = sum(map(ASCEND.alloc, tensors))
    each = io + object_bytes
    built_in = 0 if dynamic else ASCEND.alloc(workspace)
    in_run = ASCEND.alloc(workspace) if dynamic else lazily
    free = [1 << 40]

    def take(nbytes: int) -> int:
        free.append(free[-1] - nbytes)
        return free[-1]

    steps = Steps(
        nothing=free[0],
        device=take(overhead),
        apart=(take(ASCEND.alloc(weights) + built_in + each + 12345), take(built_in + each)),
        built=(take(ASCEND.alloc(weights) + built_in + each), take(each), take(each)),
        first_run=take(in_run),
        runs=take(drift),
        gears=free[-1],
    )
    found = parts_of(steps, tensors, ASCEND, dynamic=dynamic)
    assert ASCEND.alloc(found.weights) == ASCEND.alloc(weights) or weights == 0
    if dynamic:  # what an object takes and its workspace are the same thing there
        assert found.workspace == max(ASCEND.alloc(workspace) + object_bytes - ASCEND.pad, 0)
        assert found.object_bytes == 0
    else:
        assert ASCEND.alloc(found.workspace) == ASCEND.alloc(workspace) or workspace == 0
        assert found.object_bytes == object_bytes + lazily
    assert (found.overhead, found.drift) == (overhead, drift)


@pytest.mark.parametrize("name", ["mlp", "conv", "dynamic"])
def test_what_is_measured_on_an_emulated_card_is_what_its_ledger_charges(
    request: pytest.FixtureRequest, name: str
) -> None:
    order: ModelOrder = request.getfixturevalue(name)
    library = load_library("emulated", emulated=EmulatedCard(GiB, overhead_bytes=1 << 20))
    gauge = open_gauge("emulated", library, 0)
    card = LiteCard(library, "emulated", "probe", 0)
    found = measure_on_card(order, card, gauge, ASCEND, "emulated", nothing=GiB, runs=5)
    gauge.close()
    known = emulator.calibration(order.path, order.config_path, order.config)
    assert ASCEND.alloc(found.weight_bytes) == ASCEND.alloc(known.weight_bytes)
    assert ASCEND.alloc(found.workspace_bytes) == ASCEND.alloc(known.workspace_bytes)
    assert found.tensor_bytes == known.tensor_bytes
    assert (found.object_bytes, found.drift_bytes, found.overhead_bytes) == (0, 0, 1 << 20)
    assert [gear.gear for gear in found.gears] == list(order.gears or gears_of((2, 3, 16, 16)))
    assert all(gear.execute_ms > 0 for gear in found.gears)


def test_how_a_model_will_share_is_not_measured_as_its_size(conv: ModelOrder) -> None:
    library = load_library("emulated", emulated=EmulatedCard(GiB))
    gauge = open_gauge("emulated", library, 0)
    order = changed(conv, share_weights=False, share_workspace=False)
    card = LiteCard(library, "emulated", "probe", 0)
    found = measure_on_card(order, card, gauge, ASCEND, "emulated", runs=5)
    gauge.close()
    known = emulator.calibration(conv.path, conv.config_path, conv.config)
    assert ASCEND.alloc(found.weight_bytes) == ASCEND.alloc(known.weight_bytes)
    assert ASCEND.alloc(found.workspace_bytes) == ASCEND.alloc(known.workspace_bytes)
    assert found.object_bytes == 0


def test_a_model_without_weights_is_measured_in_no_group(tmp_path: Path) -> None:
    path = write_weightless(tmp_path, "empty", width=4096)
    write_compiled(path, {"x": (4096,)}, weights=0)
    order = ModelOrder("empty", str(path))
    library = load_library("emulated", emulated=EmulatedCard(GiB))
    gauge = open_gauge("emulated", library, 0)
    card = LiteCard(library, "emulated", "probe", 0)
    found = measure_on_card(order, card, gauge, ASCEND, "emulated", runs=5)
    gauge.close()
    known = emulator.calibration(order.path, order.config_path, order.config)
    assert (found.weight_bytes, known.weight_bytes) == (0, 0)
    assert ASCEND.alloc(found.workspace_bytes) == ASCEND.alloc(known.workspace_bytes)
    assert (found.object_bytes, found.tensor_bytes) == (0, (4096 * 4, 4096 * 4))


def test_a_model_of_provider_ge_is_measured_in_a_session_of_its_own(mlp: ModelOrder) -> None:
    library = load_library("emulated", emulated=EmulatedCard(GiB))
    gauge = open_gauge("emulated", library, 0)
    card = LiteCard(library, "emulated", "probe", 0)
    known = emulator.calibration(mlp.path, "", mlp.config)
    order = changed(mlp, provider="ge", share_workspace=False)
    found = measure_ge(order, card, gauge, ASCEND, "emulated", known.weight_bytes)
    gauge.close()
    assert ASCEND.alloc(found.weight_bytes) == ASCEND.alloc(known.weight_bytes)
    assert ASCEND.alloc(found.workspace_bytes) == ASCEND.alloc(known.workspace_bytes)
    assert found.tensor_bytes == known.tensor_bytes
    assert found.object_bytes == 0


def test_a_card_whose_memory_nobody_tells_is_not_measured(conv: ModelOrder) -> None:
    library = load_library("emulated", emulated=EmulatedCard(GiB))
    gauge = Gauge(lambda: None)
    with pytest.raises(LoadError, match=r"nobody tells this card's free memory \(pyACL, npu-smi\)"):
        measure_on_card(conv, LiteCard(library, "emulated", "probe", 0), gauge, ASCEND, "emulated")
    gauge.close()


def test_on_target_cpu_a_model_is_measured_by_the_memory_of_the_process(conv: ModelOrder) -> None:
    library = load_library("emulated", emulated=EmulatedCard(GiB))
    card = LiteCard(library, "cpu", "probe", 0)
    Path(conv.path).write_bytes(bytes(5000))
    found = measure_on_host(conv, card, resident_bytes, "cpu")
    assert found.weight_bytes == 5000
    assert found.tensor_bytes == emulator.calibration(conv.path).tensor_bytes
    assert found.overhead_bytes is None
