"""The four scenarios through the driver API, which groups, orders and locks by itself.

``python -m examples.seed.driven`` runs all of them on five emulated cards; name some to run only
those, and with ``--kind ascend`` on as many real cards: one for each scenario, two for two_cards.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from actors.claims.networks import write_conv, write_mlp
from actors.claims.process import convert_apart
from actors.messages import CardKind, Provider
from examples.seed import five_threads, ge_pair, two_cards
from examples.seed.cards import SCALE, close, require_cards
from orchestrator import Deployment, Orchestrator

CAPACITY = "256MiB"
MIB = 1 << 20

#: Writes a scenario's networks, their sides so many times as long as on an emulated card; returns
#: its models, by card, counted from the scenario's first.
Write = Callable[[Path, int], list[tuple[int, dict[str, Any]]]]


def one_card(folder: Path, scale: int) -> list[tuple[int, dict[str, Any]]]:
    """Two models of one card: one workspace."""
    return [(0, _conv(folder, "one", size * scale)) for size in two_cards.CARDS[0]]


def two(folder: Path, scale: int) -> list[tuple[int, dict[str, Any]]]:
    """Two models on each of two cards: a workspace for each card, as large as its larger one's."""
    return [
        (card, _conv(folder, f"card{card}", size * scale))
        for card, sizes in two_cards.CARDS.items()
        for size in sizes
    ]


def five(folder: Path, scale: int) -> list[tuple[int, dict[str, Any]]]:
    """One model in five threads: one copy of its weights."""
    path = write_mlp(folder, "five", 1, five_threads.WIDTH * scale)
    return [(0, {"name": "five", "path": path, "threads": five_threads.THREADS})]


def ge(folder: Path, scale: int) -> list[tuple[int, dict[str, Any]]]:
    """Two GE graphs of one network: one session, which holds its constants once."""
    width = ge_pair.WIDTH * scale
    return [
        (0, {"name": f"ge{rows}", "path": write_mlp(folder, f"ge{rows}", rows, width)})
        for rows in (1, 8)
    ]


SCENARIOS: dict[str, Write] = {
    "one_card": one_card,
    "two_cards": two,
    "five_threads": five,
    "ge_pair": ge,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Plan, run every model, print what each card takes and what it would without sharing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(SCENARIOS)}; all by default")
    parser.add_argument("--kind", choices=["emulated", "ascend"], default="emulated")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.scenario if name not in SCENARIOS]
    if unknown:
        parser.error(f"there is no scenario {unknown[0]!r}: {', '.join(SCENARIOS)}")
    chosen = options.scenario or list(SCENARIOS)
    require_cards(parser, options.kind, len(chosen) + chosen.count("two_cards"))
    print(f"{', '.join(chosen)} by the driver ({options.kind})", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        deployment, titles = deploy(chosen, options.kind, Path(folder))
        run(deployment, titles)


def deploy(
    chosen: Sequence[str], kind: CardKind, folder: Path
) -> tuple[Deployment, dict[str, str]]:
    """One deployment of several scenarios, each with cards of its own, named by their slots."""
    models: list[dict[str, Any]] = []
    titles: dict[str, str] = {}
    for name in chosen:
        first = len(titles)
        provider: Provider = "ge" if name == "ge_pair" else "acl"
        written = SCENARIOS[name](folder, SCALE[kind])
        if kind == "ascend":  # an emulated card serves the .onnx itself
            convert_apart([model["path"] for _, model in written], provider)
        for card, model in written:
            slot = f"local/{first + card}"
            titles[slot] = name
            models.append({**model, "provider": provider, "cards": [slot]})
    cards: dict[str, Any] = {"kind": kind, "count": len(titles)}
    if kind == "emulated":
        cards["capacity"] = CAPACITY
    return Deployment.model_validate({"name": "seed", "cards": cards, "models": models}), titles


def run(deployment: Deployment, titles: dict[str, str]) -> None:
    """Thirty loops of every model in each of its threads, then the memory of every card."""
    with Orchestrator(deployment, address="local") as running:
        for model in deployment.models:
            handle = running.model(model.name)
            page = {"x": np.ones(handle.signature.inputs[0].shape, np.float32)}
            answers = list(handle.map([page] * (five_threads.LOOPS * model.threads)))
            assert all(close(answer["y"], answers[0]["y"]) for answer in answers)
        for card in running.status().cards:
            taken = card.measured_bytes
            shared = "not measured" if taken is None else f"{taken / MIB:.1f} MiB"
            alone = card.unshared_bytes
            without = "not known" if alone is None else f"{alone / MIB:.1f} MiB"
            print(f"  {titles[card.slot]}, {card.slot}: {shared} shared, {without} without")


def _conv(folder: Path, name: str, size: int) -> dict[str, Any]:
    name = f"{name}_{size}"
    return {"name": name, "path": write_conv(folder, name, size)}


if __name__ == "__main__":
    main()
