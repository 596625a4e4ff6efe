"""The modules that a function's user wrote: found by reading imports, without importing anything.

So the same files are found in every process, whatever else it has imported, and modules that a
function imports only when it is called are found too.
"""

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

_OUR_OWN = ("orchestrator", "actors")


class UserModules:
    """Files by module, with their ``digests``, as far as somebody followed imports.

    A user's own are the modules beside a function's package and below ``here``, the working
    directory, but for what is installed there.
    """

    def __init__(self, here: Path) -> None:
        self.digests: dict[str, str] = {}
        self._here = here

    def follow(self, name: str, alone: bool = False) -> bool:
        """Take in a module and what it imports; whether it is a user's file that may be followed.

        The script that runs is none: it changes with the options of the job that it starts. One
        that is installed counts if ``alone`` is said, and without what it imports.
        """
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is None or name == "__main__" or is_ours(name) or not file.endswith(".py"):
            return False
        path = Path(file).resolve()
        root = path.parents[name.count(".") + (path.name == "__init__.py")]
        if not _is_installed(path):
            self._take([name], (root, self._here))
        elif alone:
            self.digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return alone or not _is_installed(path)

    def _take(self, waiting: list[str], roots: tuple[Path, ...]) -> None:
        while waiting:
            name = waiting.pop()
            path = None if name in self.digests or is_ours(name) else _file_of(name, roots)
            if path is None:
                continue
            data = path.read_bytes()
            self.digests[name] = hashlib.sha256(data).hexdigest()
            within = name if path.name == "__init__.py" else name.rpartition(".")[0]
            waiting.extend(_imported(data, within))


def is_ours(module: str) -> bool:
    """Whether a module is one of this project's."""
    return _top(module) in _OUR_OWN


def _top(name: str) -> str:
    return name.partition(".")[0]


def _is_installed(path: Path) -> bool:
    return "site-packages" in path.parts or path.is_relative_to(sysconfig.get_path("stdlib"))


def _file_of(module: str, roots: tuple[Path, ...]) -> Path | None:
    for root in roots:
        path = root.joinpath(*module.split("."))
        for found in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if found.is_file() and not _is_installed(found.resolve()):
                return found
    return None


def _imported(source: bytes, package: str) -> Iterator[str]:
    """Modules that a file imports anywhere, and the packages that they are in."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        for name in _named(node, package):
            steps = name.split(".")
            yield from (".".join(steps[:end]) for end in range(1, len(steps) + 1))


def _named(node: ast.AST, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    steps = [node.module] if node.module else []
    if node.level:
        above = package.split(".")
        steps = [*above[: len(above) + 1 - node.level], *steps]
    base = ".".join(steps)
    return [base, *(f"{base}.{alias.name}" for alias in node.names)]
