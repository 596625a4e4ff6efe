"""``Model``: build a file for a card, and run it."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np

from actors.emulator import nativelog
from actors.emulator.api_context import Context
from actors.emulator.arena import Array
from actors.emulator.build import plan_build
from actors.emulator.built import BuiltModel
from actors.emulator.config import merge, read_file
from actors.emulator.tensor import Tensor, model_tensor
from actors.emulator.types import (
    LISTS,
    NUMPY_TYPES,
    Containers,
    Format,
    ModelType,
    check_elements,
    check_isinstance,
    check_list,
    data_type,
)

_COMMON = "Common error code."
_INVALID = "Invalid input param by user."
#: What the log says where the genuine library would stop the whole process.
FREEZE = "Model is in use by another thread: this call waits with the interpreter lock held"


class Model:
    """A model file on a card. One lock per Model covers every call, as in the library.

    This is the class of release 2.0; what later ones add is in ``releases``.
    """

    _tensor: ClassVar[type[Tensor]] = Tensor
    _resized: ClassVar[Containers] = LISTS

    def __init__(self) -> None:
        self.model_path_ = ""
        self._provider = ""
        self._group_id: int | None = None
        self._lock = threading.RLock()
        self._built: BuiltModel | None = None
        self._poisoned = False

    def __str__(self) -> str:
        return f"model_path: {self.model_path_}."

    def build_from_file(
        self,
        model_path: str,
        model_type: ModelType,
        context: Context | None = None,
        config_path: str = "",
    ) -> None:
        """Load and build the ``.onnx`` beside ``model_path`` for the context's card.

        Args:
            model_path: a ``.mindir`` path; its exact spelling decides what it shares.
            model_type: ``ModelType.MINDIR``.
            context: where to run; None means target cpu, which is no card.
            config_path: a Lite configuration file.

        Raises:
            TypeError: arguments of other types.
            RuntimeError: a file is missing, or the build failed; the log says why.
        """
        self._build(model_path, model_type, context, config_path)

    def get_inputs(self) -> list[Tensor]:
        """New Tensors for the inputs, without data; none before a build."""
        with self._frozen():
            if self._built is None:
                return []
            specs = self._built.order.calibration.inputs
            return [
                model_tensor(self._tensor, spec.name, data_type(spec.dtype), shape, Format.NCHW)
                for spec, shape in zip(specs, self._built.input_shapes, strict=True)
            ]

    def predict(self, inputs: list[Tensor]) -> list[Tensor]:
        """Run the model. Inputs go by position; their memory is read, not copied.

        The answer shows memory that the next ``predict`` of this Model overwrites.

        Raises:
            TypeError: ``inputs`` is no list of Tensors.
            RuntimeError: the run failed; the log says why. After inputs of a wrong shape every call
                fails until ``resize``.
        """
        check_list("inputs", inputs, Tensor)
        return self._predict(inputs)

    def resize(self, inputs: Sequence[Tensor], dims: Sequence[Sequence[int]]) -> None:
        """Take other input shapes; fetch the inputs again afterwards.

        Raises:
            TypeError: arguments of other types; numpy integers are refused.
            ValueError: not one shape for each input given.
            RuntimeError: not a gear, or a shape that the model cannot take; the log says why.
        """
        _check_resize(self._resized, inputs, dims)
        nativelog.forget()
        with self._frozen():
            try:
                problem = self._resize([tuple(shape) for shape in dims])
            except Exception as error:
                nativelog.write(f"Resize failed: {error}")
                problem = _COMMON
            if problem:
                raise RuntimeError(f"resize failed! Error is {problem}")
            for tensor, shape in zip(inputs, dims, strict=True):
                if not tensor._has_data:
                    tensor.shape = list(shape)

    def _build(
        self,
        model_path: str,
        model_type: ModelType,
        context: Context | None,
        config_path: str,
        config_dict: Mapping[str, Mapping[str, str]] | None = None,
        dec_key: bytes | None = None,
    ) -> None:
        check_isinstance("model_path", model_path, str)
        check_isinstance("model_type", model_type, ModelType)
        context = Context() if context is None else context
        check_isinstance("context", context, Context)
        check_isinstance("config_path", config_path, str)
        self._provider = context._provider
        if not _exists(model_path):
            raise RuntimeError("build_from_file failed, model_path does not exist!")
        self.model_path_ = model_path
        sections = _sections(config_path, config_dict)
        nativelog.forget()
        with self._lock:
            try:
                self._require_buildable(dec_key)
                order = plan_build(model_path, model_type, context, sections, self._group_id)
                self._built = BuiltModel(order)
            except Exception as error:
                nativelog.write(f"Build model failed: {error}")
                raise RuntimeError(f"build_from_file failed! Error is {_COMMON}") from None

    @contextmanager
    def _frozen(self) -> Iterator[None]:
        """Hold the Model's lock for a call in which the library keeps the interpreter's (2.7.0).

        Should it have to wait for another thread, no thread of the process would run meanwhile.
        Python cannot imitate that; a line in the log says that it would happen.
        """
        if not self._lock.acquire(blocking=False):
            nativelog.write(FREEZE)
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    def _require_buildable(self, dec_key: bytes | None) -> None:
        if self._built is not None:
            raise ValueError("Model has been built")
        if dec_key is not None:
            raise ValueError("encrypted models cannot be emulated")

    def _predict(self, tensors: list[Tensor], outputs: list[Tensor] | None = None) -> list[Tensor]:
        nativelog.forget()
        with self._lock:
            try:
                return self._run(tensors, outputs)
            except Exception as error:
                nativelog.write(f"Model predict failed: {error}")
                raise RuntimeError("predict failed!") from None

    def _run(self, tensors: list[Tensor], outputs: list[Tensor] | None) -> list[Tensor]:
        built = self._built
        if built is None:
            raise ValueError("Model is not built")
        if len(tensors) != len(built.input_shapes):
            raise ValueError(f"{len(tensors)} inputs, the model has {len(built.input_shapes)}")
        if self._poisoned:
            raise ValueError("input shapes were wrong in an earlier call: resize first")
        self._match_shapes(built, tensors)
        feeds = [
            _feed(tensor, spec.dtype, shape)
            for tensor, spec, shape in zip(
                tensors, built.order.calibration.inputs, built.input_shapes, strict=True
            )
        ]
        targets = [tensor._memory() for tensor in outputs or ()]
        found = built.run(feeds, targets)
        return [
            model_tensor(
                self._tensor,
                spec.name,
                data_type(spec.dtype),
                found[spec.name].shape,
                Format.DEFAULT,
                found[spec.name].view(spec.dtype),
            )
            for spec in built.order.calibration.outputs
        ]

    def _match_shapes(self, built: BuiltModel, tensors: list[Tensor]) -> None:
        """Other shapes than the current ones are an implicit resize; its failure poisons the Model.

        A fixed model takes any shape of the right number of bytes, with a warning (2.7.0,
        model_process.cc). On target cpu ``predict`` resizes nothing (2.0.0, executed).
        """
        shapes = [tuple(tensor.shape) for tensor in tensors]
        current = built.input_shapes
        if shapes == current:
            return
        same_size = [t.data_size == n for t, n in zip(tensors, built.input_bytes, strict=True)]
        if built.is_fixed and all(same_size):
            nativelog.write(f"Input shapes {shapes} differ from the model's {current}")
            return
        if built.on_host:
            self._poisoned = True
            raise ValueError(f"input shapes {shapes} are not the current ones, {current}")
        try:
            built.resize(shapes)
        except Exception:
            self._poisoned = True
            raise

    def _resize(self, shapes: list[tuple[int, ...]]) -> str:
        built = self._built
        if built is None:
            return _COMMON
        if len(shapes) != len(built.input_shapes) or any(dim <= 0 for s in shapes for dim in s):
            return _INVALID
        built.resize(shapes)
        self._poisoned = False
        return ""


def _exists(model_path: str) -> bool:
    path = Path(model_path)
    return path.exists() or path.with_suffix(".onnx").exists() if path.name else False


def _sections(
    config_path: str, config_dict: Mapping[str, Mapping[str, str]] | None
) -> dict[str, dict[str, str]]:
    """The configuration of a build, checked as the library checks it."""
    from_file: dict[str, dict[str, str]] = {}
    if config_path:
        if not Path(config_path).exists():
            raise RuntimeError("build_from_file failed, config_path does not exist!")
        try:
            from_file = read_file(Path(config_path))
        except (ValueError, OSError) as error:
            nativelog.write(f"Load config {config_path} failed: {error}")
            raise RuntimeError(f"load configuration failed! Error is {_COMMON}") from None
    if not config_dict:
        return from_file
    check_isinstance("config_dict", config_dict, dict)
    for section, values in config_dict.items():
        check_isinstance("config_dict_key", section, str)
        check_isinstance("config_dict_value", values, dict)
        for key, value in values.items():
            check_isinstance("config_dict_value_key", key, str)
            check_isinstance("config_dict_value_value", value, str)
    return merge(from_file, config_dict)


def _check_resize(
    taken: Containers, inputs: Sequence[Tensor], dims: Sequence[Sequence[int]]
) -> None:
    taken.check("inputs", inputs)
    taken.check("dims", dims)
    check_elements("inputs", inputs, Tensor)
    for index, shape in enumerate(dims):
        taken.check("dims element", shape, f" at index {index}")
        for at, dim in enumerate(shape):
            if not isinstance(dim, int):
                raise TypeError(
                    f"dims element's element must be int, but got {type(dim)} "
                    f"at {index}th dims element's {at}th element."
                )
    if len(inputs) != len(dims):
        raise ValueError(
            f"inputs' size does not match dims' size, but got inputs: {len(inputs)} "
            f"and dims: {len(dims)}."
        )


def _feed(tensor: Tensor, dtype: str, shape: tuple[int, ...]) -> Array:
    if NUMPY_TYPES.get(tensor.dtype) is not np.dtype(dtype).type:
        raise ValueError(f"input type {tensor.dtype} is not the model's {dtype}")
    return tensor._memory().reshape(shape)
