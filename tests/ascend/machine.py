"""A machine with cards for a test: device files, stand-ins for the vendor's packages, models."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from actors.emulator import calibration
from actors.files.onnxfile import read_constants, read_onnx
from tests.card.conftest import STANDINS
from tests.mindirs import write_mindir
from tests.oms import write_om

ROOT = Path(__file__).parents[2]
#: A /dev of its own, with the files of cards; the rest of it is the machine's.
_OWN_DEV = """
set -e
mount -t tmpfs none "$1"
for name in null zero random urandom; do
    touch "$1/$name"
    mount --bind "/dev/$name" "$1/$name"
done
mkdir "$1/shm"
mount --rbind /dev/shm "$1/shm"
ln -s /proc/self/fd "$1/fd"
for card in $2; do touch "$1/davinci$card"; done
mount --rbind "$1" /dev
shift 2
exec "$@"
"""
#: How the program of a process of ours begins that is made for one question.
_CHILD = " -m actors.machine.child "


def run(
    folder: Path, cards: str, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in this folder of a machine with these cards; how it ended.

    What is in ``bin`` is a program there.
    """
    (folder / "dev").mkdir(exist_ok=True)
    env = {
        **os.environ,
        "PYTHONPATH": f"{STANDINS}{os.pathsep}{ROOT}",
        "STANDIN_CARDS": str(len(cards.split())),
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        **variables,
    }
    for name in ("ASCEND_HOME_PATH", "ASCEND_CUSTOM_PATH", "ASCEND_RT_VISIBLE_DEVICES"):
        env.pop(name, None)
    own = ["unshare", "-rm", "sh", "-c", _OWN_DEV, "sh", str(folder / "dev"), cards]
    return subprocess.run(
        [*own, sys.executable, *words],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )


@dataclass(frozen=True)
class Process:
    """One that imported a stand-in. ``imported``: which, in order. ``of``: its module or actor.

    ``for_ray``: those of them that Ray imported on its own account.
    """

    pid: int
    of: str
    imported: tuple[str, ...]
    for_ray: tuple[str, ...]


def processes(imports: Path) -> list[Process]:
    """Those that wrote into the file that STANDIN_IMPORTS names, in the order of their first."""
    lines = [json.loads(line) for line in imports.read_text().splitlines()]
    found = []
    for pid in dict.fromkeys(line["pid"] for line in lines):
        mine = [line for line in lines if line["pid"] == pid]
        imported = tuple(line["library"] for line in mine)
        for_ray = tuple(line["library"] for line in mine if line["by_ray_itself"])
        found.append(Process(pid, _who(mine[0]["process"]), imported, for_ray))
    return found


def _who(program: str) -> str:
    """``child actors.claims``, ``ray::CardHost``, or the program as it was started."""
    if _CHILD in program:
        return f"child {program.split(_CHILD)[1].split()[1]}"
    return program.partition(".")[0] if program.startswith("ray::") else program


def write_npu_smi(folder: Path, table: str) -> None:
    """A tool on the machine of this folder that prints this."""
    (folder / "bin").mkdir()
    tool = folder / "bin" / "npu-smi"
    tool.write_text(f"#!/bin/sh\necho '{table}'\n")
    tool.chmod(0o755)


def compiled(path: str, convert: bool = True) -> str:
    """The MindIR of a network: converted for Ascend, or for GE with its constants as they are."""
    file = Path(path)
    onnx = file.with_suffix(".onnx")
    shapes = {spec.name: spec.shape for spec in read_onnx(onnx).inputs}
    found = calibration(path, "", {})
    om = write_om(shapes, workspace=found.workspace_bytes, weights=found.weight_bytes)
    data = onnx.read_bytes()
    constants = {
        one.name: data[one.offset : one.offset + one.nbytes] for one in read_constants(onnx)
    }
    write_mindir(file, shapes, om=om if convert else None, constants={} if convert else constants)
    return path
