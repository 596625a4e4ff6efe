"""What is wrong with a model, its file or the environment, in words that the library does not have.

Its texts tell no card, a bad file and too little memory apart ("Common error code"), so what can be
seen before the call is checked before it, and what remains is listed as likely causes, with the
last lines that the library and CANN logged.
"""

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from actors.files.mindir import NotAMindIRError, read_mindir
from actors.files.modelfiles import served_file
from actors.files.options import updates_weights
from actors.ge import merged
from actors.machine.environment import inspect
from actors.machine.verdicts import Verdict
from actors.messages import CardKind, ModelOrder

INSTALL = (
    "Install the vendor's MindSpore Lite wheel for this Python, as the README says, or use kind: "
    "emulated"
)
ENVIRONMENT_CURE = (
    "Correct the CANN environment (orchestrator doctor inspects it), then start Ray on this node "
    "again"
)
#: Lines of a log that an error shows, and the bytes of it that are looked through.
_LINES = 5
_TAIL_BYTES = 32 << 10
_WORTH = re.compile(r"\b(ERROR|CRITICAL|WARNING)\b|^E\d{5}|EZ\d{4}|EE\d{4}")


def order_problem(order: ModelOrder, orders: Sequence[ModelOrder]) -> str | None:
    """What keeps a model from being declared beside the others; None when nothing does."""
    if order.threads < 1:
        return f"threads is {order.threads}: at least 1 is needed"
    if order.dynamic and not order.gears:
        return "its shapes are open and no max_shape is declared: its memory cannot be planned"
    same = [other.name for other in orders if other.path == order.path and other is not order]
    if same:
        return (
            f"model {same[0]} has the same path, and the library tells models apart by path alone: "
            "give one of them a copy of the file"
        )
    return None


def update_problem(order: ModelOrder) -> str | None:
    """What keeps a model whose weights can be updated from a group of models; None: nothing.

    Raises:
        ValueError: its config file is none.
        OSError: it cannot be read.
    """
    if not updates_weights(merged(order)):
        return None
    return (
        "its options make weights that can be updated, and the library takes no such model into a "
        "group: leave out variable_weights_file, or set sharing {workspace: false, weights: false}"
    )


def mixture_problem(
    order: ModelOrder, orders: Sequence[ModelOrder], kind: CardKind, allowed: bool
) -> str | None:
    """A GE model beside ACL models on a card that was not said to mix them."""
    others = [other.name for other in orders if other.provider != order.provider]
    if allowed or kind == "cpu" or order.provider != "ge" or not others:
        return None
    return (
        f"it is of provider ge and {', '.join(others)} of provider acl, and a card runs one of "
        "them: put them on different cards, or set cards.mix_ge_and_acl: true once orchestrator "
        "verify-card has passed that mixture on this card type and CANN"
    )


def unproven_mixture(where: str, found: Verdict | None) -> str:
    """Why models of provider ge and acl may not be mixed on such cards; empty where they may."""
    if found is not None and found.holds:
        return ""
    told = "has not been tried on this node" if found is None else f"failed here: {found.says}"
    return (
        f"cards.mix_ge_and_acl is set, and that mixture {told} ({where}): run orchestrator "
        "verify-card on an idle card of this node, or put them on different cards"
    )


def file_problem(path: str, kind: CardKind) -> str | None:
    """What is wrong with a model file; None when nothing can be seen from outside."""
    file = served_file(path, kind)
    if kind == "emulated" and Path(path).suffix != ".mindir":
        return "the path of a model must end in .mindir; the .onnx beside it is served here"
    if not file.exists():
        beside = f"an emulated card serves {file.name} beside it, which does not exist"
        return beside if kind == "emulated" else "the file does not exist on this node"
    if file.is_dir():
        return "it is a folder, not a model file"
    if not os.access(file, os.R_OK):
        return "this process may not read the file"
    return None if file.stat().st_size else "the file is empty"


