"""The constants of a model file by name, read from MindIR and ONNX alike without a library.

A GE session holds its parameters by name: two models that bring different bytes under one name
would both answer with the first one's. Field numbers are those of mind_ir.proto and onnx.proto3;
both files are protobufs whose graph is field 7.
"""

import hashlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from actors.files.protobuf import Message, Span

_GRAPH = 7


@dataclass(frozen=True)
class _Format:
    """Where a format keeps its constants. ``external``: where a constant's bytes lie elsewhere."""

    constant: int
    name: int
    external: int


_FORMATS = {
    ".mindir": _Format(constant=3, name=7, external=12),
    ".onnx": _Format(constant=5, name=8, external=13),
}


@dataclass(frozen=True)
class Parameter:
    """One constant. ``digest``: SHA-256 of its type, shape and bytes, of which there are nbytes."""

    digest: str
    nbytes: int


def read_parameters(path: Path) -> dict[str, Parameter]:
    """Every named constant of a ``.mindir`` or ``.onnx`` file.

    Constants that lie in files beside the model are read there.

    Raises:
        ValueError: not such a file, or one that is cut off.
        OSError: a file cannot be read.
    """
    layout = _FORMATS.get(path.suffix)
    if layout is None:
        raise ValueError(f"{path} is neither a .mindir nor an .onnx file")
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return dict(_constants(Message(data), layout, path.parent))
        except (IndexError, UnicodeDecodeError, ValueError) as error:
            raise ValueError(f"{path} cannot be read as a model: {error}") from None


def _constants(file: Message, layout: _Format, folder: Path) -> Iterator[tuple[str, Parameter]]:
    for graph in file.spans(file.span, _GRAPH):
        for constant in file.spans(graph, layout.constant):
            yield file.text(constant, layout.name), _parameter(file, constant, layout, folder)


def _parameter(file: Message, constant: Span, layout: _Format, folder: Path) -> Parameter:
    """Over every field but the name."""
    found, nbytes = hashlib.sha256(), 0
    for number, value in file.fields(constant):
        if number in (layout.name, layout.external):
            continue
        found.update(f"{number}:".encode())
        if isinstance(value, int):
            found.update(str(value).encode())
        else:
            with memoryview(file.data) as view, view[slice(*value)] as part:
                found.update(part)
                nbytes += len(part)
    for piece in _external_bytes(file, constant, layout, folder):
        found.update(piece)
        nbytes += len(piece)
    return Parameter(found.hexdigest(), nbytes)


def _external_bytes(
    file: Message, constant: Span, layout: _Format, folder: Path
) -> Iterator[bytes]:
    """Bytes that lie in another file; how that file is called is no part of the constant.

    MindIR has one message with location 1, offset 2 and length 3; ONNX a message for each of these,
    by name.
    """
    places = list(file.spans(constant, layout.external))
    if not places:
        return
    if layout.constant == _FORMATS[".onnx"].constant:
        entries = {file.text(place, 1): file.text(place, 2) for place in places}
        location = entries.get("location", "")
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
    else:
        location = file.text(places[0], 1)
        offset, length = file.number(places[0], 2), file.number(places[0], 3)
    with (folder / location).open("rb") as beside:
        beside.seek(offset)
        left = length or 1 << 62
        while left and (piece := beside.read(min(left, 1 << 20))):
            yield piece
            left -= len(piece)
