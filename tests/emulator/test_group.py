"""ModelGroup's rules, each under its name (mindspore_lite 2.7)."""

import os
from pathlib import Path

import pytest

import actors.emulator as lite
from actors.emulator import Model, ModelGroup, ModelGroupFlag, ModelType
from tests import models
from tests.emulator.conftest import Zoo, build, context, predict, share, values

SIZING_FAILED = "ModelGroup's cal max size of workspace failed."
BUILD_FAILED = "build_from_file failed! Error is Common error code."


def shared(device_id: int = 0) -> tuple[bool, bool]:
    """Whether any weights and any workspace are shared on a card."""
    found = lite.memory(device_id)
    return any(entry.object == 0 for entry in found.models), found.workspace > 0


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("SHARE_WEIGHT", (True, False)),
        ("SHARE_WORKSPACE", (False, True)),
        ("SHARE_WEIGHT_WORKSPACE", (True, True)),
    ],
)
def test_each_flag_shares_what_it_says(zoo: Zoo, flag, expected):
    share(zoo.mlp, flag=flag)
    kept = [build(zoo.mlp), build(zoo.mlp)]
    assert shared() == expected
    assert len(kept) == 2


def test_the_default_flag_is_share_workspace(zoo: Zoo):
    group = ModelGroup()
    group.add_model([zoo.mlp])
    group.cal_max_size_of_workspace(ModelType.MINDIR, context())
    kept = build(zoo.mlp)
    assert shared() == (False, True)
    del kept


def test_registration_is_by_sizing_alone_and_without_it_nothing_is_shared_silently(zoo: Zoo):
    group = ModelGroup(ModelGroupFlag.SHARE_WEIGHT_WORKSPACE)
    group.add_model([zoo.mlp])
    kept = build(zoo.mlp)
    assert shared() == (False, False)
    assert lite.memory(0).private > 0
    assert lite.last_native_log() == ""
    del kept


def test_the_first_weight_size_of_a_path_stays(tmp_path):
    path = str(models.write_mlp(tmp_path, "grown", rows=4, width=8))
    share(path, flag="SHARE_WEIGHT")
    models.write_mlp(tmp_path, "grown", rows=4, width=64)
    share(path, flag="SHARE_WEIGHT")
    with pytest.raises(RuntimeError, match=BUILD_FAILED):
        build(path)
    assert "its first sizing saw" in lite.last_native_log()


def test_a_build_before_sizing_shares_nothing_and_does_not_close_the_list(zoo: Zoo):
    early = build(zoo.mlp)
    share(zoo.mlp)
    late = build(zoo.mlp)
    assert shared() == (True, True)
    assert lite.memory(0).private > 0
    del early, late


def test_paths_are_matched_as_exact_strings(zoo: Zoo, tmp_path):
    link = tmp_path / "link.mindir"
    link.with_suffix(".onnx").symlink_to(Path(zoo.mlp).with_suffix(".onnx"))
    share(zoo.mlp)
    folder, name = os.path.split(zoo.mlp)
    others = [f"{folder}/./{name}", f"{folder}//{name}", os.path.relpath(zoo.mlp), str(link)]
    kept = [build(path) for path in others]
    assert shared() == (False, False)
    same = build(zoo.mlp)
    assert shared() == (True, True)
    del kept, same


def test_the_registry_outlives_the_group(zoo: Zoo):
    group = share(zoo.mlp)
    del group
    kept = build(zoo.mlp)
    assert shared() == (True, True)
    del kept


def test_one_workspace_per_device_whatever_the_number_of_groups(zoo: Zoo):
    """The largest's size: not the last one's, nor the sum, which a second as large would double."""
    twin = zoo.conv.replace("/conv.", "/./conv.")
    share(zoo.conv)
    share(twin)
    share(zoo.small, flag="SHARE_WORKSPACE")
    kept = [build(zoo.small), build(zoo.conv), build(twin)]
    largest = max(lite.calibration(path).workspace_bytes for path in (zoo.conv, zoo.small))
    assert lite.memory(0).workspace == lite.registry.LIBRARY.devices[0].rule.alloc(largest)
    assert lite.memory(0).private == 0
    del kept


