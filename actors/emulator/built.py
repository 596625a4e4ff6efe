"""A built model: what it took from its card, and how it runs there."""

import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from actors.emulator import place, reshaped
from actors.emulator.arena import Array
from actors.emulator.build import Order
from actors.emulator.calibrate import (
    GearCalibration,
    calibrate,
    covers,
    fitted,
    measure_gears,
    nbytes,
)
from actors.emulator.faults import strike
from actors.emulator.registry import LIBRARY
from actors.files.onnxfile import read_onnx
from actors.shapes import OPEN, Gear, Shape


@dataclass
class _Current:
    """The shapes that a model runs at now. ``buffers``: where its outputs go, if that is known."""

    shapes: list[Shape]
    gear: GearCalibration | None = None
    index: int = 0
    buffers: Mapping[str, Array | None] = field(default_factory=dict)


class BuiltModel:
    """One Model object on its card. Calls on it are made under the Model's own lock."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.number = next(LIBRARY.numbers)
        self._gears = order.calibration.gears
        self._names = [spec.name for spec in order.calibration.outputs]
        self._memory: dict[str, npt.NDArray[np.uint8]] | None = None
        self._engine = place.take(order, self.number)
        weakref.finalize(self, place.give_back, order, self.number)
        self._current = self._at_gear(0) if self.is_fixed else None

    @property
    def is_fixed(self) -> bool:
        """Whether the model has one combination of shapes and says so from the start."""
        calibration = self.order.calibration
        return not any(OPEN in spec.shape for spec in calibration.inputs)

    @property
    def on_host(self) -> bool:
        """Whether it runs on target cpu, and so not on a card."""
        return self.order.device is LIBRARY.host

    @property
    def input_shapes(self) -> list[Shape]:
        """Current shapes; -1 where a dimension is still open."""
        if self._current is not None:
            return self._current.shapes
        return [spec.shape for spec in self.order.calibration.inputs]

    @property
    def input_bytes(self) -> list[int]:
        """Bytes of each input at the current shapes; 0 while they are open."""
        specs = self.order.calibration.inputs
        return [
            0 if OPEN in shape else nbytes(spec.dtype, shape)
            for spec, shape in zip(specs, self.input_shapes, strict=True)
        ]

    @property
    def output_shapes(self) -> list[Shape]:
        """Current shapes: the largest gear's until one is chosen, (-1,) for a dynamic model."""
        calibration = self.order.calibration
        if calibration.dynamic:
            return [(OPEN,) for _ in calibration.outputs]
        gear = max(self._gears, key=lambda gear: sum(gear.tensor_bytes))
        if self._current is not None and self._current.gear is not None:
            gear = self._current.gear
        return [spec.shape for spec in gear.outputs]

    def resize(self, shapes: Sequence[Shape]) -> None:
        """Take other shapes.

        Raises:
            ValueError: not a gear of the model, or a dynamic model cannot run at these shapes.
            DeviceFullError: a dynamic model has too little memory for them.
        """
        wanted = list(shapes)
        if self.input_shapes == wanted:
            return
        if self.order.calibration.dynamic:
            self._current = self._at_open(wanted)
            return
        for index, gear in enumerate(self._gears):
            if [shape for _, shape in gear.gear.inputs] == wanted:
                self._current = self._at_gear(index)
                return
        if self.is_fixed and self.on_host:
            self._reshape(wanted)
            return
        if self.is_fixed:
            raise ValueError("Not support dynamic input")
        raise ValueError(f"shapes {wanted} are none of the model's {len(self._gears)} gears")

    def run(self, feeds: Sequence[Array], targets: Sequence[Array]) -> dict[str, Array]:
        """Run at the current shapes; outputs go to ``targets``, or to this object's own buffers.

        Raises:
            Exception: whatever the engine raises.
        """
        current, order = self._current, self.order
        if current is None:
            raise ValueError("input shapes are still open: resize first")
        names = [spec.name for spec in order.calibration.inputs]
        outputs = self._outputs(current, targets)
        _pause(order.settings.copy_in)
        clock = order.device.clock
        handed_over = clock.now()
        with ExitStack() as stack:
            if order.sharing.session is not None:
                stack.enter_context(order.sharing.session.executing())
            if order.sharing.locked:
                stack.enter_context(order.device.lock)
            seconds = order.settings.execute_seconds(current.index)
            stack.enter_context(clock.executing(seconds, handed_over))
            strike(feeds)
            found = self._engine.run(dict(zip(names, feeds, strict=True)), outputs)
        _pause(order.settings.copy_out)
        return found

    def _outputs(self, current: _Current, targets: Sequence[Array]) -> Mapping[str, Array | None]:
        if not targets:
            return current.buffers
        if len(targets) != len(self._names):
            raise ValueError(f"{len(targets)} outputs given, the model has {len(self._names)}")
        return dict(zip(self._names, targets, strict=True))

    def _at_gear(self, index: int) -> _Current:
        gear = self._gears[index]
        buffers: dict[str, Array | None] = dict.fromkeys(self._names)
        if gear.bound:
            memory = self._output_memory()
            for spec in gear.outputs:
                part = memory[spec.name][: nbytes(spec.dtype, spec.shape)]
                buffers[spec.name] = part.view(spec.dtype).reshape(spec.shape)
        return _Current([shape for _, shape in gear.gear.inputs], gear, index, buffers)

    def _reshape(self, shapes: list[Shape]) -> None:
        """On target cpu a fixed model is fixed no longer: it is built anew at other shapes."""
        names = [spec.name for spec in self.order.calibration.inputs]
        onnx = reshaped.copy_at(self.order.onnx, dict(zip(names, shapes, strict=True)))
        own = replace(self.order.settings, gears=None, input_shapes=None, max_shape=None)
        order = replace(self.order, onnx=onnx, calibration=calibrate(onnx, own))
        self._engine = place.take(order, self.number)
        self.order, self._gears, self._memory = order, order.calibration.gears, None
        self._current = self._at_gear(0)

    def _output_memory(self) -> dict[str, npt.NDArray[np.uint8]]:
        """One buffer for each output at its largest, made once and touched only by the runs."""
        if self._memory is None:
            sizes = self.order.calibration.tensor_bytes[len(self.order.calibration.inputs) :]
            self._memory = {
                name: np.empty(size, np.uint8)
                for name, size in zip(self._names, sizes, strict=True)
            }
        return self._memory

    def _at_open(self, shapes: list[Shape]) -> _Current:
        """A dynamic model takes what a new shape needs; smaller shapes need nothing more."""
        path, calibration = self.order.onnx, self.order.calibration
        names = [spec.name for spec in calibration.inputs]
        gear = fitted(calibration.inputs, Gear(tuple(zip(names, shapes, strict=True))))
        if not any(covers(known.gear, shapes) for known in self._gears):
            more = measure_gears(path, read_onnx(path), [gear], bound=False)
            grown = replace(calibration, gears=(*self._gears, *more))
            order = replace(self.order, calibration=grown)
            place.grow(order, self.number, self._engine)
            self._gears = grown.gears
        return _Current(shapes, buffers=dict.fromkeys(self._names))


def _pause(seconds: float) -> None:
    """A copy's time on the emulated card, where nothing is copied that took as long."""
    if seconds:
        time.sleep(seconds)
