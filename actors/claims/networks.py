"""Small networks for cards that nobody has brought models to, written as ONNX without its package.

Field numbers are those of onnx.proto3. Weights come from a seed and depend on the layers alone:
files of one kind and width hold the same weights by the same names.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from actors.messages import Provider

_FLOAT, _INT, _INTS = 1, 2, 7  # TensorProto.FLOAT; AttributeProto.INT and INTS
_IR_VERSION, _OPSET = 9, 17
_MAPS = (16, 16, 3)


def write_conv(folder: Path, name: str, size: int) -> str:
    """``x [1, 3, size, size] -> y``, three convolutions: much workspace, few weights.

    Returns the path of the ``.mindir`` that the file is to become. All attributes are written out:
    the library cannot build a ``Conv`` that leaves strides, dilations or group to their defaults.
    """
    rng, nodes, weights, last, depth = np.random.default_rng(0), [], [], "x", 3
    for layer, maps in enumerate(_MAPS):
        out = "y" if layer == len(_MAPS) - 1 else f"a{layer}"
        weights.append(_weights(rng, f"w{layer}", (maps, depth, 3, 3), depth * 9))
        attributes = [
            _ints("kernel_shape", [3, 3]),
            _ints("pads", [1, 1, 1, 1]),
            _ints("strides", [1, 1]),
            _ints("dilations", [1, 1]),
            _text(1, "group") + _number(3, 1) + _number(20, _INT),
        ]
        nodes.append(_node("Conv", [last, f"w{layer}"], out, attributes))
        last, depth = out, maps
    return _save(folder, name, nodes, (1, 3, size, size), weights)


def write_mlp(folder: Path, name: str, rows: int, width: int) -> str:
    """``x [rows, width] -> y``, two layers: ``8 * width ** 2`` bytes of weights, little workspace.

    Returns the path of the ``.mindir`` that the file is to become.
    """
    rng, nodes, weights, last = np.random.default_rng(0), [], [], "x"
    for layer, out in enumerate(("a", "y")):
        weights.append(_weights(rng, f"w{layer}", (width, width), width))
        nodes.append(_node("MatMul", [last, f"w{layer}"], f"m{layer}"))
        nodes.append(_node("Relu", [f"m{layer}"], out))
        last = out
    return _save(folder, name, nodes, (rows, width), weights)


def convert(library: ModuleType, path: str, provider: Provider = "acl") -> None:
    """Make the ``.mindir`` of a network that was written here, with the library's Converter.

    For provider ``ge`` the graph is left to be compiled at its build (the converter's own source
    branches on ``provider`` of ``ascend_context``; nobody has run it for this project).

    Raises:
        RuntimeError: the conversion failed.
    """
    converter = library.Converter()
    converter.save_type = library.ModelType.MINDIR
    converter.optimize = "ascend_oriented"
    if provider == "ge":
        converter.set_config_info("ascend_context", {"provider": "ge"})
    stem = Path(path).with_suffix("")
    converter.convert(library.FmkType.ONNX, f"{stem}.onnx", str(stem))


def _save(
    folder: Path, name: str, nodes: Iterable[bytes], shape: Sequence[int], weights: Iterable[bytes]
) -> str:
    graph = b"".join(_part(1, node) for node in nodes) + _text(2, "network")
    graph += b"".join(_part(5, tensor) for tensor in weights)
    graph += _part(11, _value("x", shape)) + _part(12, _value("y", shape))
    model = _number(1, _IR_VERSION) + _part(7, graph) + _part(8, _number(2, _OPSET))
    path = folder / f"{name}.onnx"
    path.write_bytes(model)
    return str(path.with_suffix(".mindir"))


def _weights(rng: np.random.Generator, name: str, shape: Sequence[int], fan_in: int) -> bytes:
    scale = np.float32(np.sqrt(12 / fan_in))
    values = (rng.random(shape, np.float32) - np.float32(0.5)) * scale
    return _tensor(name, values)


def _tensor(name: str, values: npt.NDArray[np.float32]) -> bytes:
    dims = b"".join(_number(1, size) for size in values.shape)
    return dims + _number(2, _FLOAT) + _text(8, name) + _part(9, values.astype("<f4").tobytes())


def _node(kind: str, inputs: Sequence[str], output: str, attributes: Iterable[bytes] = ()) -> bytes:
    ends = b"".join(_text(1, name) for name in inputs) + _text(2, output)
    return ends + _text(4, kind) + b"".join(_part(5, attribute) for attribute in attributes)


def _ints(name: str, values: Iterable[int]) -> bytes:
    return _text(1, name) + b"".join(_number(8, value) for value in values) + _number(20, _INTS)


def _value(name: str, shape: Iterable[int]) -> bytes:
    dims = b"".join(_part(1, _number(1, size)) for size in shape)
    return _text(1, name) + _part(2, _part(1, _number(1, _FLOAT) + _part(2, dims)))


def _text(field: int, text: str) -> bytes:
    return _part(field, text.encode())


def _part(field: int, data: bytes) -> bytes:
    """A field that has a length: text, bytes, or a message."""
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
