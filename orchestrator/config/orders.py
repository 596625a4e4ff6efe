"""A model of the deployment as the order that a card gets."""

from actors.gears import DYNAMIC_DIMS, INPUT_SHAPE, SECTION, format_gears, format_shapes
from actors.messages import CardKind, ModelOrder
from actors.shapes import Gear
from orchestrator.config.cards import Sharing
from orchestrator.config.lite_file import config_path, lite_shapes
from orchestrator.config.models import EMULATED_SECTION, EmulatedTimes, ModelSpec
from orchestrator.config.shapes import Shapes
from orchestrator.errors import DeploymentError
from orchestrator.sources import is_url


def order_of(model: ModelSpec, kind: CardKind, sharing: Sharing) -> ModelOrder:
    """Build it. ``sharing`` is the deployment's, which the model's own exceptions override.

    Raises:
        DeploymentError: shapes are left to a Lite config file that cannot be read.
    """
    shapes = model.shapes or shapes_of_config(model)
    dynamic = shapes is not None and shapes.dynamic is not None
    can_share = kind != "cpu"
    return ModelOrder(
        name=model.name,
        path=model.path,
        provider=model.provider,
        threads=model.threads,
        share_weights=can_share and _first(model.sharing.weights, sharing.weights),
        share_workspace=can_share
        and not dynamic
        and model.provider != "ge"
        and _first(model.sharing.workspace, sharing.workspace),
        gears=_gears(shapes),
        dynamic=dynamic,
        batching=model.batching.rule,
        precision=model.precision,
        config_path=model.lite.config_file,
        config=_config(model, shapes),
        compile_at_build=model.compile_at_build,
        version=model.version or "",
    )


def shapes_of_config(model: ModelSpec) -> Shapes | None:
    """The shapes that the model's Lite config declares; None when it leaves them to the model.

    Raises:
        DeploymentError: the config cannot be read.
    """
    try:
        found = lite_shapes(model)
    except ValueError as error:
        raise DeploymentError(f"model {model.name}", (str(error),)) from error
    return Shapes.of_gears(found.gears) if found is not None and found.gears else None


def _gears(shapes: Shapes | None) -> tuple[Gear, ...] | None:
    """None for a fixed model, whose shape the library itself reports."""
    if shapes is None or shapes.fixed is not None:
        return None
    return shapes.combinations


def _config(model: ModelSpec, shapes: Shapes | None) -> dict[str, dict[str, str]]:
    """Lite's options by section, the shapes as the converter writes them, and emulated times."""
    config = {section: dict(options) for section, options in model.lite.options.items()}
    if shapes is not None and shapes.dynamic is None:
        input_shape, dynamic_dims = format_gears(shapes.combinations)
        keys = config.setdefault(SECTION, {})
        keys[INPUT_SHAPE] = input_shape
        # What a file beside the model says would stay in force else; a URL may have one.
        if dynamic_dims or is_url(model.path) or config_path(model) is not None:
            keys[DYNAMIC_DIMS] = dynamic_dims
    emulated = _times(model.emulated) if model.emulated else {}
    if shapes is not None and shapes.dynamic is not None:
        emulated["max_shape"] = format_shapes(shapes.combinations[0])
    if emulated:
        config[EMULATED_SECTION] = emulated
    return config


def _times(times: EmulatedTimes) -> dict[str, str]:
    return {
        "execute_ms": ",".join(_milliseconds(seconds) for seconds in times.execute),
        "copy_in_ms": _milliseconds(times.copy_in),
        "copy_out_ms": _milliseconds(times.copy_out),
    }


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.12g}"


def _first(own: bool | None, default: bool | None) -> bool:
    """The model's own word, else the deployment's, else yes."""
    if own is not None:
        return own
    return default is not False
