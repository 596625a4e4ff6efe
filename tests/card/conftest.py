"""Small real models with their measured footprints, and cards that are stopped after each test."""

import functools
import importlib
import math
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from actors import emulator
from actors.card import CardActor
from actors.gears import DYNAMIC_DIMS, INPUT_SHAPE, SECTION, format_gears, format_shapes
from actors.machine import verdicts
from actors.memory import ASCEND, Sizes, footprint
from actors.messages import Array, CardOrder, ModelOrder, Reply, Request
from actors.shapes import Gear
from tests import models

GiB = 1 << 30
STANDINS = Path(__file__).parent / "standins"


def gears_of(*shapes: tuple[int, ...]) -> tuple[Gear, ...]:
    return tuple(Gear((("x", shape),)) for shape in shapes)


def planned(order: ModelOrder) -> ModelOrder:
    """The order with the footprint that a plan would charge it."""
    found = emulator.calibration(order.path, order.config_path, order.config)
    sizes = Sizes(
        found.weight_bytes, found.workspace_bytes, found.tensor_bytes, dynamic=found.dynamic
    )
    charged = footprint(
        order.name,
        sizes,
        ASCEND,
        threads=order.threads,
        share_weights=order.share_weights,
        share_workspace=order.share_workspace,
    )
    return replace(order, footprint=charged)


def changed(order: ModelOrder, **changes: Any) -> ModelOrder:
    """The same model with other threads, sharing or options, charged accordingly."""
    made = replace(order, **changes)
    assert made.footprint is not None
    charged = replace(
        made.footprint,
        threads=made.threads,
        share_weights=made.share_weights,
        share_workspace=made.share_workspace,
    )
    return replace(made, footprint=charged)


def with_times(order: ModelOrder, execute_ms: float) -> ModelOrder:
    """The same model on an emulated card that takes this long for each batch."""
    own = {**order.config.get("emulated_card", {}), "execute_ms": f"{execute_ms:g}"}
    return replace(order, config={**order.config, "emulated_card": own})


def card_order(*orders: ModelOrder, **changes: Any) -> CardOrder:
    return CardOrder("local/0", "emulated", changes.pop("capacity_bytes", GiB), orders, **changes)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def mlp(folder: Path) -> ModelOrder:
    """``x [1 or 4, 64]``: gears, named by the driver in the configuration."""
    path = models.write_mlp(folder, "mlp")
    gears = gears_of((1, 64), (4, 64))
    input_shape, dynamic_dims = format_gears(gears)
    config = {SECTION: {INPUT_SHAPE: input_shape, DYNAMIC_DIMS: dynamic_dims}}
    return planned(ModelOrder("mlp", str(path), gears=gears, config=config))


@pytest.fixture(scope="session")
def conv(folder: Path) -> ModelOrder:
    """``x [2, 3, 16, 16]``: a fixed shape, and a larger workspace."""
    path = models.write_conv(folder, "conv", rows=2, size=(16, 16))
    return planned(ModelOrder("conv", str(path)))


@pytest.fixture(scope="session")
def words(folder: Path) -> ModelOrder:
    """``ids int64 [4, 6]``: indices from 50 on make the library itself fail."""
    return planned(ModelOrder("words", str(models.write_embedding(folder, "words", rows=4))))


@pytest.fixture(scope="session")
def dynamic(folder: Path) -> ModelOrder:
    """``x [up to 8, 64]``: purely dynamic."""
    path = models.write_mlp(folder, "dynamic", seed=1)
    gears = gears_of((8, 64))
    config = {"emulated_card": {"max_shape": format_shapes(gears[0])}}
    order = ModelOrder(
        "dynamic", str(path), gears=gears, dynamic=True, share_workspace=False, config=config
    )
    return planned(order)


Load = Callable[..., CardActor]


@pytest.fixture
def load() -> Iterator[Load]:
    """Load a card with these models; it is stopped at the end."""
    cards: list[CardActor] = []

    def loaded(*orders: ModelOrder, **changes: Any) -> CardActor:
        card = CardActor()
        cards.append(card)
        card.identify("node", "0", 0)
        card.load(card_order(*orders, **changes))
        return card

    yield loaded
    for card in cards:
        card.stop()
    emulator.reset()


