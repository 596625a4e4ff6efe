"""The sections that describe one model."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from actors.messages import CardKind, Provider
from orchestrator.config.cards import Sharing, slot_parts
from orchestrator.config.findings import Finding, require
from orchestrator.config.section import (
    DURATION_FORM,
    Count,
    Duration,
    DurationAboveZero,
    Flag,
    Name,
    OrWritten,
    Reading,
    Section,
    Size,
    SizeAboveZero,
    Text,
)
from orchestrator.config.shapes import Batching, Shapes, batching_findings
from orchestrator.sources import is_url

#: Config section that carries the emulated times; it is written from ``emulated`` alone.
EMULATED_SECTION = "emulated_card"


class Replicas(Section):
    """On how many cards a model is placed."""

    min: Count = Field(default=1, description="At least on this many cards.")
    max: Count | None = Field(
        default=None, description="At most on this many cards. Omitted: on as many as there are."
    )

    @model_validator(mode="after")
    def _check(self) -> "Replicas":
        if self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is more than max {self.max}")
        return self


def _replicas(value: object) -> object:
    """Let a plain number stand for exactly that many."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ValueError(f"must be at least 1, got {value}")
        return {"min": value, "max": value}
    if isinstance(value, Mapping | Replicas):
        return value
    raise ValueError(f"expected a whole number or {{min: 1, max: 4}}, got {value!r}")


