"""What one machine of the cluster has and lacks: its packages, its environment, its cards.

Runs anywhere, in a Ray task too: nothing of the card's software is imported and no card is touched,
so that no process is left with a list of cards of its own and no memory is taken from others.
"""

import os
import platform
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from actors import device
from actors.machine import verdicts
from actors.machine.environment import Machine, inspect, older
from actors.machine.finding import Finding
from actors.machine.npusmi import SmiCard, SmiError, read_cards

_OLDEST_PYTHON, _NEWEST_PYTHON = (3, 10), (3, 12)
#: What the project itself asks for; numpy is with what depends on the card.
_RAY = "2.50"


@dataclass(frozen=True)
class NodeReport:
    """One machine. ``usable``: how many of its ``cards`` its processes may see.

    ``cards`` are as the operating system's tool lists them, physical ids and all.
    """

    host: str
    findings: tuple[Finding, ...]
    cards: tuple[SmiCard, ...] = ()
    usable: int = 0


def examine(
    env: Mapping[str, str] = os.environ,
    *,
    ge: bool = False,
    machine: Machine | None = None,
    read: Callable[[], tuple[SmiCard, ...]] = read_cards,
) -> NodeReport:
    """Look at this machine with the environment that its card processes will have.

    ``ge``: models of provider ge are among those to run.
    """
    machine = machine or Machine()
    files = machine.device_files()
    cards, problem = _listed(read)
    findings = [_python(machine), _ray(machine)]
    if not files and not cards:
        findings += _without_cards(env, machine)
        return NodeReport(socket.gethostname(), tuple(findings))
    if problem:
        fix = "put the driver's npu-smi on the PATH; a container needs it mounted"
        findings.append(Finding("npu-smi", problem, "a list of the cards", fix, False))
    findings += inspect(env, ge=ge, machine=machine)
    findings += _verdicts(cards)
    try:
        usable = device.count(env, files)
    except device.DeviceError:
        usable = 0
    return NodeReport(socket.gethostname(), tuple(findings), cards, usable)


def _listed(read: Callable[[], tuple[SmiCard, ...]]) -> tuple[tuple[SmiCard, ...], str]:
    try:
        return read(), ""
    except SmiError as error:
        return (), str(error)


def _verdicts(cards: Iterable[SmiCard]) -> Iterator[Finding]:
    """What cards of this machine found of one workspace and of mixtures, as it is now."""
    update = "update the driver, CANN or mindspore_lite; until then "
    told = {
        verdicts.MAX_RULE: ("shared workspace", "workspaces are summed on such cards"),
        verdicts.MIXTURE: (verdicts.MIXTURE, "leave cards.mix_ge_and_acl off for such cards"),
    }
    for verdict in verdicts.here(cards):
        subject, then = told[verdict.claim]
        fix = "" if verdict.holds else update + then
        yield Finding(subject, str(verdict), "answers as without sharing", fix, verdict.holds)


def _python(machine: Machine) -> Finding:
    ok = _OLDEST_PYTHON <= machine.python <= _NEWEST_PYTHON
    wanted = f"{_dotted(_OLDEST_PYTHON)} to {_dotted(_NEWEST_PYTHON)}"
    mine = machine.python == tuple(map(int, platform.python_version_tuple()[:2]))
    found = platform.python_version() if mine else _dotted(machine.python)
    return Finding("Python", found, wanted, "" if ok else f"install Python {wanted}", ok)


def _ray(machine: Machine) -> Finding:
    version = machine.version("ray")
    ok = version is not None and not older(version, _RAY)
    fix = "" if ok else f"pip install 'ray>={_RAY}'"
    return Finding("ray", version or "none", f"{_RAY} or later", fix, ok)


def _without_cards(env: Mapping[str, str], machine: Machine) -> Iterator[Finding]:
    """Such a machine needs neither library; the one that is there must be right."""
    numpy, library, *others = inspect(env, kind="cpu", machine=machine)
    if library.found == "none":  # without its wheel nothing bounds numpy
        yield Finding(numpy.subject, numpy.found, "", "", True)
        wanted = "only for kinds ascend and cpu"
        yield Finding(library.subject, "none", wanted, "", True)
    else:
        yield from (numpy, library, *others)
    engine = machine.version("onnxruntime")
    wanted = "" if engine else "only for kind emulated"
    yield Finding("onnxruntime", engine or "none", wanted, "", True)
    yield Finding("cards", "no card here: emulated and cpu kinds only", "", "", True)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
