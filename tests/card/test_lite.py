"""The library's sharp edges: files, groups, shapes and layouts, each caught before it cuts."""

import functools
import importlib.util
import pickle
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors import emulator
from actors.diagnosis import import_cure
from actors.errors import LibraryError, LoadError, PredictError
from actors.files.build_config import takes
from actors.lite import EmulatedCard, LiteCard, group_flag, library_name, load_library
from actors.memory import Footprint
from actors.messages import Arrays, ModelOrder
from actors.model_object import ModelObject
from actors.shapes import Gear
from tests import models
from tests.card.conftest import GiB, changed, expected, gears_of, rows


def emulated() -> LiteCard:
    library = load_library("emulated", emulated=EmulatedCard(GiB))
    return LiteCard(library, "emulated", "local/0", 0)


class Counting(LiteCard):
    """Keeps the contexts that it hands to the library."""

    def _context(self, order: ModelOrder | None) -> object:
        made = super()._context(order)
        self.contexts = [*getattr(self, "contexts", []), made]
        return made


def copied(outputs: Arrays) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in outputs.items()}


@pytest.mark.parametrize(
    ("weights", "workspace", "dynamic", "card", "flag", "flag_of_one_thread"),
    [
        (True, True, False, True, "SHARE_WEIGHT_WORKSPACE", "SHARE_WEIGHT_WORKSPACE"),
        (True, False, False, True, "SHARE_WEIGHT", None),
        (False, True, False, True, "SHARE_WORKSPACE", "SHARE_WORKSPACE"),
        (False, False, False, True, None, None),
        (True, True, True, True, "SHARE_WEIGHT", None),
        (False, True, True, True, None, None),
        (True, True, False, False, "SHARE_WEIGHT", None),
    ],
)
def test_the_flag_for_what_a_model_shares(
    weights: bool,
    workspace: bool,
    dynamic: bool,
    card: bool,
    flag: str | None,
    flag_of_one_thread: str | None,
) -> None:
    for threads, wanted in ((2, flag), (1, flag_of_one_thread)):
        order = ModelOrder(
            "m",
            "m.mindir",
            threads=threads,
            share_weights=weights,
            share_workspace=workspace,
            dynamic=dynamic,
        )
        assert group_flag(order, share_workspace=card) == wanted


def test_files_that_are_no_models(tmp_path: Path, mlp: ModelOrder) -> None:
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "folder.onnx").mkdir()
    models.write_garbage(tmp_path, "garbage")
    cases = {
        "missing.mindir": "an emulated card serves missing.onnx beside it, which does not exist",
        "garbage.onnx": "the path of a model must end in .mindir",
        "empty.mindir": "the file is empty",
        "folder.mindir": "it is a folder, not a model file",
        "garbage.mindir": "likely causes: the file is damaged or not a model",
    }
    for name, told in cases.items():
        bad = replace(mlp, name="bad", path=str(tmp_path / name), footprint=None)
        with pytest.raises(LoadError) as caught:
            emulated().declare([mlp, bad])
        assert told in str(caught.value)
        assert "bad" in caught.value.model
        assert name in caught.value.path


def test_a_model_without_weights_is_built_in_no_group(tmp_path: Path, mlp: ModelOrder) -> None:
    """The library would refuse it there."""
    card = emulated()
    order = ModelOrder("empty", str(models.write_weightless(tmp_path, "empty")))
    card.declare([order, mlp])
    empty, full = card.build(order), card.build(mlp)
    given = np.array([0, 1], np.float32)
    found = empty.predict(empty.signature.gears[0], [given], copied)["y"]
    np.testing.assert_allclose(found, np.exp(given), rtol=1e-6)
    private = {entry.path: entry.private for entry in emulator.memory(0).models}
    assert private[order.path] > 0
    assert private[mlp.path] == 0, "it shares as before"
    assert full.signature.inputs


def test_a_model_without_weights_that_was_planned_with_some_is_told_what_to_set(
    tmp_path: Path,
) -> None:
    card = emulated()
    wrong = Footprint("empty", weights=4096, workspace=4096, io=8192)
    path = str(models.write_weightless(tmp_path, "empty"))
    order = ModelOrder("empty", path, footprint=wrong)
    card.declare([order])
    with pytest.raises(LoadError, match=r"empty has no weights, which its plan did not know, and"):
        card.build(order)


