"""What the scenarios have in common: the library of a card kind, its memory, and the report."""

import argparse
import functools
import importlib
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from actors import device
from actors.claims.process import convert_apart
from actors.machine import environment
from actors.machine.gauge import Gauge, open_gauge
from actors.messages import Array, CardKind, Provider

#: Bytes of an emulated card.
CAPACITY = 256 << 20
MIB = 1 << 20
#: How much larger than on an emulated card the networks' sides are: on a real card what is shared
#: must stand out from what other processes do meanwhile.
SCALE: Mapping[CardKind, int] = {"emulated": 1, "ascend": 4}

#: Builds and runs models on cards, sharing or not; returns the bytes taken on each card.
Scenario = Callable[[ModuleType, Path, bool], Mapping[str, int]]


def compare(scenario: Scenario, title: str, cards: int = 1) -> dict[str, tuple[int, int]]:
    """Run a scenario with and without sharing, print both, and return both by card."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--kind", choices=["emulated", "ascend"], default="emulated")
    kind = parser.parse_args().kind
    require_cards(parser, kind, cards)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        shared, alone = (_in_fresh_process(scenario, kind, cards, folder, s) for s in (True, False))
    print(f"{title} ({kind})")
    for name, nbytes in shared.items():
        print(f"  {name}: {nbytes / MIB:.1f} MiB shared, {alone[name] / MIB:.1f} MiB without")
    return {name: (shared[name], alone[name]) for name in shared}


def require_cards(parser: argparse.ArgumentParser, kind: CardKind, cards: int) -> None:
    """End the script with a usage error where the library or so many cards are not here."""
    if kind != "ascend":
        return
    found = environment.inspect(kind=kind)
    lacking = [str(finding) for finding in found if finding.stops and not finding.ok]
    if not lacking:
        here = device.count(os.environ, (file.name for file in device.DEVICES.iterdir()))
        lacking = [f"cards: found {here}, wanted {cards}"] * (here < cards)
    if lacking:
        parser.error(f"--kind ascend cannot run here: {'; '.join(lacking)}")


def context(library: ModuleType, device_id: int, provider: str = "") -> Any:  # noqa: ANN401
    """A new Context: every Model has its own, and every group one more."""
    made = library.Context()
    made.target = ["ascend"]
    made.ascend.device_id = device_id
    made.ascend.provider = provider
    return made


def converted(library: ModuleType, path: str, provider: Provider = "acl") -> str:
    """The path, once there is a MindIR; an emulated card serves the ``.onnx`` itself.

    Converting takes memory and native libraries of its own, so another process does it.
    """
    if kind_of(library) == "ascend" and not Path(path).exists():
        convert_apart([path], provider)
    return path


def kind_of(library: ModuleType) -> CardKind:
    """Of the cards that the library drives."""
    return "emulated" if library.__name__ == "actors.emulator" else "ascend"


def scale(library: ModuleType) -> int:
    """What the sides of a scenario's networks are multiplied by."""
    return SCALE[kind_of(library)]


def used_bytes(library: ModuleType, device_id: int) -> int:
    """What is taken of a card: asked of pyACL, or of the emulated card's ledger."""
    found = _gauge(library, device_id).read()
    if found is None:
        raise RuntimeError(f"nobody tells the memory of card {device_id}: pyACL is needed for it")
    return found.total - found.free


@functools.cache
def _gauge(library: ModuleType, device_id: int) -> Gauge:
    """One for each card: it has a thread of its own, in which the card is set once."""
    kind = kind_of(library)
    npu_id = device.own_npu_id(device_id) if kind == "ascend" else ""
    return open_gauge(kind, library, device_id, npu_id)


def run(model: Any) -> Array:  # noqa: ANN401
    """Predict once on ones. The answer is copied: the next call may overwrite it."""
    inputs = model.get_inputs()
    for tensor in inputs:
        tensor.set_data_from_numpy(np.ones(tensor.shape, np.float32))
    answer: Array = model.predict(inputs)[0].get_data_to_numpy().copy()
    return answer


def close(one: Array, other: Array) -> bool:
    """Whether two answers are the same but for rounding: a card may compute in float16."""
    return np.allclose(one, other, rtol=1e-2, atol=1e-2)


def _in_fresh_process(
    scenario: Scenario, kind: str, cards: int, folder: Path, share: bool
) -> Mapping[str, int]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (scenario, kind, cards, folder, share))


def _measure(
    scenario: Scenario, kind: str, cards: int, folder: Path, share: bool
) -> Mapping[str, int]:
    library = importlib.import_module("mindspore_lite" if kind == "ascend" else "actors.emulator")
    if kind == "emulated":
        library.configure([CAPACITY] * cards)
    return scenario(library, folder, share)
