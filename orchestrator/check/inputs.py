"""The inputs that a model file has, against the shapes that the deployment declares."""

from collections.abc import Iterator, Sequence

from actors.finding import Finding
from actors.gears import format_shapes
from actors.shapes import OPEN, Gear, Shape, TensorSpec
from orchestrator.config import Shapes
from orchestrator.config.findings import did_you_mean

#: Types of elements that a numpy array can hold, and so a request.
_NUMERIC = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("float16", "float32", "float64"),
)


def input_findings(shapes: Shapes | None, inputs: Sequence[TensorSpec]) -> Iterator[Finding]:
    """Names, ranks, sizes and types that keep a model from being served as declared."""
    for spec in inputs:
        if spec.dtype not in _NUMERIC:
            fix = "let the model take float32 there and cast it inside"
            yield Finding(f"input {spec.name}", spec.dtype, "a type that numpy has", fix, False)
    if shapes is None:
        yield from _undeclared(inputs)
        return
    declared = shapes.combinations
    names = [name for name, _ in declared[0].inputs]
    yield from _names(names, inputs)
    for spec in inputs:
        sizes = [dict(gear.inputs)[spec.name] for gear in declared if spec.name in names]
        yield from _sizes(spec, list(dict.fromkeys(sizes)))
    if shapes.dynamic is not None and not any(OPEN in spec.shape for spec in inputs):
        found = f"no open dimension ({', '.join(map(_told, inputs))})"
        fix = "write shapes: {fixed: ...}, or leave shapes out"
        yield Finding("shapes", found, "a model that takes any shape", fix, False)


def _undeclared(inputs: Sequence[TensorSpec]) -> Iterator[Finding]:
    for spec in inputs:
        if OPEN in spec.shape:
            wanted = "shapes in the deployment, or a .ini file that lists the gears"
            fix = "add shapes: {gears: [...]} or shapes: {dynamic: {max_shape: ...}}"
            yield Finding(f"input {spec.name}", f"{_told(spec)}, open", wanted, fix, False)


def _names(declared: Sequence[str], inputs: Sequence[TensorSpec]) -> Iterator[Finding]:
    known = [spec.name for spec in inputs]
    for name in declared:
        if name not in known:
            fix = f"correct its name{did_you_mean(name, known)}"
            found = f"inputs {', '.join(known) or 'none'}"
            yield Finding(f"input {name}", found, f"{name}, which shapes declare", fix, False)
    for spec in inputs:
        if spec.name not in declared:
            fix = f"add {spec.name} to every entry of shapes"
            yield Finding(f"input {spec.name}", _told(spec), "its shape in shapes", fix, False)


def _sizes(spec: TensorSpec, sizes: Sequence[Shape]) -> Iterator[Finding]:
    wrong = [size for size in sizes if not _fits(spec.shape, size)]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        wanted = f"{format_shapes(Gear(((spec.name, wrong[0]),)))}{more}, as shapes declare"
        fix = "correct shapes, or convert the model for them"
        yield Finding(f"input {spec.name}", _told(spec), wanted, fix, False)


def _fits(shape: Shape, size: Shape) -> bool:
    """Whether an input of this shape takes that size; an open rank takes any."""
    if shape == (OPEN,):
        return True
    return len(shape) == len(size) and all(
        dim in (OPEN, given) for dim, given in zip(shape, size, strict=True)
    )


def _told(spec: TensorSpec) -> str:
    return format_shapes(Gear(((spec.name, spec.shape),)))
