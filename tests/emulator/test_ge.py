"""GE's rules, each under its name (mindspore_lite 2.7): a group of Model objects is one session."""

import threading

import numpy as np
import pytest

import actors.emulator as lite
from actors.emulator import Model, ModelGroup, ModelGroupFlag, ModelType, Tensor
from tests import models
from tests.emulator.conftest import Zoo, context, predict, reference, values, with_weights_beside

BUILD_FAILED = "build_from_file failed! Error is Common error code."
EXTERNAL = {"ge_session_options": {"ge.externalWeight": "1"}}
Config = dict[str, dict[str, str]]


def build_ge(model: Model, path: str, config: Config | None = None, device_id: int = 0) -> Model:
    made = context(device_id, provider="ge")
    model.build_from_file(path, ModelType.MINDIR, made, config_dict=config)
    return model


def group(count: int) -> list[Model]:
    """Model objects in one group, not built yet."""
    members = [Model() for _ in range(count)]
    ModelGroup(ModelGroupFlag.SHARE_WEIGHT).add_model(members)
    return members


@pytest.fixture(scope="module")
def fine_tune(tmp_path_factory) -> str:
    """The network of ``zoo.mlp`` with other values under the same names."""
    return str(models.write_mlp(tmp_path_factory.mktemp("ge"), "tuned", rows=4, seed=9))


def rounded(nbytes: int) -> int:
    return lite.registry.LIBRARY.devices[0].rule.alloc(nbytes)


def weights_taken() -> int:
    return lite.memory(0).weights


def test_model_objects_added_after_their_build_share_nothing(zoo: Zoo):
    kept = [build_ge(Model(), zoo.mlp, EXTERNAL) for _ in range(2)]
    ModelGroup(ModelGroupFlag.SHARE_WEIGHT).add_model(kept)
    one = rounded(lite.calibration(zoo.mlp).weight_bytes)
    assert weights_taken() == 2 * one


def test_constants_of_one_file_are_held_once_with_external_weights(zoo: Zoo):
    kept = [build_ge(model, zoo.mlp, EXTERNAL) for model in group(3)]
    assert weights_taken() == rounded(lite.calibration(zoo.mlp).weight_bytes)
    x = values(4, 64)
    for model in kept:
        np.testing.assert_allclose(predict(model, x), reference(zoo.mlp, x=x), rtol=1e-5)


def test_a_parameter_name_seen_in_the_session_keeps_the_first_models_values(zoo: Zoo, fine_tune):
    first, second = group(2)
    build_ge(first, zoo.mlp, EXTERNAL)
    build_ge(second, fine_tune, EXTERNAL)
    x = values(4, 64)
    np.testing.assert_allclose(predict(second, x), reference(zoo.mlp, x=x), rtol=1e-5)
    assert not np.allclose(predict(second, x), reference(fine_tune, x=x))
    assert weights_taken() == rounded(lite.calibration(zoo.mlp).weight_bytes)
    assert lite.last_native_log() == ""


def test_weights_in_external_data_are_known_by_name_as_well(zoo: Zoo, fine_tune, tmp_path):
    moved = with_weights_beside(fine_tune, tmp_path)
    first, second, third = group(3)
    for model, path in ((first, zoo.mlp), (second, moved), (third, fine_tune)):
        build_ge(model, path, EXTERNAL)
    x = values(4, 64)
    for model in (second, third):
        np.testing.assert_allclose(predict(model, x), reference(zoo.mlp, x=x), rtol=1e-5)
    assert weights_taken() == rounded(lite.calibration(zoo.mlp).weight_bytes)


def test_the_first_of_two_equal_names_is_the_one_built_first_not_added_first(zoo: Zoo, fine_tune):
    added_first, added_second = group(2)
    build_ge(added_second, fine_tune, EXTERNAL)
    build_ge(added_first, zoo.mlp, EXTERNAL)
    x = values(4, 64)
    np.testing.assert_allclose(predict(added_first, x), reference(fine_tune, x=x), rtol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        None,
        {"ge_graph_options": {"ge.externalWeigth": "1"}},
        {"ge_graph_options": {"ge.externalWeight": "1"}},
        {"ge_global_options": {"ge.externalWeight": "1"}},
        {"ge_session_options": {"ge.externalWeigth": "1"}},
        {"ge_session_options": {"ge.externalWeight": "0"}},
    ],
)
def test_without_external_weights_each_model_keeps_its_own_constants(zoo: Zoo, fine_tune, config):
    first, second = group(2)
    build_ge(first, zoo.mlp, config)
    build_ge(second, fine_tune, config)
    x = values(4, 64)
    np.testing.assert_allclose(predict(second, x), reference(fine_tune, x=x), rtol=1e-5)


def test_equal_names_in_different_groups_have_nothing_to_do_with_each_other(zoo: Zoo, fine_tune):
    kept = [build_ge(group(1)[0], path, EXTERNAL) for path in (zoo.mlp, fine_tune)]
    x = values(4, 64)
    np.testing.assert_allclose(predict(kept[1], x), reference(fine_tune, x=x), rtol=1e-5)


