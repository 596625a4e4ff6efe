"""What a model takes and what it refuses, and in which words."""

import re

import numpy as np
import pytest

from actors.errors import InvalidRequestError
from actors.shapes import (
    OPEN,
    BatchRule,
    Gear,
    Padding,
    Signature,
    TensorSpec,
    bucket,
    check,
    check_rule,
    choose_gear,
    row_limit,
)


def gear(*shape: int) -> Gear:
    return Gear((("x", shape),))


IMAGE = TensorSpec("image", "float32", (4, 3, 8, 8))
FIXED = Signature((IMAGE,), (), (Gear((("image", (4, 3, 8, 8)),)),))
PAIR = Signature(
    (TensorSpec("ids", "int64", (OPEN, 6)), TensorSpec("mask", "int64", (OPEN, 6))),
    (),
    tuple(Gear((("ids", (n, 6)), ("mask", (n, 6)))) for n in (2, 8)),
)
WIDTHS = Signature(
    (TensorSpec("x", "float32", (OPEN, 3, OPEN)),),
    (),
    (gear(1, 3, 320), gear(6, 3, 320), gear(1, 3, 640), gear(4, 3, 640)),
)
DYNAMIC = Signature(
    (TensorSpec("x", "float32", (OPEN, 3, OPEN)),), (), (gear(8, 3, 128),), dynamic=True
)
WIDE = BatchRule(padding=(Padding("x", 2),))


def refusal(signature: Signature, inputs: object, rule: BatchRule | None = None) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        check(signature, rule or BatchRule(), "m", inputs)  # type: ignore[arg-type]
    return str(caught.value)


def test_rows_of_good_requests() -> None:
    assert check(FIXED, BatchRule(), "m", {"image": np.zeros((2, 3, 8, 8), np.float32)}) == 2
    assert check(FIXED, BatchRule(), "m", {"image": np.zeros((9, 3, 8, 8), np.float32)}) == 9
    assert check(FIXED, BatchRule(axis=None), "m", {"image": np.zeros((4, 3, 8, 8), "f4")}) == 1


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.ones((4, 3, 8, 8), np.float32)),
        np.ones((4, 3, 8, 8), ">f4"),
        np.ones((4, 3, 8, 16), np.float32)[..., ::2],
    ],
)
def test_any_layout_and_byte_order_is_taken(array: np.ndarray) -> None:
    assert check(FIXED, BatchRule(), "m", {"image": array}) == 4


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"imagee": np.zeros((1, 3, 8, 8), "f4")}, r"input 'imagee': did you mean 'image'\?"),
        ({"zz": np.zeros(1)}, r"input 'zz': did you mean 'image'\? It takes image float32 \(4, 3"),
        (
            {"image": np.zeros((1, 3, 8, 8), "f4"), "zz": 0},
            r"input 'zz': no such input. It takes i",
        ),
        ({}, r"missing input image. It takes image float32"),
        ([1, 2], r"inputs are a list, not a mapping of names to arrays"),
        ({"image": [[1.0]]}, r"input image is a list, not a numpy array"),
        ({"image": np.zeros((1, 3, 8, 8))}, r"dtype float64; .* float32: convert .*astype"),
        ({"image": np.empty((1,), object)}, r"dtype object \(a ragged list\?\)"),
        ({"image": np.zeros((3, 8, 8), "f4")}, r"has 3 dimensions \(3, 8, 8\); the model takes 4"),
        ({"image": np.zeros((1, 3, 8, 9), "f4")}, r"image \(1, 3, 8, 9\) fits no gear: .*exactly"),
        ({"image": np.zeros((0, 3, 8, 8), "f4")}, r"input image has no rows: .* is empty"),
    ],
)
def test_refusals_say_what_is_wrong(inputs: object, told: str) -> None:
    text = refusal(FIXED, inputs)
    assert text.startswith("model m: ")
    assert re.search(told, text), text


def test_inputs_must_agree_about_rows() -> None:
    ids, mask = np.zeros((2, 6), "i8"), np.zeros((3, 6), "i8")
    assert "differ in rows on axis 0: ids has 2, mask has 3" in refusal(
        PAIR, {"ids": ids, "mask": mask}
    )
    assert "missing input mask" in refusal(PAIR, {"ids": ids})


def test_another_axis_is_padded_only_where_declared() -> None:
    narrow = {"x": np.zeros((2, 3, 100), "f4")}
    text = refusal(WIDTHS, narrow)
    assert "x (6, 3, 320)" in text
    assert "declared padding: none" in text
    assert check(WIDTHS, WIDE, "m", narrow) == 2
    assert bucket(WIDTHS, WIDE, narrow) == ((3, 320),)
    assert "fits no gear" in refusal(WIDTHS, {"x": np.zeros((2, 3, 641), "f4")}, WIDE)


def test_the_smallest_gear_that_holds_the_rows() -> None:
    key = ((3, 320),)
    assert row_limit(WIDTHS, WIDE, key) == 6
    assert choose_gear(WIDTHS, WIDE, key, 1) == gear(1, 3, 320)
    assert choose_gear(WIDTHS, WIDE, key, 2) == gear(6, 3, 320)
    assert row_limit(WIDTHS, WIDE, ((3, 640),)) == 4
    assert row_limit(WIDTHS, BatchRule(max_batch=2), key) == 2


def test_dynamic_models_run_at_their_own_shape_up_to_the_declared_one() -> None:
    x = {"x": np.zeros((3, 3, 50), "f4")}
    key = bucket(DYNAMIC, BatchRule(), x)
    assert choose_gear(DYNAMIC, BatchRule(), key, 3) == gear(3, 3, 50)
    assert row_limit(DYNAMIC, BatchRule(), key) == 8
    assert bucket(DYNAMIC, WIDE, x) == ((3, 128),)
    assert "at most x (8, 3, 128)" in refusal(DYNAMIC, {"x": np.zeros((3, 3, 129), "f4")})
    assert "fits no gear" in refusal(DYNAMIC, {"x": np.zeros((3, 3, 0), "f4")})
    alone = BatchRule(axis=None)
    assert choose_gear(DYNAMIC, alone, bucket(DYNAMIC, alone, x), 1) == gear(3, 3, 50)
    assert "fits no gear" in refusal(DYNAMIC, {"x": np.zeros((9, 3, 50), "f4")}, alone)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (BatchRule(padding=(Padding("y", 1),)), "padding names input 'y', and the inputs are x"),
        (BatchRule(padding=(Padding("x", 0),)), "the batch axis (0) is padded anyway"),
        (BatchRule(padding=(Padding("x", 3),)), "on axis 3: it has axes 0 to 2"),
        (BatchRule(axis=3), "batching.axis is 3 and input x has 3 dimensions"),
    ],
)
def test_rules_that_do_not_suit_the_model(rule: BatchRule, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        check_rule(WIDTHS, rule)


def test_inputs_of_one_gear_agree_on_the_batch_axis() -> None:
    odd = Signature(PAIR.inputs, (), (Gear((("ids", (2, 6)), ("mask", (1, 6)))),))
    with pytest.raises(ValueError, match=r"ids \(2, 6\), mask \(1, 6\) differ on the batch axis 0"):
        check_rule(odd, BatchRule())
