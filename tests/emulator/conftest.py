"""Models that are measured once for all emulator tests, and a fresh card for each test."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

import actors.emulator as lite
from actors.emulator import Context, Model, ModelGroup, ModelGroupFlag, ModelType, Tensor
from tests import models


@dataclass(frozen=True)
class Zoo:
    """Paths of tiny models, as strings: their spelling is what the library goes by."""

    conv: str
    small: str
    mlp: str
    gears: str
    open: str
    pair: str
    embedding: str


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    folder = tmp_path_factory.mktemp("zoo")
    return Zoo(
        conv=str(models.write_conv(folder, "conv", rows=1, size=(96, 96))),
        small=str(models.write_conv(folder, "small", rows=1, size=(16, 16), seed=1)),
        mlp=str(models.write_mlp(folder, "mlp", rows=4)),
        gears=str(models.write_mlp(folder, "gears", gears=(1, 4))),
        open=str(models.write_mlp(folder, "open")),
        pair=str(models.write_pair(folder, "pair", rows=2)),
        embedding=str(models.write_embedding(folder, "embedding")),
    )


@pytest.fixture(autouse=True)
def fresh_library() -> Iterator[None]:
    lite.configure([64 << 20, 64 << 20])
    yield
    lite.reset()


def with_weights_beside(path: str, folder: Path) -> str:
    """The same model in another folder, with its weights in a file of their own."""
    copy = folder / Path(path).name
    onnx.save(
        onnx.load(str(Path(path).with_suffix(".onnx"))),
        str(copy.with_suffix(".onnx")),
        save_as_external_data=True,
        location=f"{copy.stem}.data",
        size_threshold=0,
    )
    return str(copy)


def context(device_id: int = 0, provider: str = "") -> Context:
    made = Context()
    made.target = ["ascend"]
    made.ascend.device_id = device_id
    made.ascend.provider = provider
    return made


def build(path: str, device_id: int = 0, config: dict[str, dict[str, str]] | None = None) -> Model:
    model = Model()
    model.build_from_file(path, ModelType.MINDIR, context(device_id), config_dict=config)
    return model


def share(*paths: str, flag: str = "SHARE_WEIGHT_WORKSPACE", device_id: int = 0) -> ModelGroup:
    """Declare and size, in the order that the library needs."""
    group = ModelGroup(ModelGroupFlag[flag])
    group.add_model(list(paths))
    group.cal_max_size_of_workspace(ModelType.MINDIR, context(device_id))
    return group


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


def filled(model: Model, *arrays: np.ndarray) -> list[Tensor]:
    tensors = model.get_inputs()
    for tensor, array in zip(tensors, arrays, strict=True):
        tensor.set_data_from_numpy(array)
    return tensors


def reference(path: str, **feeds: np.ndarray) -> list[np.ndarray]:
    """What a plain session of the engine answers."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(Path(path).with_suffix(".onnx")), providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def predict(model: Model, *arrays: np.ndarray) -> list[np.ndarray]:
    """Run and copy the outputs."""
    return [tensor.get_data_to_numpy().copy() for tensor in model.predict(list(arrays))]
