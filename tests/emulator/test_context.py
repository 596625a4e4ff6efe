"""Contexts: what can be set, and the texts of what cannot."""

import pytest

from actors.emulator import Context


@pytest.mark.parametrize(
    ("target", "error", "text"),
    [
        ("ascend", TypeError, "target must be list, but got <class 'str'>."),
        (
            ["npu"],
            ValueError,
            "target elements must be in ['cpu', 'gpu', 'ascend'], but got npu.",
        ),
        ([1], TypeError, "target element must be str, but got <class 'int'> at index 0."),
    ],
)
def test_targets_that_are_refused(target, error, text):
    context = Context()
    with pytest.raises(error) as caught:
        context.target = target
    assert str(caught.value) == text
    assert context.target == ["cpu"]


def test_a_target_is_kept_as_given_in_any_case_and_none_is_cpu():
    context = Context()
    context.target = ["Ascend"]
    assert context.target == ["Ascend"]
    context.target = []
    assert str(context) == "target: ['cpu']."


@pytest.mark.parametrize(
    ("device", "name", "value", "error", "text"),
    [
        ("ascend", "device_id", -1, ValueError, "ascend_device_id must be a non-negative int."),
        (
            "ascend",
            "device_id",
            "0",
            TypeError,
            "ascend_device_id must be int, but got <class 'str'>.",
        ),
        ("ascend", "rank_id", -1, ValueError, "ascend_rank_id must be a non-negative int."),
        (
            "ascend",
            "provider",
            None,
            TypeError,
            "ascend_provider must be str, but got <class 'NoneType'>.",
        ),
        (
            "ascend",
            "precision_mode",
            "fp16",
            ValueError,
            "ascend_precision_mode must be in [enforce_fp32, preferred_fp32, enforce_fp16, "
            "enforce_origin, preferred_optimal], but got fp16.",
        ),
        ("cpu", "thread_num", -1, ValueError, "cpu_thread_num must be a non-negative int."),
    ],
)
def test_attributes_that_are_refused(device, name, value, error, text):
    with pytest.raises(error) as caught:
        setattr(getattr(Context(), device), name, value)
    assert str(caught.value) == text


def test_device_settings_may_come_before_or_after_the_target():
    context = Context()
    context.ascend.device_id = 1
    context.target = ["ascend"]
    context.ascend.precision_mode = "enforce_fp32"
    context.cpu.thread_affinity_core_list = [0]
    assert (context.ascend.device_id, context.ascend.provider) == (1, "")
