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
from actors.finding import Finding
from actors.messages import CardKind

__all__ = ["Finding", "Machine", "cann_home", "cann_version", "floor", "inspect", "installed"]

#: First release for kind ascend, by Python: what the vendor's download pages list.
_FLOORS = {(3, 10): "2.3.1", (3, 11): "2.4.1", (3, 12): "2.8.0"}
#: First release for kind cpu: that of the oldest wheel there is.
_CPU_FLOOR = "2.0.0"
#: The major.minor of CANN's compiler/version.info that a release accepts without a warning
#: (_check_ascend.py of MindSpore Lite 2.7). Other releases' lists were not read.
_CANN_OF_RELEASE = {"2.7": ("7.7", "7.8", "8.2")}
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


@dataclass(frozen=True)
class Machine:
    """What an inspection looks at beside the environment; tests give their own."""

    root: Path = Path("/")
    python: tuple[int, int] = sys.version_info[:2]
    version: Callable[[str], str | None] = field(default=installed)

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


def cann_home(env: Mapping[str, str]) -> tuple[str, str] | None:
    """The variable that names CANN's folder, and the folder, in the library's order of looking."""
    if "ASCEND_CUSTOM_PATH" in env:
        return "ASCEND_CUSTOM_PATH", f"{env['ASCEND_CUSTOM_PATH']}/latest"
    return ("ASCEND_HOME_PATH", env["ASCEND_HOME_PATH"]) if "ASCEND_HOME_PATH" in env else None


def cann_version(home: Path) -> tuple[str, str] | None:
    """``(component, product)`` of CANN's compiler, ``("7.7.0.1.238", "8.1.RC1")``; None: no file.

    The library compares the component's number; CANN 8.2 was the first to number both alike.
    """
    try:
        text = (home / "compiler" / "version.info").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    values = dict(re.findall(r"^\s*(\w+)=(.*?)\s*$", text, re.MULTILINE))
    return values.get("Version", "unknown"), values.get("version_dir", "unknown")


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
    cure = (
        f"install the vendor's cloud wheel {least} or later for Python {python}, from the "
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
    accepted = _CANN_OF_RELEASE.get(".".join(release.split(".")[:2]))
    found = cann_version(home)
    if found is None:
        wanted = f"{home}/compiler/version.info"
        return Finding("CANN", "no version", wanted, "reinstall the CANN toolkit", False)
    component, product = found
    told = product if component.startswith(product[:3]) else f"{product} (compiler {component})"
    if accepted is None:
        return Finding("CANN", told, f"what mindspore_lite {release} names", "", True)
    ok = ".".join(component.split(".")[:2]) in accepted
    wanted = f"compiler {', '.join(accepted)} (mindspore_lite {release})"
    cure = "" if ok else "install the CANN that this release of mindspore_lite names"
    return Finding("CANN", told, wanted, cure, ok)


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
    file = _driver_folder(machine.root) / "version.info"
    if file.is_file():
        text = file.read_text(encoding="utf-8", errors="replace")
        version = re.search(r"^[Vv]ersion=(\S+)", text, re.MULTILINE)
        return Finding("driver", version[1] if version else "of unknown version", wanted, "", True)
    if any((folder / "libascend_hal.so").exists() for folder in _library_folders(env)):
        return Finding("driver", "of unknown version", wanted, "", True)
    cure = "install the driver, or mount /usr/local/Ascend/driver into this container"
    return Finding("driver", f"none ({file} is missing)", wanted, cure, False)


def _driver_folder(root: Path) -> Path:
    """Where the driver's installer says that it put it, else where it does by default."""
    base = "/usr/local/Ascend"
    try:
        text = (root / "etc" / "ascend_install.info").read_text(encoding="utf-8", errors="replace")
        said = re.search(r"^Driver_Install_Path_Param=(\S+)", text, re.MULTILINE)
        base = said[1] if said else base
    except OSError:
        pass
    return root / base.lstrip("/") / "driver"


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