def test_an_output_without_elements_has_its_shape_and_type(tmp_path: Path) -> None:
    """The library shows another one, or dies of a division by the number of elements."""
    card = emulated()
    order = ModelOrder("found", str(models.write_found(tmp_path, "found", rows=2)))
    card.declare([order])
    target = card.build(order)
    gear = target.signature.gears[0]
    nothing, found = (
        target.predict(gear, [np.array(values, np.float32)], copied)["y"]
        for values in ([[0, 0], [0, 0]], [[0, 7], [0, 0]])
    )
    assert (nothing.shape, nothing.dtype) == ((2, 0), np.int64)
    assert found.tolist() == [[0], [1]]


def test_a_failed_sizing_tells_the_native_cause(tmp_path: Path, mlp: ModelOrder) -> None:
    bad = replace(mlp, name="bad", path=str(models.write_garbage(tmp_path, "garbage")))
    with pytest.raises(LoadError, match="cal max size of workspace failed") as caught:
        emulated().declare([bad])
    assert "native log: " in str(caught.value)
    assert "not an ONNX model" in str(caught.value)


def test_what_the_library_misses_among_options_is_a_failed_load_too(
    tmp_path: Path, mlp: ModelOrder
) -> None:
    """Release 2.7 looks for a section that nobody wrote, and raises KeyError."""
    file = tmp_path / "update.ini"
    file.write_text("[ascend_context]\nvariable_weights_file=names.txt\n")
    alone = changed(mlp, share_weights=False, share_workspace=False)
    order = replace(alone, config_path=str(file), config={"acl_build_options": {"a": "b"}})
    card = emulated()
    card.declare([order])
    with pytest.raises(LoadError, match="ascend_context"):
        card.build(order)


def test_a_model_whose_weights_can_be_updated_is_refused_in_a_group_before_it_is_sized(
    mlp: ModelOrder,
) -> None:
    updated = {**mlp.config, "ascend_context": {"variable_weights_list": "w0:w0"}}
    order = changed(mlp, config=updated)
    with pytest.raises(LoadError, match="takes no such model into a group: leave out variable_w"):
        emulated().declare([order])
    assert emulator.memory(0).card_memory.total == 0
    alone = changed(order, share_weights=False, share_workspace=False)
    card = emulated()
    card.declare([alone])
    assert card.build(alone).signature.inputs


def test_a_batch_that_is_not_what_it_says_never_reaches_the_library(mlp: ModelOrder) -> None:
    card = emulated()
    card.declare([mlp])
    target = card.build(mlp)
    four = gears_of((4, 64))[0]
    x = rows(4)
    wrong = {
        "is >f4, not native float32": x.astype(">f4"),
        "is <f8, not native float32": x.astype("f8"),
        "(contiguous: False)": np.asfortranarray(x),
        "has shape (2, 64)": rows(2),
    }
    for told, array in wrong.items():
        with pytest.raises(PredictError, match=re.escape(told)):
            target.predict(four, [array], copied)
    got = target.predict(four, [x], copied)["y"]
    np.testing.assert_allclose(got, expected(mlp, x=x)["y"], rtol=1e-5, atol=1e-6)


def test_a_gear_that_was_not_compiled_fails_and_spoils_nothing(mlp: ModelOrder) -> None:
    card = emulated()
    card.declare([mlp])
    target = card.build(mlp)
    with pytest.raises(PredictError, match="resize failed!"):
        target.predict(gears_of((3, 64))[0], [rows(3)], copied)
    x = rows(1)
    got = target.predict(gears_of((1, 64))[0], [x], copied)["y"]
    np.testing.assert_allclose(got, expected(mlp, x=x)["y"], rtol=1e-5, atol=1e-6)