def _option(value: object) -> object:
    """Config values of Lite are text; let numbers and flags be written plainly."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


Option = Annotated[
    str,
    BeforeValidator(_option),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
]


class Lite(Section):
    """What is handed to MindSpore Lite as it is."""

    config_file: Text | None = Field(
        default=None,
        description="A Lite config file (.ini), relative to the deployment file. Its "
        "[ascend_context] input_shape and dynamic_dims must agree with shapes.",
    )
    options: dict[Text, dict[Text, Option]] = Field(
        default_factory=dict,
        description="Config options by section. They go before those of config_file.",
    )

    @field_validator("config_file")
    @classmethod
    def _resolve(cls, value: str | None, info: ValidationInfo) -> str | None:
        return None if value is None else resolved(value, info)

    @model_validator(mode="after")
    def _check(self) -> "Lite":
        if EMULATED_SECTION in self.options:
            finding = Finding(("options", EMULATED_SECTION), "is written as the field 'emulated'")
            require([finding])
        return self


class ExplicitSizes(Section):
    """Sizes to plan with instead of measuring; each is one allocation, before rounding."""

    weights: Size = Field(description="The model's weights.")
    workspace: Size = Field(description="Work memory at the largest gear.")
    io: SizeAboveZero = Field(
        description="Inputs and outputs of one thread together, at the largest gear."
    )
    objects: Size = Field(
        default=0, description="What each thread's Model object costs beyond its tensors."
    )


def _times(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


class EmulatedTimes(Section):
    """Times that an emulated card keeps to; the other kinds ignore them."""

    execute: Annotated[
        tuple[Duration, ...],
        BeforeValidator(_times),
        OrWritten(DURATION_FORM),
    ] = Field(description="Execution time of one call, or a list with one for each gear.")
    copy_in: Duration = Field(default=0.0, description="Time to copy the inputs of one call.")
    copy_out: Duration = Field(default=0.0, description="Time to copy the outputs of one call.")


class ModelSpec(Section):
    """One model and how it is served."""

    name: Name = Field(description="What drivers call the model by; unique in the deployment.")
    path: Text = Field(
        description="The model file (.mindir), relative to the deployment file, or its URL (s3://, "
        "file://, whatever pyarrow or fsspec reads). Kind emulated runs the .onnx file of the same "
        "name beside it. Cards run a copy that their node keeps."
    )
    version: Text | None = Field(
        default=None, description="A label of yours, shown in plans, status and run summaries."
    )
    provider: Provider = Field(
        default="acl",
        description="How Lite runs the model on a card. Models of provider ge share weights, no "
        "workspace, run one at a time, and need a card without acl models, see "
        "cards.mix_ge_and_acl.",
    )
    shapes: Shapes | None = Field(
        default=None,
        description="The shapes it takes. Omitted: what lite.config_file, or the .ini file of the "
        "same name beside the model, says; else the model's own fixed shapes.",
    )
    threads: Annotated[int, Field(strict=True, ge=1, le=256)] = Field(
        default=1, description="Executors of one replica: Model objects on one copy of the weights."
    )
    replicas: Annotated[
        Replicas,
        BeforeValidator(_replicas),
        OrWritten({"type": "integer", "minimum": 1}),
    ] = Field(
        default_factory=Replicas,
        description="Number of cards to place the model on, or {min: 1, max: 4}. Omitted: at "
        "least one, and as many as the demand needs.",
    )
    cards: tuple[Text, ...] = Field(
        default=(),
        description="The only slots it may be placed on, <node>/<index>; local/0 is the first "
        "card of a single machine.",
    )
    demand: Annotated[float, Field(strict=True, gt=0, le=1e9)] | None = Field(
        default=None, description="Items per second to plan for."
    )
    work_share: Annotated[float, Field(strict=True, ge=0, le=1e9)] | None = Field(
        default=None,
        description="In place of demand for a batch job, which fills all cards: how many items of "
        "this model there are for each record, or relative to the other models'; 0 for none. "
        "Omitted: 1; where no model has it, as the demands are to each other.",
    )
    allowed_kinds: tuple[CardKind, ...] = Field(
        default=(), description="The only kinds of card it may be placed on. Omitted: any."
    )
    allowed_types: tuple[Text, ...] = Field(
        default=(),
        description="The only types of card it may be placed on, such as 910B-64G. Omitted: any.",
    )
    overlap: Annotated[float, Field(strict=True, ge=0.01, le=100)] = Field(
        default=1.0,
        description="How much more of this model a card does whose models have workspaces of their "
        "own and run side by side, as measured: 1.2 is a fifth more. A plan shares no workspace "
        "where they fit and it serves more so.",
    )
    max_delay: DurationAboveZero | None = Field(
        default=None,
        description="Longest batch of another model that it may have to wait for on a shared card.",
    )
    batching: Batching = Field(
        default_factory=Batching, description="How requests are joined into batches."
    )
    columns: dict[Text, Text] = Field(
        default_factory=dict,
        description="In batch jobs: the column of the records for an input that is named "
        "otherwise. Omitted: the column of the input's name.",
    )
    lite: Lite = Field(default_factory=Lite, description="Config handed to MindSpore Lite.")
    compile_at_build: Flag = Field(
        default=False,
        description="Allow a .mindir that was not converted for Ascend on kind ascend: the library "
        "then compiles it whenever it is built, which takes minutes. Otherwise check, plans and "
        "cards refuse it.",
    )
    precision: (
        Literal[
            "enforce_fp32", "preferred_fp32", "enforce_fp16", "enforce_origin", "preferred_optimal"
        ]
        | None
    ) = Field(default=None, description="Lite's precision mode. Omitted: the library's default.")
    sharing: Sharing = Field(
        default_factory=Sharing,
        description="Exceptions for this model from the deployment's sharing.",
    )
    sizes: ExplicitSizes | None = Field(
        default=None, description="Sizes to plan with. Omitted: measured, once."
    )
    service_time: DurationAboveZero | None = Field(
        default=None,
        description="Time for which one item occupies a card of speed 1, at the batch that will be "
        "used. Omitted: measured, once.",
    )
    emulated: EmulatedTimes | None = Field(
        default=None, description="Times that an emulated card keeps to."
    )

    @property
    def dynamic(self) -> bool:
        """Whether any shape up to a declared one is taken."""
        return self.shapes is not None and self.shapes.dynamic is not None

    @field_validator("path")
    @classmethod
    def _resolve(cls, value: str, info: ValidationInfo) -> str:
        return value if is_url(value) else resolved(value, info)

    @model_validator(mode="after")
    def _check(self) -> "ModelSpec":
        require(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        if self.provider == "ge" and self.sharing.workspace:
            yield Finding(("sharing", "workspace"), "models of provider ge share no workspace")
        if self.dynamic and self.sharing.workspace:
            yield Finding(
                ("sharing", "workspace"), "a model with dynamic shapes shares no workspace"
            )
        for key in ("allowed_kinds", "allowed_types"):
            yield from _repeated(key, getattr(self, key))
        yield from self._pin_findings()
        yield from self.shape_findings()

    def _pin_findings(self) -> Iterator[Finding]:
        for number, slot in enumerate(self.cards):
            if slot_parts(slot) is None:
                yield Finding(
                    ("cards", number), f"expected <node>/<index>, such as local/0, got {slot!r}"
                )
        yield from _repeated("cards", self.cards)
        if self.cards and self.replicas.min > len(set(self.cards)):
            yield Finding(
                ("replicas",),
                f"{self.replicas.min} replicas, and cards lists {len(set(self.cards))}: each "
                "replica needs its own card",
            )

    def shape_findings(self) -> Iterator[Finding]:
        """What contradicts the shapes; nothing while they are not known."""
        if self.shapes is None:
            return
        gears = self.shapes.combinations
        yield from batching_findings(self.batching, gears)
        if self.emulated is not None and len(self.emulated.execute) not in (1, len(gears)):
            yield Finding(
                ("emulated", "execute"),
                f"has {len(self.emulated.execute)} times, and the model {len(gears)} gears: give "
                "one time, or one for each gear",
            )

    def replicas_needed(self, utilisation: float, speed: float) -> int | None:
        """Cards that the declared demand keeps busy; None unless demand and time are declared."""
        if self.demand is None or self.service_time is None:
            return None
        return math.ceil(self.demand * self.service_time / speed / utilisation - 1e-9)


def _repeated(key: str, values: Sequence[str]) -> Iterator[Finding]:
    for number, value in enumerate(values):
        if value in values[:number]:
            yield Finding((key, number), f"{value} is there twice")


def resolved(value: str, info: ValidationInfo) -> str:
    """An absolute path, ``..`` taken out and links left alone, as one string for good.

    Relative to the deployment file while one is read, else to the working folder. Lite recognises
    a model by the exact text of its path, so it is settled here, once.
    """
    folder = info.context.folder if isinstance(info.context, Reading) else "."
    return os.path.abspath(os.path.join(folder, os.path.expanduser(value)))  # noqa: PTH100, PTH111, PTH118
