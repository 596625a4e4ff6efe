"""The ledger: the same bytes as the planner's arithmetic, and a card that can be full."""

import gc

import pytest

import actors.emulator as lite
from actors import memory
from actors.emulator import Model
from tests.emulator.conftest import Zoo, build, share

RULES = {
    "ascend": memory.ASCEND,
    "exact": memory.EXACT,
    "own": memory.AllocationRule(pad=100, granule=512, large_granule=65536, large_above=20000),
}
LARGEST = {"emulated_card": {"max_shape": "x:[6,64]"}}


def sizes(path: str, config: dict[str, dict[str, str]] | None = None) -> memory.Sizes:
    found = lite.calibration(path, config_dict=config)
    return memory.Sizes(
        weights=found.weight_bytes,
        workspace=found.workspace_bytes,
        tensors=found.tensor_bytes,
        dynamic=found.dynamic,
    )


SHARING = {
    None: (False, False),
    "SHARE_WEIGHT": (True, False),
    "SHARE_WORKSPACE": (False, True),
    "SHARE_WEIGHT_WORKSPACE": (True, True),
}


@pytest.mark.parametrize(
    ("rule", "flag", "threads"),
    [
        *(("own", flag, threads) for flag in SHARING for threads in (1, 3)),
        *((rule, "SHARE_WEIGHT_WORKSPACE", 3) for rule in ("ascend", "exact")),
    ],
)
def test_the_ledger_agrees_with_the_plan_to_the_byte(zoo: Zoo, rule, flag, threads):
    weights, workspace = SHARING[flag]
    lite.configure([64 << 20], rule=RULES[rule], overheads=[12345])
    fixed = [zoo.conv, zoo.mlp, zoo.gears, zoo.pair]
    if flag:
        share(*fixed, zoo.open, flag=flag)
    kept = [build(path) for path in fixed for _ in range(threads)]
    kept += [build(zoo.open, config=LARGEST) for _ in range(threads)]
    planned = memory.card_memory(
        [
            memory.footprint(
                path,
                sizes(path, config),
                RULES[rule],
                threads=threads,
                share_weights=weights,
                share_workspace=workspace,
            )
            for path, config in [*((path, None) for path in fixed), (zoo.open, LARGEST)]
        ],
        overhead=12345,
    )
    assert lite.memory(0).card_memory == planned
    assert len(kept) == 5 * threads


def test_models_sharing_one_gear_model_take_its_largest_gear(zoo: Zoo):
    kept = build(zoo.gears)
    found = lite.calibration(zoo.gears)
    assert [gear.tensor_bytes for gear in found.gears] == [(256, 256), (1024, 1024)]
    assert lite.memory(0).io == 2 * memory.ASCEND.alloc(1024)
    assert found.workspace_bytes == max(gear.workspace for gear in found.gears)
    del kept


def test_a_build_beyond_the_capacity_fails_and_the_log_has_the_numbers(zoo: Zoo):
    kept = build(zoo.conv)
    need = lite.memory(0).card_memory.total
    del kept
    lite.configure([2 * need - 1])
    kept = build(zoo.conv)
    with pytest.raises(RuntimeError) as caught:
        build(zoo.conv)
    assert str(caught.value) == "build_from_file failed! Error is Common error code."
    free = need - 1
    assert f"device 0 has {free:,} bytes free" in lite.last_native_log()
    assert lite.memory(0).card_memory.total == need
    del kept


def test_exactly_the_capacity_is_enough(zoo: Zoo):
    kept = build(zoo.conv)
    need = lite.memory(0).card_memory.total
    del kept
    lite.configure([need])
    assert build(zoo.conv).get_inputs()


def test_a_shared_workspace_that_does_not_fit_is_refused(zoo: Zoo):
    weights = memory.ASCEND.alloc(lite.calibration(zoo.conv).weight_bytes)
    lite.configure([weights])
    share(zoo.conv)
    with pytest.raises(RuntimeError, match="Common error code"):
        build(zoo.conv)
    assert "bytes for the shared workspace" in lite.last_native_log()


def test_overhead_counts(zoo: Zoo):
    lite.configure([1 << 20], overheads=[1 << 20])
    with pytest.raises(RuntimeError, match="Common error code"):
        build(zoo.small)
    assert "device 0 has 0 bytes free" in lite.last_native_log()


def test_a_dropped_model_gives_its_own_memory_back_and_shared_memory_stays(zoo: Zoo):
    share(zoo.conv)
    first, second = build(zoo.conv), build(zoo.conv)
    before = lite.memory(0)
    del second
    gc.collect()
    after = lite.memory(0)
    assert after.io == before.io // 2
    assert (after.weights, after.workspace) == (before.weights, before.workspace)
    del first
    gc.collect()
    assert lite.memory(0).card_memory.total == 0


def test_shared_weights_of_other_paths_stay_until_the_process_ends(zoo: Zoo):
    share(zoo.conv, zoo.mlp)
    first, last = build(zoo.conv), build(zoo.mlp)
    conv = next(entry.weights for entry in lite.memory(0).models if entry.path == zoo.conv)
    del first, last
    gc.collect()
    assert lite.memory(0).weights == conv


def test_the_engines_own_cost_is_kept_apart(zoo: Zoo):
    model = build(zoo.open)
    before = lite.memory(0)
    model.resize(model.get_inputs(), [[2, 64]])
    after = lite.memory(0)
    assert after.engine_bytes == before.engine_bytes
    assert after.card_memory.total > before.card_memory.total
    share(zoo.mlp, flag="SHARE_WEIGHT")
    kept = [build(zoo.mlp) for _ in range(3)]
    peak = lite.calibration(zoo.mlp).workspace_bytes
    slack = next(entry.slack for entry in lite.memory(0).models if entry.slack)
    assert slack == pytest.approx(0.3 * 3 * peak, rel=0.01)
    assert len(kept) == 3


def test_cards_have_a_ledger_each(zoo: Zoo):
    kept: list[Model] = [build(zoo.conv, 0), build(zoo.mlp, 1)]
    assert [entry.path for entry in lite.memory(0).models] == [zoo.conv]
    assert [entry.path for entry in lite.memory(1).models] == [zoo.mlp]
    with pytest.raises(IndexError):
        lite.memory(2)
    assert len(kept) == 2


def test_reset_forgets_everything(zoo: Zoo):
    share(zoo.mlp)
    kept = build(zoo.mlp)
    lite.reset()
    assert lite.memory(0).card_memory.total == 0
    share(zoo.mlp)
    again = build(zoo.mlp)
    assert lite.memory(0).workspace > 0
    del kept
    gc.collect()
    assert lite.memory(0).workspace > 0
    del again


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (([],), "0 capacities, 0 overheads and 0 names"),
        (([1], {"overheads": [1, 2]}), "1 capacities, 2 overheads and 1 names"),
        (([-1],), "must not be negative: [-1]"),
        (([1], {"release": "1.9"}), "not supported yet: release 1.9; known: 2.0, 2.3.1, 2.7, 2.8"),
    ],
)
def test_cards_that_cannot_be_configured(arguments, text):
    positional, named = arguments[0], (arguments[1] if len(arguments) > 1 else {})
    with pytest.raises(ValueError) as caught:
        lite.configure(positional, **named)
    assert text in str(caught.value)
