"""The plan: its type and its public JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from orchestrator.errors import DeploymentError
from orchestrator.placement import strict
from orchestrator.placement.problem import OBJECTIVES, Objective, load_json
from orchestrator.placement.strict import FLAG, NAMES, RECORDS, TEXT, Findings, Kind


@dataclass(frozen=True)
class CardPlan:
    """What one card holds, and whether its static models share one workspace."""

    card: str
    models: tuple[str, ...]
    share_workspace: bool = True


@dataclass(frozen=True)
class Load:
    """Items per second of one model that one card is given."""

    model: str
    card: str
    rps: float


@dataclass(frozen=True)
class Point:
    """What a change costs and what it brings: a point of the curve of value against moves."""

    moves: int
    restarts: int
    bytes_loaded: int
    alpha: float | None
    cards_used: int


@dataclass(frozen=True)
class Plan:
    """Who is where, how the load is split, and how good that is.

    ``value``: cards used (min_cards) or alpha (max_alpha). ``bound``: no plan is better; ``gap``:
    the relative distance to it. ``alpha``: smallest served / demand, None without demand.
    ``moves``: replicas that the previous plan did not have there; ``restarts``: cards that held
    models and get others; ``bytes_loaded``: weights that changed cards load; None without a
    previous plan. ``curve``: what fewer and more moves would bring. ``origins``: (model, where its
    sizes come from), for plans of deployments; ``versions``: (model, its label and the short hash
    of its files).
    """

    cards: tuple[CardPlan, ...]
    loads: tuple[Load, ...]
    objective: Objective
    value: float | None
    alpha: float | None
    bound: float | None
    bound_name: str
    gap: float | None
    stop_reason: str
    moves: int | None = None
    restarts: int | None = None
    bytes_loaded: int | None = None
    curve: tuple[Point, ...] = ()
    origins: tuple[tuple[str, str], ...] = ()
    versions: tuple[tuple[str, str], ...] = ()

    @property
    def cards_used(self) -> int:
        """Cards with at least one model."""
        return len(self.cards)

    @cached_property
    def by_card(self) -> Mapping[str, CardPlan]:
        """The used cards by name."""
        return {card.card: card for card in self.cards}

    @cached_property
    def rps(self) -> Mapping[tuple[str, str], float]:
        """Items per second by (model, card)."""
        return {(load.model, load.card): load.rps for load in self.loads}

    @cached_property
    def at_demand(self) -> Mapping[tuple[str, str], float]:
        """Items a second of each model on each card when just the demand is asked for.

        Loads are those of ``alpha`` times the demand: with fewest cards all that they could serve.
        """
        part = 1.0
        if self.objective == "min_cards" and self.alpha is not None and self.alpha > 1:
            part = 1 / self.alpha
        return {placed: rps * part for placed, rps in self.rps.items()}

    def replicas(self, model: str) -> tuple[str, ...]:
        """The cards that hold the model."""
        return tuple(card.card for card in self.cards if model in card.models)

    def to_dict(self) -> dict[str, Any]:
        """The public JSON."""
        record: dict[str, Any] = {
            "plan": [
                {
                    "card": card.card,
                    "models": list(card.models),
                    "share_workspace": card.share_workspace,
                }
                for card in self.cards
            ],
            "loads": [{"model": x.model, "card": x.card, "rps": x.rps} for x in self.loads],
            "objective": self.objective,
            "value": self.value,
            "alpha": self.alpha,
            "bound": self.bound,
            "bound_name": self.bound_name,
            "gap": self.gap,
            "cards_used": self.cards_used,
            "moves": self.moves,
            "stop_reason": self.stop_reason,
        }
        if self.moves is not None:
            record["restarts"], record["bytes_loaded"] = self.restarts, self.bytes_loaded
            record["curve"] = [asdict(point) for point in self.curve]
        told = {"origins": dict(self.origins), "versions": dict(self.versions)}
        return {**record, **{key: texts for key, texts in told.items() if texts}}

    @classmethod
    def from_dict(cls, data: object, source: str = "plan") -> "Plan":
        """Read the public JSON strictly; whether it keeps the problem's rules is ``verify``'s.

        Raises:
            DeploymentError: unknown, missing or wrong keys.
        """
        findings = Findings()
        top = strict.read_record(data, PLAN, PLAN_REQUIRED, "", findings)
        cards = _records(top.get("plan", ()), CARD_PLAN, CARD_PLAN_REQUIRED, "plan", findings)
        loads = _records(top.get("loads", ()), LOAD, tuple(LOAD), "loads", findings)
        curve = _records(top.get("curve", ()), POINT, tuple(POINT), "curve", findings)
        if findings.lines:
            raise DeploymentError(source, tuple(findings.lines))
        return cls(
            cards=tuple(
                CardPlan(card["card"], tuple(card["models"]), card.get("share_workspace", True))
                for card in cards
            ),
            loads=tuple(Load(load["model"], load["card"], float(load["rps"])) for load in loads),
            objective=top["objective"],
            value=top.get("value"),
            alpha=top.get("alpha"),
            bound=top.get("bound"),
            bound_name=top.get("bound_name", ""),
            gap=top.get("gap"),
            stop_reason=top.get("stop_reason", ""),
            moves=top.get("moves"),
            restarts=top.get("restarts"),
            bytes_loaded=top.get("bytes_loaded"),
            curve=tuple(Point(**point) for point in curve),
            origins=tuple(top.get("origins", {}).items()),
            versions=tuple(top.get("versions", {}).items()),
        )

    @classmethod
    def from_json(cls, text: str, source: str = "plan") -> "Plan":
        """Read JSON text.

        Raises:
            DeploymentError: not JSON, or what ``from_dict`` refuses.
        """
        return cls.from_dict(load_json(text, source), source)


_NUMBER = Kind(
    "a finite number or null",
    lambda value: value is None or strict.finite(value),
    {"type": ["number", "null"]},
)
_TEXTS = Kind(
    "a record of texts",
    lambda value: isinstance(value, dict) and all(isinstance(o, str) for o in value.values()),
    {"type": "object", "additionalProperties": {"type": "string"}},
)
CARD_PLAN: Mapping[str, Kind] = {"card": TEXT, "models": NAMES, "share_workspace": FLAG}
CARD_PLAN_REQUIRED = ("card", "models")
LOAD: Mapping[str, Kind] = {"model": TEXT, "card": TEXT, "rps": strict.number(0)}
POINT: Mapping[str, Kind] = {
    "moves": strict.whole(0),
    "restarts": strict.whole(0),
    "bytes_loaded": strict.whole(0, 1 << 70),
    "alpha": _NUMBER,
    "cards_used": strict.whole(0),
}
PLAN: Mapping[str, Kind] = {
    "plan": RECORDS,
    "loads": RECORDS,
    "objective": strict.choice(*OBJECTIVES),
    "value": _NUMBER,
    "alpha": _NUMBER,
    "bound": _NUMBER,
    "bound_name": Kind("text", lambda value: isinstance(value, str), {"type": "string"}),
    "gap": _NUMBER,
    "cards_used": strict.whole(0),
    "moves": strict.optional(strict.whole(0)),
    "restarts": strict.optional(strict.whole(0)),
    "bytes_loaded": strict.optional(strict.whole(0, 1 << 70)),
    "curve": RECORDS,
    "origins": _TEXTS,
    "versions": _TEXTS,
    "stop_reason": Kind("text", lambda value: isinstance(value, str), {"type": "string"}),
}
PLAN_REQUIRED = ("plan", "loads", "objective")


def plan_schema() -> dict[str, Any]:
    """The JSON schema that is committed as ``plan.schema.json``."""
    schema = strict.record_schema(PLAN, PLAN_REQUIRED)
    properties = schema["properties"]
    properties["plan"]["items"] = strict.record_schema(CARD_PLAN, CARD_PLAN_REQUIRED)
    properties["loads"]["items"] = strict.record_schema(LOAD, tuple(LOAD))
    properties["curve"]["items"] = strict.record_schema(POINT, tuple(POINT))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Plan", **schema}


def _records(
    records: Iterable[object],
    kinds: Mapping[str, Kind],
    required: tuple[str, ...],
    where: str,
    findings: Findings,
) -> list[dict[str, Any]]:
    return [
        strict.read_record(record, kinds, required, f"{where}[{index}]", findings)
        for index, record in enumerate(records)
    ]
