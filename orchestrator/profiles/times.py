"""How long a model's batches take, by the rows that they hold."""

from collections.abc import Iterator
from dataclasses import dataclass

from actors.messages import Measurement, ModelOrder
from actors.shapes import Gear, Signature, TensorSpec, check_rule, gear_rows
from orchestrator.config import Cards, ModelSpec
from orchestrator.errors import DeploymentError


@dataclass(frozen=True)
class BatchTime:
    """Milliseconds of a batch of up to ``rows`` rows, on a card of speed 1.

    ``execute_ms`` is the card's own time; ``copy_ms`` goes by beside it, to the card and back.
    """

    rows: int
    execute_ms: float
    copy_ms: float = 0.0


def largest_batch(order: ModelOrder, gears: tuple[Gear, ...]) -> int:
    """Rows of the largest batch that is joined: those of the largest gear, or the declared cap."""
    rows = max((gear_rows(gear, order.batching) for gear in gears), default=1)
    return min(rows, order.batching.max_batch or rows)


def gears_of(
    spec: ModelSpec, order: ModelOrder, measurement: Measurement | None
) -> tuple[Gear, ...]:
    """The gears as measured, else as declared.

    Raises:
        DeploymentError: the batch axis is none of theirs.
    """
    if measurement is not None:
        gears = tuple(measured.gear for measured in measurement.gears)
        if gears:
            _require_axis(order, gears)
        return gears
    return order.gears or (spec.shapes.combinations if spec.shapes else ())


def _require_axis(order: ModelOrder, gears: tuple[Gear, ...]) -> None:
    """What was declared is checked where it is read; a file may have inputs without dimensions."""
    inputs = tuple(TensorSpec(name, "", shape) for name, shape in gears[0].inputs)
    try:
        check_rule(Signature(inputs, (), gears), order.batching)
    except ValueError as error:
        raise DeploymentError(f"model {order.name}", (str(error),)) from error


def batch_times(
    spec: ModelSpec, order: ModelOrder, cards: Cards, measurement: Measurement | None
) -> tuple[BatchTime, ...]:
    """One for each number of rows that gears hold, fewest first, up to the largest batch.

    Of gears that differ in other axes alone, the slowest. Empty where only the time of an item is
    known: it is declared, or nothing is. ``measurement`` is of a model that was run.
    """
    if spec.service_time is not None:
        return ()
    slowest: dict[int, BatchTime] = {}
    for time in sorted(_each(spec, order, cards, measurement), key=lambda one: one.execute_ms):
        slowest[time.rows] = time
    times = tuple(slowest[rows] for rows in sorted(slowest))
    most = largest_batch(order, gears_of(spec, order, measurement))
    enough = next((one.rows for one in times if one.rows >= most), 0)
    return tuple(one for one in times if one.rows <= enough)


def _each(
    spec: ModelSpec, order: ModelOrder, cards: Cards, measurement: Measurement | None
) -> Iterator[BatchTime]:
    """Every gear's. Those of one card type, whose speed times what it takes is that at speed 1."""
    speed = cards.speed
    if measurement is not None:
        for one in measurement.gears:
            rows = gear_rows(one.gear, order.batching)
            copies = one.copy_in_ms + one.copy_out_ms
            yield BatchTime(rows, one.execute_ms * speed, copies * speed)
    elif cards.kind == "emulated" and spec.emulated is not None:
        own = spec.emulated
        copies = (own.copy_in + own.copy_out) * 1000
        gears = gears_of(spec, order, None)
        held = [gear_rows(gear, order.batching) for gear in gears] or [1]
        execute = own.execute if len(own.execute) == len(held) else own.execute[:1] * len(held)
        for rows, seconds in zip(held, execute, strict=True):
            yield BatchTime(rows, seconds * 1000 * speed, copies * speed)