def test_sizing_widens_the_workspace_even_for_a_group_that_shares_weights_alone(zoo: Zoo):
    share(zoo.conv, flag="SHARE_WEIGHT")
    share(zoo.small, flag="SHARE_WORKSPACE")
    apart = build(zoo.conv)
    assert lite.memory(0).workspace == 0, "nobody uses it yet"
    kept = [apart, build(zoo.small)]
    conv, small = (lite.calibration(path).workspace_bytes for path in (zoo.conv, zoo.small))
    alloc = lite.registry.LIBRARY.devices[0].rule.alloc
    assert lite.memory(0).workspace == lite.memory(0).private == alloc(conv) > alloc(small)
    del kept


def test_two_devices_have_a_workspace_each(zoo: Zoo):
    share(zoo.conv)
    share(zoo.conv, device_id=1)
    kept = [build(zoo.conv), build(zoo.conv, 1)]
    assert lite.memory(0).workspace == lite.memory(1).workspace > 0
    del kept


def test_has_alloc_memory_after_the_first_sharing_build_for_good(zoo: Zoo):
    share(zoo.conv)
    build(zoo.conv)
    for flag in ModelGroupFlag:
        with pytest.raises(RuntimeError) as caught:
            share(zoo.small, flag=flag.name)
        assert str(caught.value) == SIZING_FAILED
        assert "Device 0 has alloc memory!" in lite.last_native_log()
    share(zoo.small, device_id=1)


def test_the_registered_set_can_be_built_again(zoo: Zoo):
    share(zoo.conv)
    build(zoo.conv)
    assert lite.memory(0).workspace == 0
    kept = build(zoo.conv)
    assert lite.memory(0).workspace > 0
    assert predict(kept, values(1, 3, 96, 96))[0].shape == (1, 3, 96, 96)


def test_share_weight_alone_never_closes_the_list(zoo: Zoo):
    share(zoo.mlp, flag="SHARE_WEIGHT")
    kept = [build(zoo.mlp)]
    share(zoo.small, flag="SHARE_WEIGHT")
    kept.append(build(zoo.small))
    assert [entry.path for entry in lite.memory(0).models if entry.object == 0] == [
        zoo.mlp,
        zoo.small,
    ]


def test_a_failed_sizing_wipes_the_registrations_of_every_group(zoo: Zoo, tmp_path):
    share(zoo.mlp)
    garbage = str(models.write_garbage(tmp_path, "bad"))
    with pytest.raises(RuntimeError) as caught:
        share(zoo.small, garbage)
    assert str(caught.value) == SIZING_FAILED
    assert "bad.onnx is not an ONNX model" in lite.last_native_log()
    kept = build(zoo.mlp)
    assert shared() == (False, False)
    del kept


@pytest.mark.parametrize(
    "flags",
    [("SHARE_WEIGHT", "SHARE_WORKSPACE"), ("SHARE_WORKSPACE", "SHARE_WEIGHT")],
)
def test_a_weight_and_a_workspace_registration_of_one_path_merge(zoo: Zoo, flags):
    for flag in flags:
        share(zoo.mlp, flag=flag)
    kept = build(zoo.mlp)
    assert shared() == (True, True)
    del kept


def test_any_other_second_flag_is_ignored(zoo: Zoo):
    share(zoo.mlp, flag="SHARE_WEIGHT")
    share(zoo.mlp, flag="SHARE_WEIGHT_WORKSPACE")
    kept = build(zoo.mlp)
    assert shared() == (True, False)
    del kept