def ask(card: CardActor, model: str, *inputs: dict[str, Array]) -> list[Reply]:
    return card.predict_many([Request(n, model, arrays) for n, arrays in enumerate(inputs)])


def answer(card: CardActor, model: str, **inputs: Array) -> dict[str, Array]:
    [reply] = ask(card, model, inputs)
    if reply.error is not None:
        raise reply.error
    assert reply.outputs is not None
    return dict(reply.outputs)


@functools.cache
def engine(path: str) -> ort.InferenceSession:
    return ort.InferenceSession(
        str(Path(path).with_suffix(".onnx")), providers=["CPUExecutionProvider"]
    )


def expected(order: ModelOrder, **inputs: Array) -> dict[str, Array]:
    """What the engine says without any card, at exactly these shapes."""
    session = engine(order.path)
    names = [output.name for output in session.get_outputs()]
    native = {
        name: np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        for name, array in inputs.items()
    }
    return dict(zip(names, session.run(names, native), strict=True))


class Door:
    """Before the library's models of a card, shut until it is opened: what runs there stays.

    ``came``: the model of each batch that came to it, in order; ``waiting``: how many stand there.
    """

    def __init__(self, card: CardActor, *names: str) -> None:
        self.came: list[str] = []
        self.waiting = 0
        self._changed, self._free = threading.Condition(), 0.0
        for name in names:
            for place in card._work._idle[name]:
                place.target._model = _Behind(self, name, place.target._model)

    def __enter__(self) -> "Door":
        return self

    def __exit__(self, *_: object) -> None:
        self.open()

    def open(self) -> None:
        with self._changed:
            self._free = math.inf
            self._changed.notify_all()

    def let_one_in(self) -> None:
        """If one stands there, and none was let in that has not gone yet."""
        with self._changed:
            if self.waiting and not self._free:
                self._free = 1.0
                self._changed.notify()

    def enter(self, name: str) -> None:
        with self._changed:
            self.came.append(name)
            self.waiting += 1
            self._changed.wait_for(lambda: self._free > 0)
            self._free -= 1
            self.waiting -= 1


class _Behind:
    """One of the library's models behind a door."""

    def __init__(self, door: Door, name: str, model: Any) -> None:
        self._door, self._name, self._model = door, name, model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, tensors: list[Any]) -> Any:
        self._door.enter(self._name)
        return self._model.predict(tensors)


def stacks() -> dict[int, set[str]]:
    """The functions that each thread is in at this moment."""
    frames = sys._current_frames().items()
    return {
        thread: {one.f_code.co_name for one, _ in traceback.walk_stack(frame)}
        for thread, frame in frames
    }


def threads_in(function: str) -> set[int]:
    """Those that are in a function now: ``predict`` of the library, for example."""
    return {thread for thread, names in stacks().items() if function in names}


def rows(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, 64)).astype(np.float32)


class Vendor:
    """The stand-ins, with their settings."""

    def __init__(self) -> None:
        self.lite: ModuleType = importlib.import_module("mindspore_lite")
        self.acl: ModuleType = importlib.import_module("acl")


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Vendor]:
    """Both packages importable, one card of a GiB, nothing of it left afterwards."""
    monkeypatch.syspath_prepend(STANDINS)
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    made = Vendor()
    emulator.configure([GiB], release=made.lite.RELEASE)
    yield made
    made.lite.logging.getLogger("actors.emulator").removeHandler(made.lite._handler)
    for name in ("mindspore_lite", "acl"):
        sys.modules.pop(name, None)
    emulator.reset()


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    (tmp_path / "davinci0").touch()
    return tmp_path


def ascend(*orders: ModelOrder, **changes: object) -> CardOrder:
    return replace(card_order(*orders), kind="ascend", memory_wait_seconds=0, **changes)


@pytest.fixture
def real_file(conv: ModelOrder) -> ModelOrder:
    """The genuine library reads the .mindir itself."""
    Path(conv.path).write_bytes(b"not looked into here")
    return conv


@pytest.fixture
def no_verdicts() -> Iterator[None]:
    """A node on which nothing was tried yet."""
    shutil.rmtree(verdicts.folder(), ignore_errors=True)
    yield
    shutil.rmtree(verdicts.folder(), ignore_errors=True)
