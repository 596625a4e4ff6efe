"""The inputs that a model file has, against the shapes that the deployment declares."""

from collections.abc import Iterator, Sequence

from actors.gears import format_shapes
from actors.machine.finding import Finding
from actors.shapes import OPEN, Gear, Shape, TensorSpec
from orchestrator.config import Shapes
from orchestrator.config.findings import did_you_mean

#: Types of elements that a numpy array can hold, and so a request.
_NUMERIC = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("float16", "float32", "float64"),
)
#: How many gears a finding lists.
_SHOWN = 4


def input_findings(
    shapes: Shapes | None, inputs: Sequence[TensorSpec], gears: Sequence[Gear] = ()
) -> Iterator[Finding]:
    """Names, ranks, sizes and types that keep a model from being served as declared.

    ``gears``: what it was compiled for, as far as its file tells.
    """
    for spec in inputs:
        if spec.dtype not in _NUMERIC:
            fix = "let the model take float32 there and cast it inside"
            yield Finding(f"input {spec.name}", spec.dtype, "a type that numpy has", fix, False)
    if shapes is None:
        yield from _undeclared(inputs, gears)
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


def compiled_findings(
    shapes: Shapes | None, gears: Sequence[Gear], any_shape: bool
) -> Iterator[Finding]:
    """Gears that a model was not compiled for; ``any_shape``: it was compiled for whatever comes.

    A model for any shape takes every gear, but no workspace is shared with it, as a plan would.
    """
    if shapes is None:
        return
    if any_shape and shapes.dynamic is None:
        found = "a model compiled for any shape, which shares no workspace"
        wanted = f"one compiled for {_listed(shapes.combinations)}, as shapes declare"
        fix = "convert it with these gears, or write shapes: {dynamic: {max_shape: ...}}"
        yield Finding("shapes", found, wanted, fix, False)
    if not gears or dict(gears[0].inputs).keys() != dict(shapes.combinations[0].inputs).keys():
        return  # other names are told of each input
    compiled = {frozenset(gear.inputs) for gear in gears}
    wrong = [gear for gear in shapes.combinations if frozenset(gear.inputs) not in compiled]
    if shapes.dynamic is not None:
        found, wanted = f"a model compiled for {_listed(gears)}", "one that takes any shape"
        yield Finding("shapes", found, wanted, f"write shapes: {_yaml(gears)}", False)
    elif wrong:
        found = f"a model compiled for {_listed(gears)}"
        wanted = f"one for {_listed(wrong)}, as shapes declare"
        fix = f"convert the model for them, or write shapes: {_yaml(gears)}"
        yield Finding("shapes", found, wanted, fix, False)


def _undeclared(inputs: Sequence[TensorSpec], gears: Sequence[Gear]) -> Iterator[Finding]:
    for spec in inputs:
        if OPEN in spec.shape:
            wanted = "shapes in the deployment, or a .ini file that lists the gears"
            fix = "add shapes: {gears: [...]} or shapes: {dynamic: {max_shape: ...}}"
            if gears:
                fix = f"add shapes: {_yaml(gears)}, which it was compiled for"
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


def _listed(gears: Sequence[Gear]) -> str:
    """A few gears, the rest counted."""
    more = f" and {len(gears) - _SHOWN} more" if len(gears) > _SHOWN else ""
    return ", ".join(format_shapes(gear) for gear in gears[:_SHOWN]) + more


def _yaml(gears: Sequence[Gear]) -> str:
    """Gears as a deployment declares them; not all of many."""
    shown = [
        f"{{{', '.join(f'{name}: {list(shape)}' for name, shape in gear.inputs)}}}"
        for gear in gears[:_SHOWN]
    ]
    return f"{{gears: [{', '.join([*shown, *(['...'] if len(gears) > _SHOWN else [])])}]}}"
