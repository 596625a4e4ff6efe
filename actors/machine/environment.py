"""What this process's environment lacks for a card kind, seen before the library is imported.

Reads variables, files and package metadata only: nothing is imported, no card is touched. The
import of mindspore_lite itself fails on an ``ASCEND_HOME_PATH`` that names no folder; most other
mistakes show only as "Common error code" when the first model is built.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from actors import device
from actors.machine.cann import cann_home, cann_version, driver_file, driver_version, told_version
from actors.machine.finding import Finding
from actors.messages import CardKind

__all__ = ["Finding", "Machine", "floor", "inspect", "installed"]

#: First release for kind ascend, by Python: what the vendor's download pages list.
_FLOORS = {(3, 10): "2.3.1", (3, 11): "2.4.1", (3, 12): "2.8.0"}
#: First release for kind cpu: that of the oldest wheel there is.
_CPU_FLOOR = "2.0.0"
#: Where a release lists the major.minor of CANN's compiler/version.info that it takes without a
#: warning: ``self.compatible_cann_versions = ["7.7", "7.8", "8.2"]`` (MindSpore Lite 2.7).
_CHECK_FILE = "_check_ascend.py"
_ACCEPTED = re.compile(r"compatible_cann_versions\s*=\s*\[([^\]]*)\]")
#: pybind11 before 2.12, as in wheels for Python 3.10, and CANN's own Python parts want this.
_NUMPY_BELOW = 2
_SET_ENV = "source the set_env.sh of the installed CANN before starting Ray on this node"


def installed(package: str) -> str | None:
    """The installed version of a package, never importing it; None when it is not there.

    A package without metadata, on the path by hand, is ``of unknown release``.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        spec = find_spec(package.replace("-", "_"))
        return None if spec is None or spec.origin is None else "of unknown release"


def package_folder(package: str) -> Path | None:
    """Where the files of a package are, never importing it; None when it is not there."""
    try:
        spec = find_spec(package)
    except ValueError:  # one without a specification, made by hand
        spec = None
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


@dataclass(frozen=True)
class Machine:
    """What an inspection looks at beside the environment; tests give their own."""

    root: Path = Path("/")
    python: tuple[int, int] = sys.version_info[:2]
    version: Callable[[str], str | None] = field(default=installed)
    folder: Callable[[str], Path | None] = field(default=package_folder)

    def device_files(self) -> tuple[str, ...]:
        """Names of the files of ``/dev`` that stand for cards: ``davinci0``."""
        return tuple(sorted(path.name for path in (self.root / "dev").glob("davinci[0-9]*")))


def inspect(
    env: Mapping[str, str] = os.environ,
    *,
    kind: CardKind = "ascend",
    ge: bool = False,
    machine: Machine | None = None,
) -> tuple[Finding, ...]:
    """What a process with this environment has and lacks for cards of ``kind``.

    ``ge``: models of provider ge are among those to run, which need libhccl. Kind ``emulated``
    depends on none of it.
    """
    machine = machine or Machine()
    if kind == "emulated":
        return ()
    found = [_numpy(machine, kind), _library(machine, kind)]
    if kind == "cpu":
        return (*found, *(finding for finding in _home(env) if finding.stops))
    return (*found, *_cann(env, machine, ge), _driver(env, machine), _cards(env, machine))


def floor(kind: CardKind, python: tuple[int, int] = sys.version_info[:2]) -> str:
    """The first release of mindspore_lite that serves cards of ``kind`` on this Python."""
    return _CPU_FLOOR if kind == "cpu" else _FLOORS.get(python, max(_FLOORS.values()))


def older(release: str, than: str) -> bool:
    """Whether a release comes before another; one that is no number is never older."""
    numbers = [re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text) for text in (release, than)]
    if not all(numbers):
        return False
    left, right = (tuple(int(part or 0) for part in n.groups()) for n in numbers if n)
    return left < right


def _numpy(machine: Machine, kind: CardKind) -> Finding:
    version = machine.version("numpy") or "none"
    bound = kind == "ascend" or machine.python < (3, 11)
    ok = version != "none" and not (bound and not older(version, f"{_NUMPY_BELOW}.0"))
    wanted = f"below {_NUMPY_BELOW} (CANN and older wheels need it)" if bound else ""
    fix = "" if ok else f"pip install 'numpy<{_NUMPY_BELOW}'"
    return Finding("numpy", version, wanted, fix, ok)


def _library(machine: Machine, kind: CardKind) -> Finding:
    version = machine.version("mindspore-lite")
    least = floor(kind, machine.python)
    python = ".".join(map(str, machine.python))
    wanted = f"{least} or later for kind {kind} on Python {python}"
    ok = version is not None and not older(version, least)
    made = floor("ascend", machine.python)  # no wheel of an older release is for this Python
    cure = (
        f"install the vendor's cloud wheel {made} or later for Python {python}, from the "
        "download page of MindSpore Lite"
    )
    return Finding("mindspore_lite", version or "none", wanted, "" if ok else cure, ok, not ok)


