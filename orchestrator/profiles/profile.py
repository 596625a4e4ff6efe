"""What is known about each model: as declared, else as measured, else as estimated."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from actors.files.modelfiles import model_bytes
from actors.memory import Sizes
from actors.messages import Measurement, ModelFiles, ModelOrder, StoredFile
from orchestrator.config import Cards, Deployment, ModelSpec
from orchestrator.errors import DeploymentError
from orchestrator.profiles.cache import ProfileCache, measurement_from, model_file, model_path
from orchestrator.profiles.times import batch_times, gears_of, largest_batch
from orchestrator.sources import known_files

Origin = Literal["measured", "compiled", "declared", "estimated"]

#: An estimate's workspace, from the file's size and from one float32 set of the inputs. Coarse on
#: purpose: convolutions keep several wide layers alive, transformers about as much as they weigh.
WORKSPACE_PER_WEIGHT = 2
WORKSPACE_PER_INPUT = 16


@dataclass(frozen=True)
class ModelProfile:
    """Sizes before rounding, and milliseconds of the batch that will be used (None: unknown).

    ``origin`` is that of the least certain part; ``declared`` names what the deployment gave.
    ``session_bytes``: what all models of its GE session take together, 0 where nobody measured it.
    ``files`` are those that it was made from; None where they are not on this machine.
    """

    name: str
    sizes: Sizes
    origin: Origin
    service_ms: float | None = None
    batch_ms: float | None = None
    declared: tuple[str, ...] = ()
    measurement: Measurement | None = None
    session_bytes: int = 0
    files: ModelFiles | None = None

    @property
    def label(self) -> str:
        """Where the numbers come from, for tables: ``measured``, ``declared: sizes``."""
        if self.origin == "compiled":
            told = self.measurement.library if self.measurement else "compiled file"
            return f"{told}, io estimated"
        parts: list[str] = [self.origin]
        if self.origin == "measured" and self.measurement and self.measurement.copies_estimated:
            parts.append("copies estimated")
        if self.origin != "declared" and self.declared:
            parts.append(f"declared {' and '.join(self.declared)}")
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """JSON of the profile; ``from_dict`` reads it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ModelProfile":
        """Read what ``to_dict`` wrote.

        Raises:
            KeyError, TypeError: the data is of another shape.
        """
        sizes = dict(data["sizes"], tensors=tuple(data["sizes"]["tensors"]))
        measured = data["measurement"]
        return cls(
            name=data["name"],
            sizes=Sizes(**sizes),
            origin=data["origin"],
            service_ms=data["service_ms"],
            batch_ms=data["batch_ms"],
            declared=tuple(data["declared"]),
            measurement=None if measured is None else measurement_from(measured),
            session_bytes=data.get("session_bytes", 0),
            files=_files(data.get("files")),
        )


def missing(deployment: Deployment, cache: ProfileCache) -> tuple[ModelOrder, ...]:
    """The models whose sizes or times the plan needs and nobody has declared or measured.

    Raises:
        DeploymentError: the file of such a model is missing.
    """
    kind, card_type = deployment.cards.kind, deployment.cards.type
    return tuple(
        order
        for spec, order in _models(deployment)
        if _must_measure(spec) and not _was_run(cache.get(order, kind, card_type))
    )


def collect(
    deployment: Deployment, cache: ProfileCache, *, estimate: bool = False
) -> dict[str, ModelProfile]:
    """A profile for every model: as declared, else as measured, else, if allowed, estimated.

    Times are never estimated: nothing in a file tells them within a factor of a hundred.

    Raises:
        DeploymentError: a model's file is missing, or it is not measured and must not be estimated:
            its sizes, or its time where it has demand.
    """
    kind, card_type = deployment.cards.kind, deployment.cards.type
    profiles = {}
    for spec, order in _models(deployment):
        here = spec.sizes is None or model_path(order, kind).is_file()
        measurement = cache.get(order, kind, card_type) if here else None
        found = profile(spec, order, deployment.cards, measurement, estimate=estimate)
        files = known_files(order, kind) if here else None
        profiles[spec.name] = replace(found, files=files)
    session = session_members(deployment)
    peak = cache.session(session, kind, card_type) if session else None
    for order in session:
        profiles[order.name] = replace(profiles[order.name], session_bytes=peak or 0)
    return profiles


