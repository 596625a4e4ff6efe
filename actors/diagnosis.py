"""What is wrong with a model or its file, in words that the library does not have.

Its texts tell no card, a bad file and too little memory apart ("Common error code"), so what can be
seen before the call is checked before it, and what remains is listed as likely causes.
"""

from collections.abc import Sequence
from pathlib import Path

from actors.messages import CardKind, ModelOrder


def order_problem(order: ModelOrder, orders: Sequence[ModelOrder]) -> str | None:
    """What keeps a model from being declared beside the others; None when nothing does."""
    if order.provider == "ge":
        return "not supported yet: provider ge"
    if order.threads < 1:
        return f"threads is {order.threads}: at least 1 is needed"
    same = [other.name for other in orders if other.path == order.path and other is not order]
    if same:
        return (
            f"model {same[0]} has the same path, and the library tells models apart by path alone: "
            "give one of them a copy of the file"
        )
    return None


def file_problem(path: str, kind: CardKind) -> str | None:
    """What is wrong with a model file; None when nothing can be seen from outside."""
    file = Path(path)
    if kind == "emulated":
        if file.suffix != ".mindir":
            return "the path of a model must end in .mindir; the .onnx beside it is served here"
        file = file.with_suffix(".onnx")
        if not file.exists():
            return f"an emulated card serves {file.name} beside it, which does not exist"
    if not file.exists():
        return "the file does not exist on this node"
    if file.is_dir():
        return "it is a folder, not a model file"
    if not file.stat().st_size:
        return "the file is empty"
    return None


def load_causes(kind: CardKind, members: Sequence[ModelOrder]) -> tuple[str, ...]:
    """Likely causes of a failed sizing or build, most likely first."""
    causes = []
    weightless = [m.name for m in members if m.footprint and not m.footprint.weights]
    if weightless and kind != "cpu":
        causes.append(
            f"{', '.join(weightless)} has no weights and the library refuses to share those of a "
            "model without any: set sharing {workspace: false, weights: false}"
        )
    causes.append("the file is damaged or not a model")
    if kind == "ascend":
        causes += [
            "the model was not converted for this card type",
            "the CANN environment (set_env.sh) is not set in this process",
            "the card has less free memory than planned, or another process holds it",
        ]
    return tuple(causes)


def explain(error: Exception, log: str, causes: Sequence[str] = ()) -> str:
    """The library's words, its last native log line, and what is likely behind them."""
    parts = [str(error)]
    if log and log not in parts[0]:
        parts.append(f"native log: {log}")
    if causes:
        parts.append("likely causes: " + "; ".join(causes))
    return " | ".join(parts)