def _cann(env: Mapping[str, str], machine: Machine, ge: bool) -> Iterator[Finding]:
    yield from _home(env)
    home = cann_home(env)
    if home is not None and Path(home[1]).is_dir():
        yield _version(Path(home[1]), machine)
    for name in ("libascendcl.so", "libgraph.so"):
        yield _shared_object(name, env, machine, "")
    if ge:
        yield _shared_object("libhccl.so", env, machine, "provider ge")
    opp = env.get("ASCEND_OPP_PATH")
    ok = opp is not None and Path(opp).is_dir()
    found = "not set" if opp is None else opp if ok else f"{opp}, which does not exist"
    yield Finding("ASCEND_OPP_PATH", found, "CANN's opp folder", "" if ok else _SET_ENV, ok)


def _home(env: Mapping[str, str]) -> Iterator[Finding]:
    """CANN's folder. One that is named and missing makes the import itself fail."""
    home = cann_home(env)
    if home is None:
        yield Finding("ASCEND_HOME_PATH", "not set", "CANN's folder", _SET_ENV, False)
        return
    name, folder = home
    ok = Path(folder).is_dir()
    found = folder if ok else f"{folder}, which does not exist"
    cure = "" if ok else f"set it to the folder of the installed CANN, or unset it: {_SET_ENV}"
    yield Finding(name, found, "CANN's folder", cure, ok, not ok)


def _version(home: Path, machine: Machine) -> Finding:
    release = machine.version("mindspore-lite") or "none"
    accepted = _accepted(machine)
    found = cann_version(home)
    if found is None:
        wanted = f"{home}/compiler/version.info"
        return Finding("CANN", "no version", wanted, "reinstall the CANN toolkit", False)
    component, product = found
    told = told_version(component, product)
    if release == "none":  # which is told by itself
        return Finding("CANN", told, "", "", True)
    if not accepted:
        wanted = f"that for mindspore_lite {release}, and not known which CANN it is"
        return Finding("CANN", told, wanted, "compare with its release notes", True)
    ok = ".".join(component.split(".")[:2]) in accepted
    wanted = f"compiler {', '.join(accepted)} (mindspore_lite {release})"
    cure = "" if ok else "install the CANN that this release of mindspore_lite names"
    return Finding("CANN", told, wanted, cure, ok)


def _accepted(machine: Machine) -> tuple[str, ...]:
    """What the installed library itself takes without a warning; empty where it does not tell."""
    folder = machine.folder("mindspore_lite")
    try:
        text = "" if folder is None else (folder / _CHECK_FILE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ()
    found = _ACCEPTED.search(text)
    return tuple(re.findall(r"[\d.]+", found[1])) if found else ()


def _shared_object(name: str, env: Mapping[str, str], machine: Machine, user: str) -> Finding:
    wanted = "in a folder of LD_LIBRARY_PATH" + (f", for {user}" if user else "")
    folders = _library_folders(env)
    held = next((folder for folder in folders if (folder / name).exists()), None)
    if held is not None:
        return Finding(name, str(held / name), wanted, "", True)
    cache = machine.root / "etc" / "ld.so.cache"
    if cache.is_file() and name.encode() in cache.read_bytes():
        return Finding(name, f"in {cache}", wanted, "", True)
    missing = [str(folder) for folder in folders if not folder.is_dir()]
    found = "none" + (f" ({missing[0]} does not exist)" if missing else "")
    return Finding(name, found, wanted, _SET_ENV, False)


def _library_folders(env: Mapping[str, str]) -> list[Path]:
    return [Path(entry) for entry in env.get("LD_LIBRARY_PATH", "").split(":") if entry]


def _driver(env: Mapping[str, str], machine: Machine) -> Finding:
    wanted = "an installed Ascend driver"
    version = driver_version(machine.root)
    if version is not None:
        return Finding("driver", version, wanted, "", True)
    if any((folder / "libascend_hal.so").exists() for folder in _library_folders(env)):
        return Finding("driver", "of unknown version", wanted, "", True)
    cure = "install the driver, or mount /usr/local/Ascend/driver into this container"
    found = f"none ({driver_file(machine.root)} is missing)"
    return Finding("driver", found, wanted, cure, False)


def _cards(env: Mapping[str, str], machine: Machine) -> Finding:
    files = machine.device_files()
    wanted = "at least 1 that this process may see"
    try:
        seen = device.count(env, files)
    except device.DeviceError as error:
        return Finding("cards", str(error), wanted, f"correct {device.VISIBLE}", False, True)
    listed = f" ({device.VISIBLE}={env[device.VISIBLE]})" if device.VISIBLE in env else ""
    found = f"{seen} of {len(files)} /dev/davinci files{listed}"
    cure = device.dropped(env, files)
    if not cure and not seen:
        cure = "npu-smi info shows the cards; a container needs their devices"
    return Finding("cards", found, wanted, cure, not cure, not seen)