def test_a_model_that_was_left_with_wrong_shapes_is_cured_by_the_call_after_the_next(
    mlp: ModelOrder,
) -> None:
    card = emulated()
    card.declare([mlp])
    target, four, x = card.build(mlp), gears_of((4, 64))[0], rows(4)
    want = target.predict(four, [x], copied)["y"]
    with suppress(RuntimeError):
        target._model.predict(
            [emulator.Tensor(rows(3))]
        )  # which no call of ours makes: it poisons the object
    with pytest.raises(PredictError, match="predict failed!"):
        target.predict(four, [x], copied)
    np.testing.assert_array_equal(target.predict(four, [x], copied)["y"], want)


def test_models_are_sized_and_built_on_the_process_s_own_card(mlp: ModelOrder) -> None:
    library = load_library("emulated", device_id=1, emulated=EmulatedCard(GiB))
    card = LiteCard(library, "emulated", "local/1", 1)
    card.declare([mlp])
    kept = card.build(mlp)
    assert library.memory(1).workspace > 0
    assert library.memory(0).card_memory.total == 0
    del kept


def test_a_model_is_built_with_its_precision_and_the_group_is_sized_without(
    mlp: ModelOrder, conv: ModelOrder
) -> None:
    library = load_library("emulated", emulated=EmulatedCard(GiB))
    card = Counting(library, "emulated", "local/0", 0)
    orders = [replace(mlp, precision="enforce_fp16"), conv]
    card.declare(orders)
    kept = [card.build(order) for order in orders]
    modes = [made.ascend.precision_mode for made in card.contexts]
    assert modes == ["", "enforce_fp16", ""]
    assert len(kept) == 2


def test_numpy_integers_in_shapes_reach_the_library_as_its_own(mlp: ModelOrder) -> None:
    odd = np.int64(4)
    order = replace(mlp, gears=gears_of((odd, np.int64(64))))
    card = emulated()
    card.declare([order])
    got = card.build(order).predict(order.gears[0], [rows(4)], copied)["y"]
    np.testing.assert_allclose(got, expected(mlp, x=rows(4))["y"], rtol=1e-5, atol=1e-6)


def test_a_dynamic_model_takes_no_more_than_was_planned_for(dynamic: ModelOrder) -> None:
    card = emulated()
    card.declare([dynamic])
    target = card.build(dynamic)
    taken = emulator.memory(0).card_memory
    with pytest.raises(PredictError) as caught:
        target.predict(gears_of((9, 64))[0], [rows(9)], copied)
    assert str(caught.value) == (
        "card local/0: model dynamic failed: input x has shape (9, 64), and the card's memory is "
        "planned for max_shape (8, 64)"
    )
    assert emulator.memory(0).card_memory == taken, "the library never saw it"
    with pytest.raises(LoadError, match="its shapes are open and no max_shape is declared"):
        emulated().declare([replace(dynamic, gears=None)])


def test_a_missing_input_never_reaches_the_library(mlp: ModelOrder) -> None:
    card = emulated()
    card.declare([mlp])
    with pytest.raises(PredictError, match="0 inputs, the model takes 1"):
        card.build(mlp).predict(gears_of((4, 64))[0], [], copied)


def test_all_kinds_of_models_share_one_card_in_the_groups_that_suit_them(
    mlp: ModelOrder, conv: ModelOrder, dynamic: ModelOrder
) -> None:
    """Static, with gears and purely dynamic: sized together, then built in any order."""
    library = load_library("emulated", emulated=EmulatedCard(GiB))
    card = Counting(library, "emulated", "local/0", 0)
    orders = [conv, mlp, replace(dynamic, threads=2)]
    card.declare(orders)
    flags = [group_flag(order) for order in orders]
    assert flags == ["SHARE_WEIGHT_WORKSPACE", "SHARE_WEIGHT_WORKSPACE", "SHARE_WEIGHT"]
    built = [card.build(order) for order in reversed(orders) for _ in range(order.threads)]
    assert len(set(map(id, card.contexts))) == 2 + len(built), "one for each, one for each group"
    ledger = library.memory(0)
    assert ledger.workspace == max(o.footprint.workspace for o in (conv, mlp) if o.footprint)
    assert dynamic.footprint is not None
    assert ledger.private == 2 * dynamic.footprint.workspace


