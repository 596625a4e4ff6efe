"""The version of this project here, and on the nodes: processes of one deployment have the same."""

from functools import cache
from importlib import metadata

from actors.messages import CardIdentity
from orchestrator.errors import PackageDiffersError

_NAME = "ascend-orchestrator"


@cache
def package_version() -> str:
    """The version that this process runs."""
    try:
        return metadata.version(_NAME)
    except metadata.PackageNotFoundError:
        return "not installed as a package"


def require_same(card: str, identity: CardIdentity) -> CardIdentity:
    """The identity of a process that runs what this one runs.

    Raises:
        PackageDiffersError: it runs another version; named before it is told anything.
    """
    there = identity.package or "older than 0.1.0"
    if there != package_version():
        raise PackageDiffersError(card, identity.node_id, there, package_version())
    return identity