def conversion_problem(order: ModelOrder, kind: CardKind) -> str | None:
    """Why a file would be compiled whenever it is built; None where that is allowed, or not so.

    What is no MindIR at all is for the library to refuse.
    """
    if kind != "ascend" or order.may_compile:
        return None
    try:
        if read_mindir(Path(order.path)).converted:
            return None
    except (NotAMindIRError, OSError):
        return None
    return (
        "it was not converted for Ascend, so that the library would compile it whenever it is "
        "built: convert it (orchestrator convert --target ascend), or allow that with "
        "compile_at_build: true"
    )


#: What the library logs of a model without weights in a group (acl_mem_manager.cc:190 of 2.7).
WEIGHTLESS = "Weight size if 0!"


def load_causes(kind: CardKind, members: Sequence[ModelOrder], log: str = "") -> tuple[str, ...]:
    """Likely causes of a failed sizing or build, most likely first. ``log``: its native lines."""
    causes = []
    if WEIGHTLESS in log and kind != "cpu":
        names = ", ".join(member.name for member in members)
        causes.append(
            f"{names} has no weights, which its plan did not know, and the library refuses to "
            "group it: plan with measured sizes, or set sharing {workspace: false, weights: false}"
        )
    if kind == "ascend":
        uses_ge = any(member.provider == "ge" for member in members)
        causes += [str(f) for f in inspect(os.environ, kind=kind, ge=uses_ge) if not f.ok]
    causes.append("the file is damaged or not a model")
    if kind == "ascend":
        causes += [
            "the model was not converted for this card type",
            "the card has less free memory than planned, or another process holds it",
        ]
    return tuple(causes)


def predict_causes(kind: CardKind) -> tuple[str, ...]:
    """Likely causes of a failed run whose inputs had passed every check, most likely first."""
    inputs = "values that the model cannot take, such as an index beyond a table"
    if kind != "ascend":
        return (inputs,)
    full = "the card ran out of memory, which a dynamic model allocates while it runs"
    return (inputs, full, "the card is in an error state (npu-smi info shows its health)")


def import_cure(told: str) -> str:
    """How to cure what an import said; empty where nothing better is known than installing."""
    static = re.search(r"(\S+\.so[.\d]*): cannot allocate memory in static TLS block", told)
    if static:
        return (
            "Preload the library that it names, since too many were loaded before it: export "
            f"LD_PRELOAD={static[1]} before starting Ray on this node"
        )
    if re.search(r"lib(graph|ascendcl|hccl|ascend_hal)\S*\.so", told):
        return ENVIRONMENT_CURE
    return ""


def explain(
    error: Exception, log: str, causes: Sequence[str] = (), situation: Sequence[str] = ()
) -> str:
    """The library's words, where it was, its last log lines, and what is likely behind them."""
    parts = [str(error), *situation]
    if log and log not in parts[0]:
        parts.append(f"native log: {log}")
    if causes:
        parts.append("likely causes: " + "; ".join(causes))
    return " | ".join(parts)


def native_log_position() -> int:
    """Where the file that native code logs to (standard error) ends now; 0 if it is no file."""
    status = os.fstat(2)
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def native_log_since(position: int) -> str:
    """The last lines worth reading that were logged from a position on, and CANN's own.

    The library logs to standard error, which is a file in every card process; CANN to files named
    after the process.
    """
    lines = []
    status = os.fstat(2)
    if stat.S_ISREG(status.st_mode):
        lines += _last_lines(Path("/proc/self/fd/2"), position)
    folder = Path(os.environ.get("ASCEND_PROCESS_LOG_PATH") or Path.home() / "ascend/log")
    for file in sorted(folder.glob(f"*/plog/plog-{os.getpid()}_*.log"))[-1:]:
        lines += _last_lines(file, 0)
    return " / ".join(lines)


def _last_lines(file: Path, position: int) -> list[str]:
    try:
        with file.open("rb") as log:
            log.seek(max(position, file.stat().st_size - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    stripped = [line.strip() for line in lines if line.strip()]
    return ([line for line in stripped if _WORTH.search(line)] or stripped)[-_LINES:]