def test_an_import_error_that_preloading_cures_says_what_to_preload() -> None:
    told = "/opt/lib/libgomp.so.1: cannot allocate memory in static TLS block"
    assert "export LD_PRELOAD=/opt/lib/libgomp.so.1 before starting Ray" in import_cure(told)
    assert "CANN environment" in import_cure("libgraph.so: cannot open shared object file")
    assert import_cure("No module named 'x'") == ""


def test_a_fixed_model_is_never_resized(conv: ModelOrder) -> None:
    card = emulated()
    card.declare([conv])
    target = card.build(conv)
    other = Gear((("x", (1, 3, 16, 16)),))
    with pytest.raises(PredictError, match="the model is fixed to"):
        target.predict(other, [np.zeros((1, 3, 16, 16), np.float32)], copied)


def test_a_model_of_ge_takes_shapes_from_its_tensors_and_is_never_resized(
    mlp: ModelOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = changed(mlp, provider="ge", share_workspace=False)
    card = emulated()
    card.declare([order])
    target = card.build(order)
    resized: list[object] = []
    monkeypatch.setattr(target._model, "resize", lambda *arguments: resized.append(arguments))
    for count in (4, 1, 4):
        x = rows(count, seed=count)
        y = target.predict(gears_of((count, 64))[0], [x], copied)["y"]
        np.testing.assert_allclose(y, expected(mlp, x=x)["y"], rtol=1e-5, atol=1e-6)
    assert resized == []


def _old(model_path: str, config_path: str = "") -> None:
    """As release 2.0 has it."""


def _new(model_path: str, config_path: str = "", config_dict: object = None) -> None:
    """As later ones have it."""


def _hidden(function: Callable[..., None]) -> Callable[..., None]:
    """As the library decorates it."""

    def wrapper(*args: object, **kwargs: object) -> None:
        function(*args, **kwargs)

    return wrapper


class _Bridge:
    """Hands on to another process whatever it is given."""

    def build(self, *args: object, **kwargs: object) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("function", "has_it"),
    [
        (_old, False),
        (_new, True),
        (_hidden(_old), False),
        (_hidden(_new), True),
        (_hidden(_hidden(_new)), True),
        (functools.wraps(_old)(_hidden(len)), False),
        (functools.wraps(_new)(_hidden(len)), True),
        (_Bridge().build, False),
        (_hidden(_Bridge().build), False),
    ],
)
def test_options_go_as_a_dictionary_only_where_that_is_seen_to_be_taken(
    function: Callable[..., None], has_it: bool
) -> None:
    assert takes(function, "config_dict") is has_it


class _Typed:
    """A Model of the vendor's whose one input has a type that not every layer has a name for."""

    def __init__(self, dtype: object) -> None:
        self.name, self.shape, self.dtype = "ids", [1, 4], dtype

    def get_inputs(self) -> list["_Typed"]:
        return [self]


@pytest.mark.parametrize(
    ("dtype", "told"),
    [(None, "unknown"), (emulator.DataType.UNKNOWN, "unknown")],
    ids=["the Python layer has no name for it", "the native layer has none"],
)
def test_a_type_that_numpy_does_not_have_is_told_with_its_tensor(dtype: object, told: str) -> None:
    with pytest.raises(ValueError, match=rf"^tensor ids is of type {told}, which numpy does not"):
        ModelObject(
            _Typed(dtype), ModelOrder("m", "m.mindir"), "slot", lambda error, written: str(error)
        )


def test_a_library_that_is_not_there_says_how_to_get_it() -> None:
    if importlib.util.find_spec("mindspore_lite"):
        pytest.skip("the genuine mindspore_lite is installed here")
    with pytest.raises(LibraryError) as caught:
        load_library("ascend")
    assert "cards of kind ascend cannot be used here: mindspore_lite: found none, wanted 2." in str(
        caught.value
    )
    assert "Install the vendor's cloud wheel" in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)


@pytest.mark.ascend
def test_the_genuine_library_is_used_where_it_is_installed() -> None:
    pytest.importorskip("mindspore_lite", reason="the genuine mindspore_lite is not installed")
    assert library_name(load_library("ascend")).startswith("mindspore_lite ")
