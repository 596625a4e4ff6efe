"""The placement problem: its types, its public JSON and the rules that a problem must keep."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal

from actors.memory import Footprint
from orchestrator.errors import DeploymentError
from orchestrator.inventory import Card
from orchestrator.placement import strict
from orchestrator.placement.strict import FLAG, GROUPS, NAMES, RECORDS, TEXT, Findings, Kind

Objective = Literal["min_cards", "max_alpha"]
#: What may improve a plan besides the planner's own search.
Improver = Literal["cp-sat"]
OBJECTIVES: tuple[Objective, ...] = ("min_cards", "max_alpha")


@dataclass(frozen=True)
class Model:
    """One model to place. Sizes are final bytes; ``io_bytes`` and ``object_bytes`` are per thread.

    ``service_ms`` is card-exclusive milliseconds per item at speed 1 and at the batch that will be
    used, which has ``batch_rows`` on average (None: nobody knows); ``batch_ms`` those of the
    largest batch (absent: ``service_ms``, one item a batch).
    ``overlap`` is the gain in throughput on a card that shares no workspace. ``max_delay_ms``: on a
    sharing card no other member's batch may take longer. ``widens_workspace``: though it does not
    share the card's workspace, that is no smaller than its own if others use it. ``session_bytes``:
    the models with it are of one GE session and take no more than that on a card, as was measured.
    """

    name: str
    weight_bytes: int
    workspace_bytes: int
    io_bytes: int
    dynamic: bool = False
    threads: int = 1
    service_ms: float = 0.0
    demand_rps: float = 0.0
    min_replicas: int = 1
    max_replicas: int | None = None
    share_weights: bool = True
    share_workspace: bool = True
    overlap: float = 1.0
    object_bytes: int = 0
    streams: int = 0
    max_delay_ms: float | None = None
    batch_ms: float | None = None
    spread_nodes: int = 1
    allowed_kinds: tuple[str, ...] | None = None
    allowed_types: tuple[str, ...] | None = None
    cards: tuple[str, ...] | None = None
    widens_workspace: bool = False
    session_bytes: int = 0
    batch_rows: float | None = None

    @cached_property
    def footprint(self) -> Footprint:
        """What the model is charged on every card that has it."""
        return Footprint(
            name=self.name,
            weights=self.weight_bytes,
            workspace=self.workspace_bytes,
            io=self.io_bytes,
            object_bytes=self.object_bytes,
            streams=self.streams,
            threads=self.threads,
            dynamic=self.dynamic,
            share_weights=self.share_weights,
            share_workspace=self.share_workspace,
            widens_workspace=self.widens_workspace,
            session_bytes=self.session_bytes,
        )

    @property
    def work(self) -> float:
        """Card-seconds a second that the demand takes at speed 1."""
        return float(self.demand_rps) * float(self.service_ms) / 1000

    @property
    def batch_time_ms(self) -> float:
        """How long the largest batch holds a card of speed 1."""
        return self.service_ms if self.batch_ms is None else self.batch_ms

    @property
    def replicas_needed(self) -> int:
        """The replicas that the model must have, demand apart."""
        return max(self.min_replicas, self.spread_nodes if self.spread_nodes > 1 else 0)


@dataclass(frozen=True)
class PreviousCard:
    """What one card held under an earlier plan.

    ``share_workspace``: whether its models shared one, as they do or do not for as long as the
    card's process lives; None where nobody knows. ``ended``: what it held of models that the
    problem has no more; they are in its process until the card is stopped.
    """

    card: str
    models: tuple[str, ...]
    share_workspace: bool | None = None
    ended: tuple[str, ...] = ()


@dataclass(frozen=True)
class Problem:
    """Which models, on which cards, to what end.

    ``job``: the demands are items for each record of a batch job, and alpha the records a second.
    """

    objective: Objective
    models: tuple[Model, ...]
    cards: tuple[Card, ...]
    name: str = ""
    affinity: tuple[tuple[str, ...], ...] = ()
    anti_affinity: tuple[tuple[str, ...], ...] = ()
    max_utilisation: float = 1.0
    previous_plan: tuple[PreviousCard, ...] = ()
    job: bool = False

    def in_memory(self) -> "Problem":
        """What is left of it where time does not matter: a place for every replica."""
        models = (
            replace(
                model,
                demand_rps=0.0,
                min_replicas=max(model.min_replicas, int(model.demand_rps > 0)),
            )
            for model in self.models
        )
        return replace(self, objective="min_cards", models=tuple(models))

    def to_dict(self) -> dict[str, Any]:
        """The public JSON; what equals its default is left out."""
        record: dict[str, Any] = {"name": self.name} if self.name else {}
        record["objective"] = self.objective
        record["models"] = [_plain(model, MODEL_REQUIRED) for model in self.models]
        record["cards"] = [_plain(card, CARD_REQUIRED) for card in self.cards]
        for key in ("affinity", "anti_affinity"):
            if getattr(self, key):
                record[key] = [list(group) for group in getattr(self, key)]
        if self.max_utilisation != 1.0:
            record["max_utilisation"] = self.max_utilisation
        if self.job:
            record["job"] = True
        if self.previous_plan:
            record["previous_plan"] = [
                _plain(old, ("card", "models")) for old in self.previous_plan
            ]
        return record

    @classmethod
    def from_dict(cls, data: object, source: str = "problem") -> "Problem":
        """Read the public JSON strictly.

        Raises:
            DeploymentError: unknown, missing or wrong keys, or rules that contradict each other.
        """
        findings = Findings()
        top = strict.read_record(data, PROBLEM, PROBLEM_REQUIRED, "", findings)
        models = [
            _read(Model, record, MODEL, MODEL_REQUIRED, f"models[{index}]", findings)
            for index, record in enumerate(top.get("models", ()))
        ]
        cards = [
            _read(Card, record, CARD, CARD_REQUIRED, f"cards[{index}]", findings)
            for index, record in enumerate(top.get("cards", ()))
        ]
        previous = [
            strict.read_record(
                record, PREVIOUS, ("card", "models"), f"previous_plan[{index}]", findings
            )
            for index, record in enumerate(top.get("previous_plan", ()))
        ]
        if findings.lines:
            raise DeploymentError(source, tuple(findings.lines))
        problem = cls(
            objective=top["objective"],
            models=tuple(models),
            cards=tuple(cards),
            name=top.get("name", ""),
            affinity=tuple(tuple(group) for group in top.get("affinity", ())),
            anti_affinity=tuple(tuple(group) for group in top.get("anti_affinity", ())),
            max_utilisation=float(top.get("max_utilisation", 1.0)),
            previous_plan=tuple(
                PreviousCard(
                    old["card"],
                    tuple(old["models"]),
                    old.get("share_workspace"),
                    tuple(old.get("ended", ())),
                )
                for old in previous
            ),
            job=top.get("job", False),
        )
        problem.require_sound(source)
        return problem

    @classmethod
    def from_json(cls, text: str, source: str = "problem") -> "Problem":
        """Read JSON text; a key given twice and NaN are refused too.

        Raises:
            DeploymentError: not JSON, or what ``from_dict`` refuses.
        """
        return cls.from_dict(load_json(text, source), source)

    def require_sound(self, source: str = "problem") -> None:
        """Refuse names that are unknown or given twice and rules that contradict each other.

        Raises:
            DeploymentError: with one line for each thing that is wrong.
        """
        from orchestrator.placement.sound import contradictions

        lines = contradictions(self)
        if lines:
            raise DeploymentError(source, lines)


PROBLEM: Mapping[str, Kind] = {
    "name": TEXT,
    "objective": strict.choice(*OBJECTIVES),
    "models": RECORDS,
    "cards": RECORDS,
    "affinity": GROUPS,
    "anti_affinity": GROUPS,
    "max_utilisation": strict.number(0, above=True, high=1),
    "previous_plan": RECORDS,
    "job": FLAG,
}
PROBLEM_REQUIRED = ("objective", "models", "cards")
_SIZE = strict.whole(0)
MODEL: Mapping[str, Kind] = {
    "name": TEXT,
    "weight_bytes": _SIZE,
    "workspace_bytes": _SIZE,
    "io_bytes": _SIZE,
    "dynamic": FLAG,
    "threads": strict.whole(1, 10_000),
    "service_ms": strict.number(0),
    "demand_rps": strict.number(0),
    "min_replicas": strict.whole(0, 1_000_000),
    "max_replicas": strict.optional(strict.whole(1, 1_000_000)),
    "share_weights": FLAG,
    "share_workspace": FLAG,
    "overlap": strict.number(0.01, high=100),
    "object_bytes": _SIZE,
    "streams": strict.whole(0, 1_000_000),
    "max_delay_ms": strict.optional(strict.number(0, above=True)),
    "batch_ms": strict.optional(strict.number(0)),
    "spread_nodes": strict.whole(1, 1_000_000),
    "allowed_kinds": strict.optional(NAMES),
    "allowed_types": strict.optional(NAMES),
    "cards": strict.optional(NAMES),
    "widens_workspace": FLAG,
    "session_bytes": _SIZE,
    "batch_rows": strict.optional(strict.number(1)),
}
MODEL_REQUIRED = ("name", "weight_bytes", "workspace_bytes", "io_bytes")
CARD: Mapping[str, Kind] = {
    "name": TEXT,
    "node": TEXT,
    "kind": strict.choice("ascend", "cpu", "emulated"),
    "type": strict.optional(TEXT),
    "capacity_bytes": strict.whole(1),
    "overhead_bytes": _SIZE,
    "reserve_bytes": _SIZE,
    "streams": strict.optional(strict.whole(0, 1_000_000)),
    "speed": strict.number(0, above=True, high=1e6),
}
CARD_REQUIRED = ("name", "node", "kind", "capacity_bytes")
PREVIOUS: Mapping[str, Kind] = {
    "card": TEXT,
    "models": NAMES,
    "share_workspace": FLAG,
    "ended": NAMES,
}


def problem_schema() -> dict[str, Any]:
    """The JSON schema that is committed as ``problem.schema.json``."""
    schema = strict.record_schema(PROBLEM, PROBLEM_REQUIRED)
    properties = schema["properties"]
    properties["models"]["items"] = strict.record_schema(MODEL, MODEL_REQUIRED)
    properties["cards"]["items"] = strict.record_schema(CARD, CARD_REQUIRED)
    properties["previous_plan"]["items"] = strict.record_schema(PREVIOUS, ("card", "models"))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Problem", **schema}


def load_json(text: str, source: str) -> object:
    """Parse JSON, refusing what Python would let through: a key given twice, NaN, Infinity.

    Raises:
        DeploymentError: with the place where the text stops being JSON.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(pairs)
        if len(record) != len(pairs):
            keys = [key for key, _ in pairs]
            double = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"key {double!r} is given twice")
        return record

    def no_constant(word: str) -> float:
        raise ValueError(f"{word} is not a number that JSON has")

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=no_constant)
    except json.JSONDecodeError as error:
        raise DeploymentError(source, (f"{error.lineno}: not JSON: {error.msg}",)) from None
    except (ValueError, RecursionError) as error:
        raise DeploymentError(source, (str(error),)) from None


def _read(
    made: type[Any],
    data: object,
    kinds: Mapping[str, Kind],
    required: Iterable[str],
    where: str,
    findings: Findings,
) -> Any:  # noqa: ANN401 - a Model or a Card
    name = data.get("name") if isinstance(data, dict) else None
    label = f"{where} ({name})" if isinstance(name, str) else where
    before = len(findings.lines)
    values = strict.read_record(data, kinds, tuple(required), label, findings)
    if len(findings.lines) > before:
        return None
    return made(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    )


def _plain(record: Model | Card | PreviousCard, required: tuple[str, ...]) -> dict[str, Any]:
    """A record without what equals its default."""
    values = asdict(record)
    return {
        field.name: list(value) if isinstance(value, tuple) else value
        for field in fields(record)
        for value in (values[field.name],)
        if field.name in required or field.default is MISSING or value != field.default
    }