@pytest.mark.parametrize(
    ("flag", "log"),
    [
        ("SHARE_WEIGHT", "Can't get weight mem of device 1"),
        ("SHARE_WORKSPACE", "Get work mem failed!"),
        ("SHARE_WEIGHT_WORKSPACE", "Can't get weight mem of device 1"),
    ],
)
def test_a_registered_path_fails_to_build_on_a_device_that_was_not_sized(zoo: Zoo, flag, log):
    share(zoo.mlp, flag=flag)
    with pytest.raises(RuntimeError) as caught:
        build(zoo.mlp, 1)
    assert str(caught.value) == BUILD_FAILED
    assert log in lite.last_native_log()


def test_a_second_sizing_without_new_paths_succeeds_and_does_nothing(zoo: Zoo):
    group = share(zoo.mlp)
    group.cal_max_size_of_workspace(ModelType.MINDIR, context(1))
    with pytest.raises(RuntimeError, match=BUILD_FAILED):
        build(zoo.mlp, 1)
    group.add_model([zoo.mlp])
    group.cal_max_size_of_workspace(ModelType.MINDIR, context(1))
    assert build(zoo.mlp, 1).get_inputs()


def test_dynamic_models_do_not_share_the_workspace_and_a_warning_says_so(zoo: Zoo, caplog):
    share(zoo.open)
    kept = build(zoo.open)
    assert "Dynamic input model not support share workspace." in caplog.text
    assert lite.memory(0).workspace == 0
    del kept


def test_dynamic_models_that_share_weights_alone_are_no_reason_for_a_warning(zoo: Zoo, caplog):
    share(zoo.open, flag="SHARE_WEIGHT")
    kept = build(zoo.open)
    assert shared() == (True, False)
    assert caplog.text == ""
    del kept


@pytest.mark.parametrize("flag", [flag.name for flag in ModelGroupFlag])
def test_a_model_without_weights_cannot_share(tmp_path, flag):
    path = str(models.write_weightless(tmp_path, "empty"))
    share(path, flag=flag)
    with pytest.raises(RuntimeError, match=BUILD_FAILED):
        build(path)
    assert "Weight size if 0!" in lite.last_native_log()


@pytest.mark.parametrize("key", ["variable_weights_file", "variable_weights_list"])
@pytest.mark.parametrize("flag", [None, *(flag.name for flag in ModelGroupFlag)])
def test_a_model_whose_weights_can_be_updated_cannot_be_a_member(zoo: Zoo, key, flag):
    config = {"ascend_context": {key: "names.txt"}}
    if flag is None:
        assert build(zoo.mlp, config=config).get_inputs(), "it is no member"
        return
    share(zoo.mlp, flag=flag)
    with pytest.raises(RuntimeError, match=BUILD_FAILED):
        build(zoo.mlp, config=config)
    assert "Update weight model don't support mem share!" in lite.last_native_log()


def test_a_device_out_of_range_is_card_0_with_a_warning(zoo: Zoo, caplog):
    share(zoo.conv, device_id=7)
    kept = build(zoo.conv, 9)
    assert lite.memory(0).workspace > 0
    assert "Device id 7 is out of range: 2 visible, device 0 is used." in caplog.text
    del kept


@pytest.mark.parametrize(
    ("added", "error", "text"),
    [
        ("a.mindir", TypeError, "models must be list/tuple, but got <class 'str'>"),
        ((p for p in ["a"]), TypeError, "models must be list/tuple, but got <class 'generator'>"),
        ([], RuntimeError, "models cannot be empty"),
        (
            ["a", 3],
            TypeError,
            "models element must be all str or Model, but got <class 'int'> at index 1.",
        ),
        (
            [Path("a")],
            TypeError,
            f"models element must be all str or Model, but got {type(Path('a'))} at index 0.",
        ),
    ],
)
def test_texts_of_members_that_are_refused(added, error, text):
    with pytest.raises(error) as caught:
        ModelGroup(ModelGroupFlag.SHARE_WEIGHT).add_model(added)
    assert str(caught.value) == text


def test_a_flag_given_as_an_int_is_refused():
    with pytest.raises(RuntimeError) as caught:
        ModelGroup(3)
    assert str(caught.value) == (
        "Parameter flags should be ModelGroupFlag.SHARE_WORKSPACE or "
        "ModelGroupFlag.SHARE_WEIGHT or ModelGroupFlag.kShareWeightAndWorkspace"
    )


