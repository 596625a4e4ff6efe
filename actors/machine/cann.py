"""Which CANN and which driver are installed here, by their own files. Nothing is imported."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

_ROOT = Path("/")


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


def told_version(component: str, product: str) -> str:
    """Both numbers where they differ: ``8.1.RC1 (compiler 7.7.0.1.238)``."""
    return product if component.startswith(product[:3]) else f"{product} (compiler {component})"


def driver_file(root: Path = _ROOT) -> Path:
    """Where the driver's version is: where its installer says, else where it is by default."""
    base = "/usr/local/Ascend"
    try:
        text = (root / "etc" / "ascend_install.info").read_text(encoding="utf-8", errors="replace")
        said = re.search(r"^Driver_Install_Path_Param=(\S+)", text, re.MULTILINE)
        base = said[1] if said else base
    except OSError:
        pass
    return root / base.lstrip("/") / "driver" / "version.info"


def driver_version(root: Path = _ROOT) -> str | None:
    """Its release; ``of unknown version`` where its file does not say; None: no file."""
    try:
        text = driver_file(root).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"^[Vv]ersion=(\S+)", text, re.MULTILINE)
    return found[1] if found else "of unknown version"


def software(env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Releases of driver and CANN here, on which what a card's process takes depends."""
    home = cann_home(env)
    version = cann_version(Path(home[1])) if home else None
    told = told_version(*version) if version else "unknown"
    return {"driver": driver_version() or "unknown", "CANN": told}