def test_an_equal_name_of_another_shape_fails_the_build(zoo: Zoo, tmp_path):
    other = str(models.write_mlp(tmp_path, "narrow", rows=4, width=32))
    first, second = group(2)
    build_ge(first, zoo.mlp, EXTERNAL)
    with pytest.raises(RuntimeError) as caught:
        build_ge(second, other, EXTERNAL)
    assert str(caught.value) == BUILD_FAILED
    assert "parameter w0 of" in lite.last_native_log()
    assert "is (32, 32), the session has it from" in lite.last_native_log()


def test_unequal_session_options_fail_the_build(zoo: Zoo):
    first, second = group(2)
    build_ge(first, zoo.mlp, EXTERNAL)
    with pytest.raises(RuntimeError) as caught:
        build_ge(second, zoo.mlp)
    assert str(caught.value) == BUILD_FAILED
    assert (
        "Session options is not equal in diff config infos when models' weights are shared"
        in lite.last_native_log()
    )


def test_the_graphs_of_a_session_reuse_one_memory_as_large_as_the_largest(zoo: Zoo):
    small, conv = group(2)
    build_ge(small, zoo.mlp)
    build_ge(conv, zoo.embedding)
    sizes = [lite.calibration(path).workspace_bytes for path in (zoo.mlp, zoo.embedding)]
    assert lite.memory(0).private == rounded(max(sizes))
    assert lite.memory(0).workspace == 0


def test_another_static_memory_policy_gives_each_graph_a_memory_of_its_own(zoo: Zoo):
    config = {"ge_session_options": {"ge.exec.staticMemoryPolicy": "0"}}
    kept = [build_ge(model, zoo.mlp, config) for model in group(2)]
    assert lite.memory(0).private == 2 * rounded(lite.calibration(zoo.mlp).workspace_bytes)
    assert run_together(kept) == []


def run_together(members: list[Model]) -> list[str]:
    """The errors of running every member twice, all from the same moment on."""
    barrier, errors = threading.Barrier(len(members)), list[str]()

    def run(model: Model) -> None:
        barrier.wait()
        try:
            model.predict([values(4, 64)])
            model.predict([values(4, 64)])
        except RuntimeError as error:
            errors.append(f"{error} {lite.last_native_log()}")

    threads = [threading.Thread(target=run, args=(model,)) for model in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_graphs_of_a_session_must_not_run_at_the_same_time(zoo: Zoo):
    config = {"emulated_card": {"execute_ms": "300"}}
    first, second = (build_ge(model, zoo.mlp, config) for model in group(2))
    errors = run_together([first, second])
    assert errors
    assert errors[0].startswith("predict failed! ")
    assert "reuse one memory and must not run at the same time" in errors[0]
    assert len(predict(first, values(4, 64))) == len(predict(second, values(4, 64))) == 1


def test_graphs_of_different_sessions_may_run_at_the_same_time(zoo: Zoo):
    config = {"emulated_card": {"execute_ms": "50"}}
    kept = [build_ge(group(1)[0], zoo.mlp, config) for _ in range(2)]
    assert run_together(kept) == []


def test_input_shapes_follow_the_tensors_and_resize_is_not_needed(zoo: Zoo):
    model = build_ge(Model(), zoo.open)
    for rows in (2, 4):
        found = model.predict([Tensor(values(rows, 64))])[0].get_data_to_numpy()
        np.testing.assert_allclose(found, reference(zoo.open, x=values(rows, 64))[0], atol=1e-6)


def test_every_ge_model_runs_on_the_device_of_the_first(zoo: Zoo, caplog):
    first = build_ge(Model(), zoo.mlp, device_id=1)
    before = lite.memory(1).weights
    second = build_ge(Model(), zoo.mlp, device_id=0)
    assert lite.memory(0).weights == 0
    assert lite.memory(1).weights == 2 * before
    assert "GE is initialized on device 1 already" in caplog.text
    del first, second


def test_a_session_that_outgrows_the_card_is_refused_and_nothing_else_changes(zoo: Zoo):
    one = lite.calibration(zoo.mlp)
    parts = [one.weight_bytes, one.workspace_bytes, *one.tensor_bytes]
    room = sum(rounded(part) for part in parts)
    lite.configure([room])
    first, second = group(2)
    build_ge(first, zoo.mlp, EXTERNAL)
    before = lite.memory(0)
    with pytest.raises(RuntimeError, match=BUILD_FAILED):
        build_ge(second, zoo.mlp, EXTERNAL)
    assert "Malloc device memory failed" in lite.last_native_log()
    assert lite.memory(0).card_memory == before.card_memory


def test_the_memory_of_a_session_comes_back_with_its_last_model(zoo: Zoo):
    members = group(2)
    for model in members:
        build_ge(model, zoo.mlp)
    del model
    members.clear()
    assert lite.memory(0).models == ()
