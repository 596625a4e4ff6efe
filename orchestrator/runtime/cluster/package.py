"""What runs of this project here and on the nodes: processes of one deployment have the same.

Sources are compared, not version numbers: a checkout changes without its version, and what a job
brings along (``py_modules``, ``working_dir``) is not installed at all.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.messages import CardIdentity
from orchestrator.errors import PackageDiffersError

_NAME = "ascend-orchestrator"
_PACKAGES = ("actors", "orchestrator")
_DIGITS = 12


@cache
def package_version() -> str:
    """What this process runs: the version, if it is installed, and a digest of the sources."""
    try:
        version = metadata.version(_NAME)
    except metadata.PackageNotFoundError:
        version = "sources"
    return f"{version}+{sources_digest(_roots())[:_DIGITS]}"


def sources_digest(roots: Mapping[str, Path]) -> str:
    """SHA-256 of all Python files of packages, by their names and what they hold."""
    found = hashlib.sha256()
    for package, root in sorted(roots.items()):
        for file in sorted(root.rglob("*.py")):
            text = file.read_bytes()
            name = f"{package}/{file.relative_to(root).as_posix()}"
            found.update(f"{name} {len(text)}\n".encode() + text)
    return found.hexdigest()


def require_same(card: str, identity: CardIdentity) -> CardIdentity:
    """The identity of a process that runs what this one runs.

    Raises:
        PackageDiffersError: it runs another version; named before it is told anything.
    """
    require_equal(card, identity.node_id, identity.package)
    return identity


def require_equal(who: str, node_id: str, there: str, here: str | None = None) -> None:
    """That a process which runs ``there`` runs what another one does; this one, if not told.

    Raises:
        PackageDiffersError: it does not.
    """
    here = package_version() if here is None else here
    if _digest(there) != _digest(here):
        raise PackageDiffersError(who, node_id, there or "older than 0.1.0", here)


def require_same_on(nodes: Mapping[str, str]) -> None:
    """That nodes have what runs here, Ray's ids by what they are called, before any card loads.

    Raises:
        PackageDiffersError: one has another version, or none.
    """
    # Ray's stubs know no hard affinity among the options.
    told: Any = ray.remote(num_cpus=0, max_retries=0)(_told)
    asked = {
        name: told.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)
        ).remote()
        for name, node_id in nodes.items()
    }
    for name, ref in asked.items():
        try:
            there = ray.get(ref)
        except RayTaskError as error:
            if not isinstance(error.cause, ImportError):
                raise
            there = "not at all"
        except RayError:  # a node that is just being lost; its cards say so
            continue
        require_equal(name, nodes[name], there)


def _told() -> str:
    return package_version()


def _digest(package: str) -> str:
    return package.rpartition("+")[2]


def _roots() -> dict[str, Path]:
    found = {name: find_spec(name) for name in _PACKAGES}
    return {
        name: Path(next(iter(spec.submodule_search_locations or ())))
        for name, spec in found.items()
        if spec is not None
    }
