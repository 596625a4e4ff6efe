"""Placement problems made from seeds, as public JSON: four mixes of models, four kinds of problem.

Sizes and times are drawn, not measured: lognormal around a median, clipped to a range.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Record = dict[str, Any]
MIB = 1 << 20
GOALS = ("memory", "load", "tight", "loose")
#: Share of the memory-only cards' time that the demand takes.
_LOAD = 0.85
#: Spread of the demands around their median.
_SIGMA = 0.8


@dataclass(frozen=True)
class CardSort:
    """A kind of card: bytes in MiB and relative speed."""

    name: str
    capacity: int
    overhead: int
    speed: float

    @property
    def room(self) -> int:
        """Bytes for models."""
        return (self.capacity - self.overhead) * MIB


P310 = CardSort("310P", 21504, 1536, 1.0)
B32 = CardSort("910B-32G", 32768, 3072, 3.0)
B64 = CardSort("910B-64G", 65536, 3072, 4.0)


@dataclass(frozen=True)
class Cell:
    """One kind of problem: mix, goal, models, and whether cards are of two kinds.

    Goals: ``memory`` and ``load`` ask for the fewest cards, without demand and with it; ``tight``
    and ``loose`` for the largest alpha on the cards of a memory-only packing, and on 1.2 x those.
    Mixed problems also cap the replicas of a fifth of the models.
    """

    mix: str
    goal: str
    models: int
    mixed: bool = False

    def __str__(self) -> str:
        return f"{self.mix}/{self.goal}/{self.models}/{'mixed' if self.mixed else 'same'}"

    @classmethod
    def parse(cls, text: str) -> "Cell":
        """Read ``zipf/tight/300/mixed``."""
        mix, goal, models, cards = text.split("/")
        if mix not in MIXES or goal not in GOALS or cards not in ("same", "mixed"):
            raise ValueError(f"no such cell: {text}")
        return cls(mix, goal, int(models), cards == "mixed")


def make(cell: Cell, seed: int) -> Record:
    """The cell's problem of this seed."""
    index = (*MIXES, "").index(cell.mix)
    rng = np.random.default_rng([seed, index, GOALS.index(cell.goal), cell.models, cell.mixed])
    mix = MIXES[cell.mix]
    models = [
        {**record, "name": f"m{number}"}
        for number, record in enumerate(mix.draw(rng, cell.models), 1)
    ]
    sorts = (mix.card, mix.other) if cell.mixed else (mix.card,)
    need = packed(models, [sort.room for sort in sorts])
    supply = {"tight": need, "loose": math.ceil(1.2 * need)}.get(cell.goal, 2 * need + 2)
    slots = [sorts[index % len(sorts)] for index in range(supply)]
    if cell.goal == "memory":
        for model in models:
            del model["demand_rps"]
    else:
        speeds = [sorts[index % len(sorts)].speed for index in range(need)]
        _scale(models, _LOAD * sum(speeds))
    if cell.mixed:
        _cap(models, rng, min(sort.speed for sort in sorts))
    goal = "min_cards" if cell.goal in ("memory", "load") else "max_alpha"
    cards = [_card(index, sort) for index, sort in enumerate(slots)]
    return {"name": f"{cell} seed {seed}", "objective": goal, "models": models, "cards": cards}


def packed(models: Sequence[Record], rooms: Sequence[int]) -> int:
    """Cards, their rooms in turn, that a first fit by falling workspace needs for memory alone."""
    order = sorted(models, key=lambda m: (-shared(m), -always(m)))
    count = len(models) * len(rooms)
    level, used = np.zeros(count, np.int64), np.zeros(count, np.int64)
    room = np.array([rooms[index % len(rooms)] for index in range(count)], np.int64)
    opened = 0
    for model in order:
        reach = opened + len(rooms)
        grown = np.maximum(level[:reach], shared(model))
        first = int(np.argmax(used[:reach] + always(model) + grown <= room[:reach]))
        used[first] += always(model)
        level[first] = grown[first]
        opened = max(opened, first + 1)
    return opened


def always(model: Record) -> int:
    """Bytes that every card with the model pays."""
    own = model["workspace_bytes"] if model["dynamic"] else 0
    return int(model["weight_bytes"] + model["threads"] * (model["io_bytes"] + own))


def shared(model: Record) -> int:
    """Bytes that the model needs of the shared workspace."""
    return 0 if model["dynamic"] else int(model["workspace_bytes"])


def _scale(models: Sequence[Record], work: float) -> None:
    """Turn relative demands into requests a second that take ``work`` card-seconds a second."""
    total = sum(m["demand_rps"] * m["service_ms"] / 1000 for m in models)
    for model in models:
        model["demand_rps"] *= work / total


def _cap(models: Sequence[Record], rng: np.random.Generator, slowest: float) -> None:
    """Limit the replicas of a fifth of the models, to what their demand needs and a few more."""
    for model in models:
        if rng.random() < 0.2:
            work = model.get("demand_rps", 0.0) * model["service_ms"] / 1000
            model["max_replicas"] = math.ceil(work / slowest + 1e-9) + int(rng.integers(0, 3)) or 1


