"""Whatever a file holds, it loads or is refused in words of ours."""

import copy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from orchestrator.config import Deployment, load_deployment, parse_deployment
from orchestrator.config.yaml_file import YamlError, parse_yaml
from orchestrator.errors import DeploymentError

GOOD = (Path(__file__).parent / "good" / "every_field.yaml").read_text(encoding="utf-8")
DATA = YAML(typ="safe", pure=True).load(GOOD)
WORDS = [
    "",
    "x",
    "det",
    "160MiB",
    "5ms",
    "local/0",
    "none",
    "-1",
    "9" * 400,
    "\u0000",
    "~x",
    "s3://x",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=2)
    ),
    max_leaves=4,
)


def places(data: object, at: tuple = ()) -> list[tuple]:
    items = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    below = [place for key, value in items for place in places(value, (*at, key))]
    return [at, *below] if at else below


def outcome(data: object) -> Deployment | None:
    try:
        return parse_deployment(data)
    except DeploymentError as error:
        assert str(error)
        assert "is not valid" not in str(error)
        return None


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(places(DATA)), VALUES), min_size=1, max_size=3))
def test_any_value_anywhere(changes):
    data = copy.deepcopy(DATA)
    for place, value in changes:
        at = data
        try:
            for part in place[:-1]:
                at = at[part]
            at[place[-1]] = value
        except (TypeError, KeyError, IndexError):
            continue  # an earlier change took this place away
    made = outcome(data)
    assert made is None or parse_deployment(made.as_data()) == made


@settings(max_examples=30)
@given(
    st.integers(0, len(GOOD) - 1),
    st.sampled_from(["", "\n", "\t", ":", "-", "[", "&a ", "*a", "!", "\x00"]),
)
def test_any_slip_of_the_finger(position, typed):
    text = GOOD[:position] + typed + GOOD[position + 1 :]
    try:
        data, _, _ = parse_yaml(text)
    except YamlError as error:
        assert "\n" not in str(error)
    else:
        outcome(data)


def test_a_misplaced_value_is_refused_with_its_line(tmp_path):
    path = tmp_path / "d.yaml"
    path.write_text("name: ocr\ncards: {kind: {a: 1}}\nmodels: []\n")
    with pytest.raises(DeploymentError) as caught:
        load_deployment(path)
    assert caught.value.problems[0] == "2: cards.kind: a mapping is none of ascend, cpu, emulated"
