"""What each release of the library offers: the classes of 2.0, 2.3.1, 2.7 and 2.8 by their names.

Release 2.0 is what the other files have; here is what later ones add, each on top of the one
before. Sources and evidence of every name and signature: ``tests/contract``.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from actors.emulator import api_context, model, tensor
from actors.emulator.arena import Array
from actors.emulator.group import ModelGroup
from actors.emulator.made_tensor import Tensor
from actors.emulator.tensor import TensorMeta
from actors.emulator.types import (
    RESIZED,
    SEQUENCES,
    DataType,
    Format,
    ModelGroupFlag,
    ModelType,
    check_elements,
    check_isinstance,
    check_list,
    data_type,
)


class Ascend(api_context.Ascend):
    """``context.ascend`` from 2.3.1 on."""

    def __init__(self) -> None:
        super().__init__()
        self._rank_id = 0
        self._provider = ""

    @property
    def rank_id(self) -> int:
        """Rank in a communication group."""
        return self._rank_id

    @rank_id.setter
    def rank_id(self, value: int) -> None:
        self._rank_id = self._natural("rank_id", value)

    @property
    def provider(self) -> str:
        """``""`` for ACL, ``"ge"`` for GE."""
        return self._provider

    @provider.setter
    def provider(self, value: str) -> None:
        check_isinstance("ascend_provider", value, str)
        self._provider = value


class Context231(api_context.Context):
    """``Context`` of 2.3.1: Ascend has a provider."""

    _ascend = Ascend


class Context27(Context231):
    """``Context`` of 2.7."""

    def __init__(self) -> None:
        super().__init__()
        self._group_info_file = ""

    @property
    def group_info_file(self) -> str:
        """Communication groups of distributed inference; kept, and not used."""
        return self._group_info_file

    @group_info_file.setter
    def group_info_file(self, value: str) -> None:
        check_isinstance("group_info_file", value, str)
        self._group_info_file = value


class Model231(model.Model):
    """``Model`` of 2.3.1: options by dictionary, outputs described or given, model information."""

    _tensor = Tensor
    _resized = RESIZED

    def build_from_file(
        self,
        model_path: str,
        model_type: ModelType,
        context: api_context.Context | None = None,
        config_path: str = "",
        config_dict: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """As in 2.0; ``config_dict`` has options by section, which win over ``config_path``."""
        self._build(model_path, model_type, context, config_path, config_dict)

    def get_outputs(self) -> tuple[TensorMeta, ...]:
        """What the outputs look like at the current shapes."""
        with self._frozen():
            if self._built is None:
                return ()
            specs = self._built.order.calibration.outputs
            return tuple(
                _meta(spec.name, spec.dtype, shape)
                for spec, shape in zip(specs, self._built.output_shapes, strict=True)
            )

    def get_model_info(self, key: str) -> str:
        """``input_shape`` and ``dynamic_dims`` as compiled, ``current_pid``; else the empty string.

        Raises:
            TypeError: ``key`` is no string.
        """
        if not isinstance(key, str):
            raise TypeError(f"key must be str, but got {type(key)}.")
        if key == "current_pid":
            return str(os.getpid())
        with self._lock:
            return "" if self._built is None else self._built.order.info.get(key, "")

    def predict(
        self, inputs: list[tensor.Tensor], outputs: list[tensor.Tensor] | None = None
    ) -> list[tensor.Tensor]:
        """As in 2.0, with ``outputs`` to write into memory of the caller's.

        Raises:
            TypeError: ``inputs`` or ``outputs`` is no list of Tensors.
            RuntimeError: the run failed; the log says why.
        """
        check_list("inputs", inputs, tensor.Tensor)
        _check_outputs(outputs)
        return self._predict(inputs, outputs)


class Model27(Model231):
    """``Model`` of 2.7: arrays as inputs, and encrypted files, which cannot be emulated."""

    @property
    def provider(self) -> str:
        """The provider of the context that it was built with."""
        return self._provider

    @provider.setter
    def provider(self, value: str) -> None:
        self._provider = value

    def build_from_file(  # noqa: PLR0913, PLR0917 - the library's signature
        self,
        model_path: str,
        model_type: ModelType,
        context: api_context.Context | None = None,
        config_path: str = "",
        config_dict: Mapping[str, Mapping[str, str]] | None = None,
        dec_key: bytes | None = None,
        dec_mode: str = "AES-GCM",
        dec_num_parallel: int = 0,
    ) -> None:
        """As in 2.3.1; a build with ``dec_key`` fails, whatever the other two say."""
        del dec_mode, dec_num_parallel
        if config_path and config_dict:
            _name_weights(config_path, config_dict)
        self._build(model_path, model_type, context, config_path, config_dict, dec_key)

    def predict(
        self,
        inputs: Sequence[tensor.Tensor | Array],
        outputs: list[tensor.Tensor] | None = None,
    ) -> list[tensor.Tensor]:
        """As in 2.3.1, with arrays among the inputs, and any sequence of them.

        Raises:
            TypeError: ``inputs`` is no list or tuple of Tensors or arrays, ``outputs`` no list of
                Tensors.
            RuntimeError: a wrong number of inputs, or the run failed; the log says why.
        """
        SEQUENCES.check("inputs", inputs)
        own = self.get_inputs()
        if len(own) != len(inputs):
            raise RuntimeError(f"model input len:{len(own)} not equal input len:{len(inputs)}!")
        tensors = [_as_tensor(given, mine) for given, mine in zip(inputs, own, strict=True)]
        _check_outputs(outputs)
        return self._predict(tensors, outputs)


@dataclass(frozen=True)
class Release:
    """One release: its version, what the package exports, and whether it runs on cards here."""

    version: str
    names: Mapping[str, object]
    has_cards: bool = True


_OF_ALL = {"DataType": DataType, "Format": Format, "ModelType": ModelType}
_OF_GROUPS = {
    **_OF_ALL,
    "ModelGroup": ModelGroup,
    "ModelGroupFlag": ModelGroupFlag,
    "Tensor": Tensor,
    "TensorMeta": TensorMeta,
}

#: The releases that are emulated, by the name that ``configure`` takes.
RELEASES = {
    "2.0": Release(
        "2.0.0",
        {
            **_OF_ALL,
            "Context": api_context.Context,
            "Model": model.Model,
            "Tensor": tensor.Tensor,
        },
        has_cards=False,
    ),
    "2.3.1": Release("2.3.1", {**_OF_GROUPS, "Context": Context231, "Model": Model231}),
    "2.7": Release("2.7.0", {**_OF_GROUPS, "Context": Context27, "Model": Model27}),
    "2.8": Release("2.8.0", {**_OF_GROUPS, "Context": Context27, "Model": Model27}),
}


def _as_tensor(given: object, own: tensor.Tensor) -> tensor.Tensor:
    if isinstance(given, np.ndarray):
        own.set_data_from_numpy(given)
        return own
    if isinstance(given, tensor.Tensor):
        return given
    raise TypeError("inputs element must be Tensor, of numpy.")


def _check_outputs(outputs: list[tensor.Tensor] | None) -> None:
    if outputs is None:
        return
    if not isinstance(outputs, list):  # it names the inputs, which are a list by then
        raise TypeError(f"inputs must be list, but got {list}.")
    check_elements("outputs", outputs, tensor.Tensor)


def _meta(name: str, dtype: str, shape: Sequence[int]) -> TensorMeta:
    made = tensor.model_tensor(Tensor, name, data_type(dtype), shape, Format.DEFAULT)
    meta = TensorMeta()
    meta.name, meta.dtype, meta.shape = name, made.dtype, made.shape
    meta.format, meta.element_num, meta.data_size = made.format, made.element_num, made.data_size
    return meta


def _name_weights(config_path: str, config_dict: Mapping[str, Mapping[str, str]]) -> None:
    """Weights to update, as a config file names them, go into a section that must be given.

    The library takes that for granted (build_from_file in python/api/model.py): KeyError.
    """
    file = Path(config_path)
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    if "variable_weights_file" in text:
        config_dict["ascend_context"]
