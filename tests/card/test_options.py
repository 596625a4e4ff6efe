"""Options in the wrong place or spelling are told; what is like nothing known is a warning."""

import pytest

from actors.files.options import option_findings


def lines(options):
    return [str(finding) for finding in option_findings(options)]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"ge_graph_options": {"ge.externalWeigth": "1"}},
            "[ge_graph_options] ge.externalWeigth: found an option that nothing reads, wanted "
            "[ge_session_options] ge.externalWeight: write ge.externalWeight=1 under "
            "[ge_session_options]",
        ),
        (
            {"ge_session_options": {"ge.externalweight": "1"}},
            "[ge_session_options] ge.externalweight: found an option that nothing reads, wanted "
            "[ge_session_options] ge.externalWeight: write ge.externalWeight=1 under "
            "[ge_session_options]",
        ),
        (
            {"ge_global_options": {"ge.externalWeight": "1"}},
            "[ge_global_options] ge.externalWeight: found an option that nothing reads, wanted "
            "[ge_session_options] ge.externalWeight: write ge.externalWeight=1 under "
            "[ge_session_options]",
        ),
        (
            {"ge_session_option": {"ge.externalWeight": "1"}},
            "[ge_session_option]: found a section that nothing reads, wanted "
            "[ge_session_options]: rename the section to [ge_session_options]",
        ),
        (
            {"ascend_context": {"precision_mod": "enforce_fp16"}},
            "[ascend_context] precision_mod: found an option that nothing reads, wanted "
            "[ascend_context] precision_mode: write precision_mode=enforce_fp16 under "
            "[ascend_context]",
        ),
        (
            {"acl_build_options": {"ge.externalWeigth": "1"}},
            "[acl_build_options] ge.externalWeigth: found an option that nothing reads, wanted "
            "[acl_build_options] ge.externalWeight: write ge.externalWeight=1 under "
            "[acl_build_options]",
        ),
        (
            {"ascend_context": {"ge.externalWeight": "1"}},
            "[ascend_context] ge.externalWeight: found an option that nothing reads, wanted "
            "[ge_session_options] ge.externalWeight: write ge.externalWeight=1 under "
            "[ge_session_options]",
        ),
        (
            {"ge_session_options": {"input_shape": "x:[1,3]"}},
            "[ge_session_options] input_shape: found an option that nothing reads, wanted "
            "[ascend_context] input_shape: write input_shape=x:[1,3] under [ascend_context]",
        ),
        (
            {"ascend_context": {"rank_table_file": "rank.json"}},
            "[ascend_context] rank_table_file: found a rank table (rank.json), wanted no rank "
            "table: a process owns one card: remove it: models that are split over several cards "
            "are not supported",
        ),
        (
            {"ascend_context": {"shareable_weight_pid_list": "1,2"}},
            "[ascend_context] shareable_weight_pid_list: found weights shared between processes "
            "(1,2), wanted none: a card has one process: remove it: the library passes it over for "
            "a model that is in a group",
        ),
    ],
)
def test_what_does_nothing_is_told_with_what_was_meant(options, line):
    assert lines(options) == [line]


@pytest.mark.parametrize(
    ("section", "key", "warns"),
    [
        ("ge_session_options", "input_shape", True),
        ("ge_global_options", "ge.exec.staticMemoryPolicie", True),
        ("ge_session_options", "ge.externalWeigth", False),
        ("ascend_context", "input_shap", False),
    ],
)
def test_of_what_is_handed_on_to_others_only_what_is_known_to_do_nothing_is_to_be_fixed(
    section, key, warns
):
    (finding,) = option_findings({section: {key: "1"}})
    assert (finding.warns, finding.ok) == (warns, warns)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ge_session_options": {"ge.externalWeight": "1", "ge.exec.staticMemoryPolicy": "2"}},
        {"ascend_context": {"input_shape": "x:[-1,3]", "dynamic_dims": "[1],[4]"}},
        {"acl_build_options": {"ge.externalWeight": "1", "input_shape": "x:1,3"}},
        {"acl_init_options": {"ge.exec.precision_mode": "force_fp16"}},
        {"ge_session_options": {"ge.graphMemoryMaxSize": "1", "ge.variableMemoryMaxSize": "1"}},
        {"ge_session_options": {"ge.externalWeightDir": "/w", "ge.exec.precision_mode": "x"}},
        {"ge_global_options": {"ge.exec.staticMemoryPolicy": "2", "device_id": "0"}},
        {"ge_graph_options": {"ge.exec.modify_mixlist": "x.json", "ge.inputShape": "x:1"}},
        {"ascend_context": {"variable_weights_list": "w.txt", "outputs_to_variable": "[0]"}},
        {"emulated_card": {"execute_ms": "1"}},
    ],
)
def test_what_is_right_is_passed_over(options):
    assert lines(options) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"ascend_context": {"of_a_later_release": "1"}}, "[ascend_context] of_a_later_release"),
        ({"of_a_later_release": {"key": "1"}}, "[of_a_later_release]"),
    ],
)
def test_what_is_like_nothing_known_is_a_warning(options, told):
    (finding,) = option_findings(options)
    kind = "an option" if " " in told else "a section"
    assert finding.warns
    assert str(finding) == (
        f"{told}: found {kind} that MindSpore Lite 2.7 does not read, wanted one that is read: "
        "take it out, unless the documentation of your release has it"
    )