def session_members(deployment: Deployment) -> tuple[ModelOrder, ...]:
    """The models of a GE session that can be measured as one; none where sizes are declared."""
    if deployment.cards.kind == "cpu":
        return ()
    ge = [(s, o) for s, o in _models(deployment) if o.provider == "ge" and o.share_weights]
    return () if any(spec.sizes is not None for spec, _ in ge) else tuple(o for _, o in ge)


def profile(
    spec: ModelSpec,
    order: ModelOrder,
    cards: Cards,
    measurement: Measurement | None,
    *,
    estimate: bool = False,
) -> ModelProfile:
    """One model's profile; what the deployment says of it goes before what was measured.

    Raises:
        DeploymentError: sizes or a time are needed and not known.
    """
    sizes, origin = _sizes(spec, order, cards, measurement, estimate)
    timed = measurement if _was_run(measurement) else None
    service_ms, batch_ms, source = _times(spec, order, cards, timed)
    if spec.demand is not None and not service_ms and not estimate:
        text = "has demand and no known time: give its service_time, or let it be measured"
        raise DeploymentError(f"model {spec.name}", (text,))
    declared = (("sizes",) if origin == "declared" else ()) + ((source,) if source else ())
    return ModelProfile(spec.name, sizes, origin, service_ms, batch_ms, declared, measurement)


def measured_sizes(measurement: Measurement) -> Sizes:
    """What a measured model takes at its largest gear, before rounding.

    What many runs took and did not give back is charged to every Model object.
    """
    return Sizes(
        weights=measurement.weight_bytes,
        workspace=measurement.workspace_bytes,
        tensors=measurement.tensor_bytes,
        object_bytes=measurement.object_bytes + max(measurement.drift_bytes, 0),
        streams=measurement.streams,
        dynamic=measurement.dynamic,
    )


def _files(data: Mapping[str, Any] | None) -> ModelFiles | None:
    if data is None:
        return None
    stored = tuple(StoredFile(**one) for one in data["files"])
    return ModelFiles(stored, data["digest"], data["config"])


def _models(deployment: Deployment) -> Iterator[tuple[ModelSpec, ModelOrder]]:
    return zip(deployment.models, deployment.orders(), strict=True)


def _was_run(measurement: Measurement | None) -> bool:
    return measurement is not None and not measurement.compiled


def _must_measure(spec: ModelSpec) -> bool:
    return spec.sizes is None or (spec.demand is not None and spec.service_time is None)


def _sizes(
    spec: ModelSpec,
    order: ModelOrder,
    cards: Cards,
    measurement: Measurement | None,
    estimate: bool,
) -> tuple[Sizes, Origin]:
    if spec.sizes is not None:
        declared = Sizes(
            weights=spec.sizes.weights,
            workspace=spec.sizes.workspace,
            tensors=(spec.sizes.io,),
            object_bytes=spec.sizes.objects,
            dynamic=order.dynamic,
        )
        return declared, "declared"
    if measurement is not None:
        return measured_sizes(measurement), "compiled" if measurement.compiled else "measured"
    if not estimate:
        text = "not measured yet: let the plan measure it, or give its sizes in the deployment"
        raise DeploymentError(f"model {spec.name}", (text,))
    file = model_file(order, cards.kind)
    return _estimated(order, model_bytes(str(file), cards.kind)), "estimated"


def _estimated(order: ModelOrder, file_bytes: int) -> Sizes:
    """The file as weights; workspace and io from it and from the declared shapes as float32."""
    inputs = max(
        (sum(4 * math.prod(shape) for _, shape in gear.inputs) for gear in order.gears or ()),
        default=0,
    )
    return Sizes(
        weights=file_bytes,
        workspace=max(WORKSPACE_PER_WEIGHT * file_bytes, WORKSPACE_PER_INPUT * inputs),
        tensors=(inputs, inputs) if inputs else (file_bytes,),
        dynamic=order.dynamic,
    )


def _times(
    spec: ModelSpec, order: ModelOrder, cards: Cards, measurement: Measurement | None
) -> tuple[float | None, float | None, str]:
    """Milliseconds of one item and of one batch at speed 1, and the field that declared them.

    Of the largest batch: what a demand makes of it is the plan's to find out.
    """
    rows = largest_batch(order, gears_of(spec, order, measurement))
    if spec.service_time is not None:
        item = spec.service_time * 1000
        return item, item * rows, "service_time"
    times = batch_times(spec, order, cards, measurement)
    if not times:
        return None, None, ""
    batch = times[-1].execute_ms
    return batch / rows, batch, "" if measurement else "emulated"
