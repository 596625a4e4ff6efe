"""One built Model object of the library: its signature, its lock, and one checked call at a time.

The library reports most mistakes late or never, so everything is checked before the call: names,
dtypes, shapes, memory layout. Every call on a Model object is made under that object's own lock,
``get_inputs`` included: a second thread would otherwise wait inside the library with the
interpreter lock held, and freeze the process.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import numpy as np

from actors.diagnosis import native_log_position
from actors.errors import PredictError
from actors.messages import ModelOrder
from actors.shapes import OPEN, Array, Arrays, Gear, Signature, TensorSpec, numpy_type

T = TypeVar("T")

#: What the library raises for everything that goes wrong; the types tell nothing apart. Its Python
#: layer looks things up in the user's options without a check, too.
LIBRARY_ERRORS = (RuntimeError, TypeError, ValueError, LookupError)


class RefusalError(ValueError):
    """What we refuse ourselves, so that the library and its log have nothing to do with it."""


class ModelObject:
    """One built Model object and its lock. Several threads may call it; they run one at a time."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401
        order: ModelOrder,
        slot: str,
        explain: Callable[[Exception, int], str],
        serial: AbstractContextManager[Any] | None = None,
    ) -> None:
        """Read the signature. Raises RefusalError when the declared shapes do not suit the model.

        ``explain`` turns what the library raised, and where its log ended before the call, into
        what a user is told. ``serial`` is held while the model runs: the lock of a GE session,
        whose graphs must not run at the same time.
        """
        self._model = model
        self._name = order.name
        self._slot = slot
        self._explain = explain
        self._serial = serial or nullcontext()
        self._lock = threading.Lock()
        with self._lock:
            self.signature = _signature(order, model)
        self._fixed = not any(OPEN in spec.shape for spec in self.signature.inputs)
        self._by_tensor = order.provider == "ge"
        self._gear: Gear | None = self.signature.gears[0] if self._fixed else None
        self._largest = self.signature.gears[0] if order.dynamic else None
        self.predict_seconds = 0.0
        """How long the last batch was in ``predict``, its turn on a shared workspace awaited."""

    def predict(self, gear: Gear, batch: Sequence[Array], collect: Callable[[Arrays], T]) -> T:
        """Run one batch of exactly the gear's shapes and return ``collect(outputs)``.

        ``batch``: C-contiguous native arrays in input order, not changed during the call.
        ``collect`` runs under the lock on views of the library's own memory, which the next call
        overwrites: it must copy what it keeps.

        Raises:
            PredictError: the library failed, or the batch is not what it says.
        """
        with self._lock:
            written = native_log_position()
            try:
                tensors = self._inputs(gear)
                if len(batch) != len(tensors):
                    raise RefusalError(f"{len(batch)} inputs, the model takes {len(tensors)}")
                for tensor, array in zip(tensors, batch, strict=True):
                    _require_usable(tensor, array)
                    tensor.set_data_from_numpy(array)
                began = time.monotonic()
                with self._serial:
                    outputs = self._model.predict(tensors)
                self.predict_seconds = time.monotonic() - began
                return collect({t.name: _shown(t) for t in outputs})
            except LIBRARY_ERRORS as error:
                if not self._fixed:  # a failed call can leave wrong shapes; resize cures them
                    self._gear = None
                ours = isinstance(error, RefusalError)
                told = str(error) if ours else self._explain(error, written)
                raise PredictError(self._slot, self._name, told) from error

    def _inputs(self, gear: Gear) -> list[Any]:
        """Input tensors of the gear's shapes; a list, since release 2.0 takes nothing else.

        Resized only where the model has open dimensions: a fixed model must not be (it fails on
        Ascend), tensors fetched before a resize keep their old shapes, and GE takes the shapes of
        the tensors themselves.
        """
        if self._gear != gear:
            if self._fixed:
                raise RefusalError(f"shapes {gear.inputs} and the model is fixed to {self._gear}")
            self._require_room(gear)
            if not self._by_tensor:
                self._model.resize(self._model.get_inputs(), _dims(gear))
                self._gear = gear
        tensors = list(self._model.get_inputs())
        if self._by_tensor and not self._fixed:
            for tensor, dims in zip(tensors, _dims(gear), strict=True):
                tensor.shape = dims
        return tensors

    def _require_room(self, gear: Gear) -> None:
        """Refuse what a purely dynamic model was not planned for: it allocates while it runs."""
        if self._largest is None:
            return
        for (name, shape), (_, most) in zip(gear.inputs, self._largest.inputs, strict=True):
            if len(shape) != len(most) or any(d > m for d, m in zip(shape, most, strict=True)):
                raise RefusalError(
                    f"input {name} has shape {shape}, and the card's memory is planned for "
                    f"max_shape {most}"
                )


