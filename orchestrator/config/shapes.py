"""The sections that say which shapes a model takes and how requests become batches."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from actors.gears import MAX_GEARS, format_shapes
from actors.shapes import BatchRule, Gear, Shape
from actors.shapes import Padding as PaddingRule
from orchestrator.config.findings import Finding, did_you_mean, require
from orchestrator.config.section import Axis, Count, Dimensions, Duration, Section, Text

#: The shape of each input by name.
ShapesByInput = dict[Text, Dimensions]


class DynamicShapes(Section):
    """A model that takes any shape up to a declared one."""

    max_shape: ShapesByInput = Field(
        description="The largest shape of each input: what the plan makes room for."
    )


class Shapes(Section):
    """Exactly one of fixed, gears and dynamic."""

    fixed: ShapesByInput | None = Field(
        default=None, description="The one shape of each input, {x: [1, 3, 32, 32]}."
    )
    gears: tuple[ShapesByInput, ...] | None = Field(
        default=None,
        description="Every combination of input shapes that the model was compiled for.",
    )
    dynamic: DynamicShapes | None = Field(
        default=None,
        description="For a model without gears that takes any shape. It shares no workspace.",
    )

    @model_validator(mode="after")
    def _check(self) -> "Shapes":
        require(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        given = [key for key in ("fixed", "gears", "dynamic") if getattr(self, key) is not None]
        if len(given) != 1:
            said = f"got {' and '.join(given)}" if given else "got none"
            yield Finding((), f"expected one of fixed, gears and dynamic, {said}")
        if self.fixed is not None and not self.fixed:
            yield Finding(("fixed",), "names no input")
        if self.dynamic is not None and not self.dynamic.max_shape:
            yield Finding(("dynamic", "max_shape"), "names no input")
        if self.gears is not None:
            yield from _gear_findings(self.gears)

    @property
    def combinations(self) -> tuple[Gear, ...]:
        """The gears; the one fixed shape; or the largest shape of a dynamic model."""
        if self.dynamic is not None:
            return (_gear(self.dynamic.max_shape),)
        if self.fixed is not None:
            return (_gear(self.fixed),)
        gears = self.gears or ()
        return tuple(_gear({name: gear[name] for name in gears[0]}) for gear in gears)

    @classmethod
    def of_gears(cls, gears: tuple[Gear, ...]) -> "Shapes":
        """What a Lite config declares, as if the deployment had said it."""
        if len(gears) == 1:
            return cls(fixed=dict(gears[0].inputs))
        return cls(gears=tuple(dict(gear.inputs) for gear in gears))


def _gear(shapes: dict[str, Shape]) -> Gear:
    return Gear(tuple(shapes.items()))


def _gear_findings(gears: tuple[dict[str, Shape], ...]) -> Iterator[Finding]:
    if not gears:
        yield Finding(("gears",), "has no gear: list at least one")
        return
    if len(gears) > MAX_GEARS:
        yield Finding(("gears",), f"{len(gears)} gears, and the converter takes {MAX_GEARS}")
    first = gears[0]
    if not first:
        yield Finding(("gears", 0), "names no input")
    for number, gear in enumerate(gears[1:], start=1):
        loc = ("gears", number)
        if set(gear) != set(first):
            yield Finding(
                loc, f"has inputs {', '.join(gear) or 'none'}, and gears[0] has {', '.join(first)}"
            )
            continue
        for name, shape in gear.items():
            if len(shape) != len(first[name]):
                yield Finding(
                    (*loc, name),
                    f"has {len(shape)} dimensions, and in gears[0] it has {len(first[name])}",
                )
        if gear in gears[:number]:
            yield Finding(loc, f"is the same as gears[{gears.index(gear)}]")


class Padding(Section):
    """A licence to pad one axis of one input, for a model whose answer does not depend on it."""

    input: Text = Field(description="The input that may be padded.")
    axis: Axis = Field(description="Its axis, counted from 0; never the batch axis.")
    value: float = Field(default=0.0, description="What to pad with.")


def _batch_axis(value: object) -> object:
    if value == "none" or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise ValueError(f"expected an axis counted from 0, or none, got {value!r}")


class Batching(Section):
    """How requests of one model are joined into batches on the card."""

    max_batch: Count | None = Field(
        default=None,
        description="Most rows of one batch. Omitted: as many as the largest gear has.",
    )
    max_wait: Duration = Field(
        default=0.0,
        description="How long a busy card may hold a request back for others to join it; an idle "
        "card never waits.",
    )
    axis: Annotated[
        int | Literal["none"],
        BeforeValidator(_batch_axis),
        WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"const": "none"}]}),
    ] = Field(
        default=0,
        description="The batch axis of every input and output; none: each request runs alone.",
    )
    padding: tuple[Padding, ...] = Field(
        default=(), description="Other axes that may be padded up to a gear. Outputs are not cut."
    )

    @property
    def rule(self) -> BatchRule:
        """The same as the card takes it."""
        return BatchRule(
            max_batch=self.max_batch,
            max_wait=self.max_wait,
            axis=None if self.axis == "none" else self.axis,
            padding=tuple(PaddingRule(pad.input, pad.axis, pad.value) for pad in self.padding),
        )

    @model_validator(mode="after")
    def _check(self) -> "Batching":
        require(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        if self.axis == "none" and self.max_batch is not None:
            yield Finding(("max_batch",), "has no meaning with axis: none")
        seen: set[tuple[str, int]] = set()
        for number, pad in enumerate(self.padding):
            if pad.axis == self.axis:
                yield Finding(
                    ("padding", number, "axis"),
                    f"{pad.axis} is the batch axis, which is always padded: remove this entry",
                )
            if (pad.input, pad.axis) in seen:
                yield Finding(
                    ("padding", number), f"input {pad.input} axis {pad.axis} is there twice"
                )
            seen.add((pad.input, pad.axis))


def batching_findings(batching: Batching, gears: tuple[Gear, ...]) -> Iterator[Finding]:
    """What of ``batching`` the shapes rule out. Places are relative to the model."""
    inputs = dict(gears[0].inputs)
    axis = batching.axis
    if axis != "none":
        short = [name for name, shape in inputs.items() if axis >= len(shape)]
        if short:
            yield Finding(
                ("batching", "axis"),
                f"input {short[0]} has no axis {axis} in {format_shapes(gears[0])}: "
                "give the batch axis, or axis: none",
            )
            return
        largest = max(min(shape[axis] for _, shape in gear.inputs) for gear in gears)
        if batching.max_batch is not None and batching.max_batch > largest:
            yield Finding(
                ("batching", "max_batch"),
                f"{batching.max_batch} is more than the {largest} rows of the largest gear",
            )
    for number, pad in enumerate(batching.padding):
        loc = ("batching", "padding", number)
        if pad.input not in inputs:
            hint = did_you_mean(pad.input, inputs) or f" (inputs: {', '.join(inputs)})"
            yield Finding((*loc, "input"), f"there is no input {pad.input!r}{hint}")
        elif pad.axis >= len(inputs[pad.input]):
            rank = len(inputs[pad.input])
            yield Finding(
                (*loc, "axis"),
                f"input {pad.input} has {rank} axes, 0 to {rank - 1}, got {pad.axis}",
            )