def test_paths_that_do_not_exist_are_noticed_by_sizing_only():
    group = ModelGroup(ModelGroupFlag.SHARE_WEIGHT)
    group.add_model(["", "/nowhere/a.mindir"])
    with pytest.raises(RuntimeError, match=SIZING_FAILED):
        group.cal_max_size_of_workspace(ModelType.MINDIR, context())


def test_empty_paths_are_skipped(zoo: Zoo):
    group = ModelGroup(ModelGroupFlag.SHARE_WEIGHT)
    group.add_model(["", zoo.mlp, ""])
    group.cal_max_size_of_workspace(ModelType.MINDIR, context())
    kept = build(zoo.mlp)
    assert shared() == (True, False)
    del kept


def test_wrong_types_to_the_sizing_call():
    group = ModelGroup(ModelGroupFlag.SHARE_WEIGHT)
    with pytest.raises(TypeError, match="context must be Context, but got <class 'int'>"):
        group.cal_max_size_of_workspace(ModelType.MINDIR, 0)
    with pytest.raises(TypeError, match="model_type must be ModelType, but got <class 'int'>"):
        group.cal_max_size_of_workspace(0, context())


def test_ge_is_refused_by_sizing(zoo: Zoo):
    group = ModelGroup(ModelGroupFlag.SHARE_WEIGHT)
    group.add_model([zoo.mlp])
    with pytest.raises(RuntimeError, match=SIZING_FAILED):
        group.cal_max_size_of_workspace(ModelType.MINDIR, context(provider="ge"))
    assert "Not Support GE model" in lite.last_native_log()


def test_a_sizing_refused_for_ge_forgets_no_registration(zoo: Zoo):
    share(zoo.mlp)
    test_ge_is_refused_by_sizing(zoo)
    kept = build(zoo.mlp)
    assert shared() == (True, True)
    del kept


@pytest.mark.parametrize("flag", ["SHARE_WORKSPACE", "SHARE_WEIGHT_WORKSPACE"])
def test_model_objects_share_weights_only(flag):
    with pytest.raises(RuntimeError) as caught:
        ModelGroup(ModelGroupFlag[flag]).add_model([Model()])
    assert str(caught.value) == "ModelGroup's add model failed."
    assert "Only support share weight" in lite.last_native_log()


def test_a_model_belongs_to_one_group_at_most():
    model = Model()
    ModelGroup(ModelGroupFlag.SHARE_WEIGHT).add_model([model])
    with pytest.raises(RuntimeError, match="ModelGroup's add model failed"):
        ModelGroup(ModelGroupFlag.SHARE_WEIGHT).add_model([model])
    assert "model has been in another group" in lite.last_native_log()


def test_model_objects_on_acl_are_accepted_and_share_nothing(zoo: Zoo):
    kept = [Model(), Model()]
    ModelGroup(ModelGroupFlag.SHARE_WEIGHT).add_model(kept)
    for model in kept:
        model.build_from_file(zoo.mlp, ModelType.MINDIR, context())
    assert shared() == (False, False)
    first, second = lite.memory(0).models
    assert first.weights == second.weights > 0
    assert first.private == second.private > 0


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"ge_session_options": {"ge.externalWeight": "1"}}, True),
        ({}, False),
        ({"ge_graph_options": {"ge.externalWeigth": "1"}}, False),
    ],
    ids=["external weights", "none", "misspelled"],
)
def test_a_ge_group_shares_constants_only_with_external_weights(zoo: Zoo, config, expected):
    kept = [Model(), Model()]
    ModelGroup(ModelGroupFlag.SHARE_WEIGHT).add_model(kept)
    for model in kept:
        model.build_from_file(zoo.mlp, ModelType.MINDIR, context(provider="ge"), config_dict=config)
    one = lite.memory(0).weights
    alone = max(entry.weights for entry in lite.memory(0).models)
    assert one == (alone if expected else 2 * alone)