def _card(index: int, sort: CardSort) -> Record:
    return {
        "name": f"n{index // 8}/{index % 8}",
        "node": f"n{index // 8}",
        "kind": "ascend",
        "type": sort.name,
        "capacity_bytes": sort.capacity * MIB,
        "overhead_bytes": sort.overhead * MIB,
        "speed": sort.speed,
    }


@dataclass(frozen=True)
class _Draw:
    """Draws of one size or time."""

    median: float
    low: float
    high: float
    sigma: float = 0.7

    def one(self, rng: np.random.Generator) -> float:
        """A value near the median, inside the range."""
        drawn = self.median * math.exp(self.sigma * rng.standard_normal())
        return min(max(drawn, self.low), self.high)


def _record(
    rng: np.random.Generator,
    sizes: tuple[float, float, float],
    *,
    dynamic: float,
    threads: Sequence[int],
    service_ms: float,
    demand: float | None = None,
) -> Record:
    rate = math.exp(_SIGMA * rng.standard_normal()) / service_ms if demand is None else demand
    weights, workspace, io = sizes
    return {
        "weight_bytes": round(weights * MIB),
        "workspace_bytes": round(workspace * MIB),
        "io_bytes": round(io * MIB),
        "dynamic": bool(rng.random() < dynamic),
        "threads": threads[int(rng.integers(len(threads)))],
        "service_ms": service_ms,
        "demand_rps": rate,
    }


def _cv(rng: np.random.Generator, count: int) -> Iterator[Record]:
    for _ in range(count):
        yield _vision(rng, _Draw(90, 8, 900), _Draw(500, 40, 4096, 0.9), (1, 2, 4), 0.05)


def _vision(
    rng: np.random.Generator,
    weights: _Draw,
    workspace: _Draw,
    threads: Sequence[int],
    dynamic: float,
    demand: float | None = None,
) -> Record:
    return _record(
        rng,
        (weights.one(rng), workspace.one(rng), _Draw(12, 1, 96, 0.8).one(rng)),
        dynamic=dynamic,
        threads=threads,
        service_ms=_Draw(6, 0.8, 40).one(rng),
        demand=demand,
    )


def _llm(rng: np.random.Generator, count: int) -> Iterator[Record]:
    sizes = (1000, 3000, 6000, 8000, 13500, 16000, 18500, 28500)
    for _ in range(count):
        weights = float(sizes[int(rng.integers(len(sizes)))])
        yield _record(
            rng,
            (weights, _Draw(350, 80, 1500).one(rng), _Draw(1200, 256, 6000).one(rng)),
            dynamic=0.2,
            threads=(1,),
            service_ms=weights / 25,
        )


#: Per pipeline: (weights, workspace, io, milliseconds) of text encoder, denoiser and decoder.
_PIPELINES = (
    ((240, 60, 4, 18), (1700, 1300, 16, 900), (160, 2200, 32, 120)),
    ((1600, 120, 8, 40), (5100, 2400, 32, 2000), (165, 5200, 64, 260)),
    ((10400, 400, 16, 110), (4200, 2000, 32, 2600), (170, 4600, 64, 240)),
)


def _diffusion(rng: np.random.Generator, count: int) -> Iterator[Record]:
    made = 0
    while made < count:
        pipeline = _PIPELINES[int(np.searchsorted((0.4, 0.8), rng.random()))]
        rate = math.exp(_SIGMA * rng.standard_normal())
        for weights, workspace, io, service in pipeline[: count - made]:
            around = _Draw(1, 0.8, 1.25, 0.15)
            yield _record(
                rng,
                (
                    min(weights * around.one(rng), 10400),
                    min(workspace * around.one(rng), 5200),
                    io,
                ),
                dynamic=0.05,
                threads=(1,),
                service_ms=min(service * around.one(rng), 2600),
                demand=rate,
            )
            made += 1


def _zipf(rng: np.random.Generator, count: int) -> Iterator[Record]:
    ranks = rng.permutation(count) + 1
    for rank in ranks:
        demand = float(rank) ** -1.1
        sort = rng.random()
        if sort < 0.55:
            workspace = _Draw(300, 40, 4096, 0.9)
            yield _vision(rng, _Draw(90, 8, 900), workspace, (1, 2), 0.1, demand)
            continue
        weights, work, io, service = (
            (_Draw(800, 200, 4000), _Draw(500, 60, 4096), _Draw(60, 8, 400), _Draw(15, 2, 120))
            if sort < 0.85
            else (_Draw(5000, 1500, 20000), _Draw(700, 80, 4096), _Draw(400, 64, 2000),
                  _Draw(40, 5, 300))
        )  # fmt: skip
        yield _record(
            rng,
            (weights.one(rng), work.one(rng), io.one(rng)),
            dynamic=0.1,
            threads=(1, 2),
            service_ms=service.one(rng),
            demand=demand,
        )


@dataclass(frozen=True)
class Mix:
    """How to draw models, the card that they are for, and another kind for mixed problems."""

    draw: Callable[[np.random.Generator, int], Iterator[Record]]
    card: CardSort
    other: CardSort


MIXES = {
    "cv": Mix(_cv, P310, B32),
    "llm": Mix(_llm, B64, B32),
    "diffusion": Mix(_diffusion, B32, B64),
    "zipf": Mix(_zipf, B32, B64),
}