def _dims(gear: Gear) -> list[list[int]]:
    """The gear's shapes as the library takes them: lists of Python ints, no numpy integers."""
    return [[int(dim) for dim in shape] for _, shape in gear.inputs]


def _signature(order: ModelOrder, model: Any) -> Signature:  # noqa: ANN401
    inputs = _specs(model.get_inputs())
    outputs = _specs(model.get_outputs()) if hasattr(model, "get_outputs") else ()  # not in 2.0
    if order.gears is None:
        open_ones = [spec for spec in inputs if OPEN in spec.shape]
        if open_ones:
            told = ", ".join(f"{spec.name} {spec.shape}" for spec in open_ones)
            raise RefusalError(
                f"input {told} has open dimensions: declare shapes as gears or dynamic max_shape"
            )
        return Signature(inputs, outputs, (Gear(tuple((s.name, s.shape) for s in inputs)),))
    gears = tuple(_ordered(gear, inputs) for gear in order.gears)
    return Signature(inputs, outputs, gears, order.dynamic)


def _specs(tensors: Sequence[Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(t.name, _type_of(t).name, tuple(int(dim) for dim in t.shape)) for t in tensors
    )


def _type_of(tensor: Any) -> np.dtype[np.generic]:  # noqa: ANN401
    """Its numpy type; the library gives None for a type that its Python layer does not know."""
    kind = tensor.dtype
    return numpy_type(f"tensor {tensor.name}", "" if kind is None else kind.name.lower())


def _ordered(gear: Gear, inputs: Sequence[TensorSpec]) -> Gear:
    """The gear in the model's input order; RefusalError when it does not suit the inputs."""
    shapes = dict(gear.inputs)
    if set(shapes) != {spec.name for spec in inputs}:
        names = ", ".join(spec.name for spec in inputs)
        raise RefusalError(f"the declared shapes name {', '.join(shapes)}; the inputs are {names}")
    for spec in inputs:
        shape = shapes[spec.name]
        if len(shape) != len(spec.shape) or any(
            dim not in (OPEN, size) for size, dim in zip(shape, spec.shape, strict=False)
        ):
            raise RefusalError(
                f"declared shape {shape} of input {spec.name}; the model has {spec.shape}"
            )
    return Gear(tuple((spec.name, shapes[spec.name]) for spec in inputs))


def _shown(output: Any) -> Array:  # noqa: ANN401
    """The library's view of an output; of one without elements nothing is asked.

    Release 2.0 divides by their number, which kills the process, and later ones show an array of
    another shape and type (get_data_to_numpy in python/src/tensor_pybind.cc).
    """
    shape = tuple(int(dim) for dim in output.shape)
    if OPEN in shape:
        raise RefusalError(f"output {output.name} has the open shape {shape} after a run")
    view: Array = output.get_data_to_numpy() if all(shape) else np.empty(shape, _type_of(output))
    return view


def _require_usable(tensor: Any, array: Array) -> None:  # noqa: ANN401
    """Refuse what ``set_data_from_numpy`` would ignore without a word, or wrongly accept."""
    wanted = _type_of(tensor)
    if array.dtype != wanted:  # a byte order is part of a type
        raise RefusalError(f"input {tensor.name} is {array.dtype.str}, not native {wanted.name}")
    if tuple(tensor.shape) != array.shape or not array.flags.c_contiguous:
        raise RefusalError(
            f"input {tensor.name} has shape {array.shape} (contiguous: "
            f"{array.flags.c_contiguous}), the model's is {tuple(tensor.shape)}"
        )
