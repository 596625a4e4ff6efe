"""From a build's arguments to what exactly is to be built: sizes, sharing, and refusals."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from actors.emulator import nativelog
from actors.emulator.api_context import Context
from actors.emulator.calibrate import Calibration, calibrate
from actors.emulator.config import Sections, Settings, merge, read_file, settings
from actors.emulator.device import Device
from actors.emulator.gesession import SECTION as GE_SECTION
from actors.emulator.gesession import GeSession
from actors.emulator.registry import LIBRARY
from actors.emulator.types import ModelGroupFlag, ModelType
from actors.files.options import updates_weights
from actors.gears import DYNAMIC_DIMS, INPUT_SHAPE, SECTION


@dataclass(frozen=True)
class Sharing:
    """What a build shares. ``locked``: it runs under the card's lock.

    ``key`` names the shared weights, ``owner`` their ledger entry (0, or less for a GE group);
    ``session`` is the GE session that the model belongs to.
    """

    weights: bool = False
    workspace: bool = False
    locked: bool = False
    key: str = ""
    owner: int = 0
    session: GeSession | None = None

    @property
    def in_session_memory(self) -> bool:
        """Whether it runs in the one memory of its GE session."""
        return self.session is not None and self.session.reuses_memory


@dataclass(frozen=True)
class Order:
    """One build: the path as it was spelled, the file that serves it, and what it goes by."""

    path: str
    onnx: Path
    device: Device
    settings: Settings
    calibration: Calibration
    sharing: Sharing
    info: Mapping[str, str] = field(default_factory=dict)


def plan_build(
    path: str,
    model_type: ModelType,
    context: Context,
    sections: Sections,
    group_id: int | None,
) -> Order:
    """Look everything up that a build needs, and measure the model if nobody has yet.

    Raises:
        ValueError: the library would refuse; the text is what it would log.
        OSError: a file cannot be read.
    """
    onnx = served_file(path, model_type)
    compiled = compiled_sections(path, sections)
    wanted = settings(compiled)
    device = _device(context)
    found = calibrate(onnx, wanted)
    if device is LIBRARY.host:
        sharing = Sharing()
    elif context._provider == "ge":
        sharing = _ge_sharing(onnx, compiled, group_id)
    else:
        sharing = _acl_sharing(path, device, found)
        if (sharing.weights or sharing.locked) and updates_weights(compiled):
            raise ValueError(f"Update weight model don't support mem share! {path}")
    return Order(
        path=path,
        onnx=onnx,
        device=device,
        settings=wanted,
        calibration=found,
        sharing=sharing,
        info={key: compiled.get(SECTION, {}).get(key, "") for key in (INPUT_SHAPE, DYNAMIC_DIMS)},
    )


def size_member(path: str, model_type: ModelType, context: Context) -> None:
    """What ``cal_max_size_of_workspace`` does for one path: read its sizes, then register it.

    Raises:
        ValueError: no such model, or the card's workspace is taken already.
        OSError: a file cannot be read.
    """
    onnx = served_file(path, model_type)
    found = calibrate(onnx, settings(compiled_sections(path, {})))
    device = _device(context)
    if device.has_allocated:
        raise ValueError(f"Device {device.index} has alloc memory!")
    device.size(path, found.weight_bytes, 0 if found.dynamic else found.workspace_bytes)


def calibration(
    model_path: str, config_path: str | None = "", config_dict: Sections | None = None
) -> Calibration:
    """What a model takes, per gear, in bytes before rounding; measured if it is not in the cache.

    The configuration is the one that ``build_from_file`` would be given; it comes on top of the
    ``.ini`` beside the model and of ``declare``.

    Raises:
        ValueError: not a model, or shapes that it does not take.
        OSError: a file cannot be read.
    """
    onnx = served_file(model_path, ModelType.MINDIR)
    given = merge(read_file(Path(config_path)) if config_path else {}, config_dict or {})
    return calibrate(onnx, settings(compiled_sections(model_path, given)))


def served_file(path: str, model_type: ModelType) -> Path:
    """The ``.onnx`` beside a ``.mindir``.

    Raises:
        ValueError: another file type, or nothing there to serve.
    """
    if model_type is not ModelType.MINDIR or not path.endswith(".mindir"):
        raise ValueError(f"{path} is no MindIR (expected a path that ends in .mindir)")
    onnx = Path(path).with_suffix(".onnx")
    if not onnx.is_file():
        raise ValueError(f"{path} cannot be emulated: there is no {onnx.name} beside it")
    return onnx


def compiled_sections(path: str, sections: Sections) -> dict[str, dict[str, str]]:
    """The ``.ini`` beside the model, what ``declare`` said, this build's own: later ones win."""
    beside = read_file(Path(path).with_suffix(".ini"))
    return merge(beside, LIBRARY.declared(path), sections)


def _device(context: Context) -> Device:
    if context._first_target != "ascend":
        if context._first_target == "gpu":
            raise ValueError("Init session failed: no gpu here")
        return LIBRARY.host
    if not LIBRARY.has_cards:
        raise ValueError(f"Init session failed: release {LIBRARY.release} has target cpu alone")
    if context._provider == "ge":
        return LIBRARY.ge_device(context.ascend.device_id)
    return LIBRARY.device(context.ascend.device_id)


def _ge_sharing(onnx: Path, compiled: Sections, group_id: int | None) -> Sharing:
    """A group of Model objects is one GE session; it holds constants once if they are external."""
    if group_id is None:
        return Sharing()
    session = LIBRARY.session(group_id, compiled.get(GE_SECTION, {}))
    if not session.shares_constants:
        return Sharing(session=session)
    key = f"ge {group_id} {onnx.resolve()}"
    return Sharing(weights=True, key=key, owner=-group_id, session=session)


def _acl_sharing(path: str, device: Device, found: Calibration) -> Sharing:
    flag = LIBRARY.registration(path)
    if flag is None:
        return Sharing()
    share_weights = flag is not ModelGroupFlag.SHARE_WORKSPACE
    share_workspace = flag is not ModelGroupFlag.SHARE_WEIGHT
    weights = device.weight_bytes.get(path)
    if weights is None:
        told = f"Can't get weight mem of device {device.index}:" * share_weights
        raise ValueError(f"{told or 'Get work mem failed!'} {path} was sized elsewhere")
    if weights == 0:
        raise ValueError(f"Weight size if 0! {path}")
    if found.dynamic and share_workspace:
        nativelog.write("Dynamic input model not support share workspace.")
    return Sharing(
        weights=share_weights,
        workspace=share_workspace and not found.dynamic,
        locked=share_workspace,
        key=path if share_weights else "",
    )
