import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.gears import (
    check_gears,
    config_gears,
    format_gears,
    format_shapes,
    parse_gears,
    parse_input_shape,
    parse_sections,
)
from actors.shapes import Gear


def gear(**shapes: tuple[int, ...]) -> Gear:
    return Gear(tuple(shapes.items()))


def test_each_bracket_closes_the_open_dimensions_of_one_gear():
    assert parse_gears("x:[-1,3,48,-1]", "[1,320],[6,320]") == (
        gear(x=(1, 3, 48, 320)),
        gear(x=(6, 3, 48, 320)),
    )


def test_each_input_has_a_section_of_its_own():
    gears = parse_gears("x:[-1,64];mask:[-1,16]; k:[2]", "[1],[2] ; [3],[4] ; [],[]")
    assert gears == (gear(x=(1, 64), mask=(3, 16), k=(2,)), gear(x=(2, 64), mask=(4, 16), k=(2,)))
    assert parse_gears("x:[-1,64];mask:[-1,16];k:[2]", "[1],[2];[3],[4]") == gears


def test_a_range_is_every_size_in_it_and_a_gear_counts_once():
    batches = [g.inputs[0][1][0] for g in parse_gears("x:[-1,3]", "[1~4],[8],[4],[16]")]
    assert batches == [1, 2, 3, 4, 8, 16]


def test_a_range_in_two_dimensions_is_their_product():
    assert len(parse_gears("x:[1,-1,-1]", "[1~2,5~7]")) == 6


def test_a_fixed_shape_is_one_gear_and_a_name_may_hold_colons():
    assert parse_gears("image:0:[1,3,32,32]", "") == (Gear((("image:0", (1, 3, 32, 32)),)),)


def test_quotes_are_no_part_of_the_value():
    assert parse_gears('"x:[-1]"', '"[1],[2]"') == (gear(x=(1,)), gear(x=(2,)))


@pytest.mark.parametrize(
    ("input_shape", "dynamic_dims", "text"),
    [
        ("", "", "input_shape names no input"),
        ("x", "", "input_shape: expected name:[1,3,48,48], got 'x'"),
        ("x:[1];x:[2]", "", "input_shape names input 'x' twice"),
        ("x:[0]", "", "input_shape: input x: '0' is no dimension (a size, or -1)"),
        ("x:[-2]", "", "input_shape: input x: '-2' is no dimension (a size, or -1)"),
        ("x:[-1]", "", "input_shape leaves dimensions of x open and there is no dynamic_dims"),
        (
            "x:[-1,-1]",
            "[1]",
            "dynamic_dims: input x: [1] has 1 values for 2 dimensions that are -1",
        ),
        ("x:[-1]", "1,2", "dynamic_dims: input x: expected [1,320],[6,320], got '1,2'"),
        ("x:[-1]", "[1][2]", "dynamic_dims: input x: expected [1,320],[6,320], got '[1][2]'"),
        ("x:[-1]", "[0]", "dynamic_dims: input x: '0' is no size or range (8, or 1~4)"),
        ("x:[-1]", "[4~1]", "dynamic_dims: input x: range '4~1' runs backwards"),
        (
            "x:[-1]",
            "[1~1000000000]",
            "dynamic_dims: input x: range '1~1000000000' is more than the 100 gears that the "
            "converter takes",
        ),
        (
            "x:[-1,-1]",
            "[1~60,1~2]",
            "dynamic_dims has 120 gears and the converter takes 100",
        ),
        (
            "x:[-1];y:[-1]",
            "[1],[2];[1]",
            "dynamic_dims gives the inputs different numbers of gears (x: 2, y: 1)",
        ),
        (
            "x:[-1];y:[-1]",
            "[1],[2]",
            "dynamic_dims has 1 sections (separated by ;) for 2 inputs",
        ),
        ("x:[2]", "[3]", "dynamic_dims: input x has no -1 and so takes no values"),
    ],
)
def test_a_text_out_of_format_is_refused_by_name(input_shape, dynamic_dims, text):
    with pytest.raises(ValueError) as caught:
        parse_gears(input_shape, dynamic_dims)
    assert str(caught.value) == text


NAMES = ("x", "attention_mask", "image:0", "b/c.d")


@st.composite
def gear_lists(draw) -> tuple[Gear, ...]:
    ranks = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    size = st.integers(1, 5)
    one = st.lists(size, min_size=sum(ranks), max_size=sum(ranks)).map(tuple)
    gears = []
    for dims in draw(st.lists(one, min_size=1, max_size=5, unique=True)):
        rest = iter(dims)
        shapes = [tuple(next(rest) for _ in range(rank)) for rank in ranks]
        gears.append(Gear(tuple(zip(NAMES, shapes, strict=False))))
    return tuple(gears)


@settings(max_examples=40)
@given(gear_lists())
def test_what_is_formatted_reads_back_the_same(gears):
    assert parse_gears(*format_gears(gears)) == gears


@settings(max_examples=40)
@given(gear_lists())
def test_shapes_read_back_the_same(gears):
    assert parse_input_shape(format_shapes(gears[0])) == gears[0].inputs


def test_gears_must_agree_in_names_and_ranks():
    with pytest.raises(ValueError, match="no gears"):
        check_gears([])
    with pytest.raises(ValueError, match=r"gears\[1\] has inputs y, gears\[0\] x"):
        check_gears([gear(x=(1,)), gear(y=(1,))])
    with pytest.raises(ValueError, match=r"gears\[1\] gives input x 2 dimensions, gears\[0\] 1"):
        check_gears([gear(x=(1,)), gear(x=(1, 2))])


def test_a_config_says_gears_or_nothing():
    assert config_gears({}) is None
    assert config_gears({"ascend_context": {"precision_mode": "enforce_fp16"}}) is None
    assert config_gears({"ascend_context": {"input_shape": "x:[-1,3]"}}) is None
    assert config_gears({"ascend_context": {"input_shape": "x:[4,3]"}}) == (gear(x=(4, 3)),)
    with pytest.raises(ValueError, match="dynamic_dims needs input_shape beside it"):
        config_gears({"ascend_context": {"dynamic_dims": "[1]"}})


def test_sections_keep_case_and_drop_comments_and_quotes():
    text = '# made by hand\n[ascend_context]\ninput_shape = "x:[1]"\n; old\n[acl]\nGe.Mode=a=b\n'
    assert parse_sections(text) == {
        "ascend_context": {"input_shape": "x:[1]"},
        "acl": {"Ge.Mode": "a=b"},
    }


def test_a_line_that_is_no_config_is_named():
    with pytest.raises(ValueError, match=r"line 2: expected \[section\] or key=value, got 'oops'"):
        parse_sections("[a]\noops\n")
    with pytest.raises(ValueError, match=r"line 1: key stands before any \[section\]"):
        parse_sections("key=value\n")
