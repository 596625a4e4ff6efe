"""The base of every section, and the kinds of value that sections are made of."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from orchestrator.config.findings import error_of
from orchestrator.config.messages import findings_of
from orchestrator.units import exact_bytes, exact_seconds, parse_bytes, parse_seconds

#: No device, host or file is larger; more is a slip of the finger.
EXBIBYTE = 1 << 60
#: No duration in a deployment is longer.
DAY = 86400.0


@dataclass(frozen=True)
class Reading:
    """Passed to validators while a file is read: ``folder`` is what its paths are relative to."""

    folder: str


class Section(BaseModel):
    """One mapping of the file. Frozen, and strict about what it does not know.

    Built in Python, ``Cards(kind="emulated", count=2, capacity="160MiB")``, it makes the same
    checks as the file does; there sizes may also be whole bytes and durations seconds.

    Raises:
        DeploymentError: with one line for each problem.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=False, allow_inf_nan=False
    )

    def __init__(self, /, **data: Any) -> None:  # noqa: ANN401 - checked by pydantic
        try:
            super().__init__(**data)
        except ValidationError as error:
            name = type(self).__name__
            raise error_of(name, findings_of(error, type(self)), data) from None

    # pydantic would call this __init__ for every nested section too, and so lose the place of a
    # problem in the file. This mark, which its own RootModel uses, says that it need not.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


class OrWritten:
    """In the JSON schema: the value may also be written in another, shorter form."""

    def __init__(self, form: JsonSchemaValue) -> None:
        self._form = form

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [self._form, handler(schema)]}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _size(value: object, info: ValidationInfo) -> int:
    if isinstance(info.context, Reading) and _is_number(value) and value != 0:
        raise ValueError(f"{value} needs its unit: write {value}MiB or {value}B")
    if not isinstance(value, int | str):
        raise ValueError(f"expected a size such as 160MiB, got {value!r}")  # noqa: TRY004
    size = parse_bytes(value)
    if size > EXBIBYTE:
        raise ValueError(f"must be at most 1024PiB, got {value}")
    return size


def _size_above_zero(value: object, info: ValidationInfo) -> int:
    size = _size(value, info)
    if size == 0:
        raise ValueError(f"must be more than zero, got {value}")
    return size


def _duration(value: object, info: ValidationInfo) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(info.context, Reading) and value != 0:
            raise ValueError(f"{value} needs its unit: write {value}ms or {value}s")
        seconds = float(value)
    elif isinstance(value, str):
        seconds = parse_seconds(value)
    else:
        raise ValueError(f"expected a duration such as 5ms, got {value!r}")  # noqa: TRY004
    if not 0 <= seconds <= DAY:
        raise ValueError(f"must be between 0s and 24h, got {value}")
    return seconds


def _duration_above_zero(value: object, info: ValidationInfo) -> float:
    seconds = _duration(value, info)
    if seconds == 0:
        raise ValueError(f"must be more than zero, got {value}")
    return seconds


def _form(units: str, example: str) -> JsonSchemaValue:
    pattern = rf"^\s*\d+(\.\d+)?\s*({units})\s*$"
    return {"type": "string", "pattern": pattern, "examples": [example]}


#: Sizes and durations as they are written in the file, for the JSON schema.
SIZE_FORM = _form("B|[KMGTP]iB|[kMGTP]B", "160MiB")
DURATION_FORM = _form("us|µs|ms|s|min|h", "5ms")
_ZERO = {"const": 0}
_write_size = PlainSerializer(exact_bytes, return_type=str, when_used="json-unless-none")
_write_duration = PlainSerializer(exact_seconds, return_type=str, when_used="json-unless-none")

#: Bytes, from none to 1 EiB.
Size = Annotated[
    int, BeforeValidator(_size), _write_size, WithJsonSchema({"anyOf": [SIZE_FORM, _ZERO]})
]
#: Bytes, from 1 to 1 EiB.
SizeAboveZero = Annotated[
    int, BeforeValidator(_size_above_zero), _write_size, WithJsonSchema(SIZE_FORM)
]
#: Seconds, from 0 to a day.
Duration = Annotated[
    float,
    BeforeValidator(_duration),
    _write_duration,
    WithJsonSchema({"anyOf": [DURATION_FORM, _ZERO]}),
]
#: Seconds, more than 0, up to a day.
DurationAboveZero = Annotated[
    float, BeforeValidator(_duration_above_zero), _write_duration, WithJsonSchema(DURATION_FORM)
]
#: A whole number from 1 on.
Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
#: An axis of a tensor, counted from 0.
Axis = Annotated[int, Field(strict=True, ge=0, le=31)]
#: One dimension of a shape.
Dimension = Annotated[int, Field(strict=True, ge=1, le=1 << 31)]
#: One shape; an empty one is a scalar.
Dimensions = tuple[Dimension, ...]
Text = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=4096)]
Flag = Annotated[bool, Field(strict=True)]
#: A name that can stand in a command, a metric label and a file name.
Name = Annotated[
    str,
    StringConstraints(strict=True, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=100),
]
