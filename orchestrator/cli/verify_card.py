"""``orchestrator verify-card``: what this project relies on, measured on one card. No Ray."""

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from actors import device
from actors.claims.bench import in_use, set_up
from actors.claims.claims import CLAIMS, NOT_OF_SHARING, Claim, verify
from actors.claims.judging import Verdict
from actors.machine import verdicts
from actors.messages import CardKind
from orchestrator.report.claims import claim_line, claim_table, steps_shown
from orchestrator.report.console import messages_console, results_console

#: Options that take several files at once.
_MANY = ("--models", "--ge-models")


class SeveralFiles(TyperCommand):
    """Lets ``--models A.mindir B.mindir`` stand for the option twice, as click has it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """Repeat the option before every further file."""
        return list(super().parse_args(ctx, spread(args)))


def spread(words: Sequence[str]) -> list[str]:
    """``--models A B --json`` -> ``--models A --models B --json``."""
    out: list[str] = []
    option = ""
    for word in words:
        if word.startswith("-"):
            option = word if word in _MANY else ""
        elif option and out[-1] != option:
            out.append(option)
        out.append(word)
    return out


class Kind(str, Enum):
    """Kinds of cards that share memory."""

    ASCEND = "ascend"
    EMULATED = "emulated"


def verify_card(
    card: Annotated[
        int, typer.Option(min=0, help="Index among the cards that this process sees.")
    ] = 0,
    kind: Annotated[
        Kind | None,
        typer.Option(help="By default ascend where this machine has cards, else emulated."),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            help="Your models (.mindir) of one card, one or more. By default small ones are "
            "written, which on a real card takes the library's Converter."
        ),
    ] = None,
    ge_models: Annotated[
        list[str] | None,
        typer.Option(
            help="Your two GE graphs (.mindir), best of one network. By default as above."
        ),
    ] = None,
    logs: Annotated[
        Path | None,
        typer.Option(help="Keep the native log of every process in this folder.", file_okay=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Check on a card what plans rely on: shared workspaces, shared weights, equal results.

    Everything is measured with and without sharing, each in a process of its own, on a card that
    nobody else should use meanwhile. Exit code 1 when a claim failed, or none showed that anything
    is shared.
    """
    wanted: CardKind = (kind or _kind_here()).value
    if logs is not None:
        logs.mkdir(parents=True, exist_ok=True)
    found: list[Claim] = []
    with tempfile.TemporaryDirectory(prefix="verify-card-") as folder:
        progress = messages_console()
        with steps_shown(progress, "models") as tell:
            bench = set_up(wanted, card, Path(folder), models or [], ge_models or [], logs, tell)
        if wanted == "ascend" and (used := in_use(card)):
            typer.echo(f"warning: {used}: what that takes or gives back is counted too", err=True)
        for number, name in enumerate(CLAIMS, 1):
            with steps_shown(progress, f"{number} of {len(CLAIMS)}, {name}") as bench.tell:
                found.append(verify(name, bench))
            typer.echo(claim_line(found[-1]), err=as_json)
    if wanted == "ascend":
        keep_mixture(found, card)
    held, problem = passed(found)
    libraries = ", ".join(sorted({one.library for one in bench.done.values()}) or ["no library"])
    if as_json:
        where = {"kind": wanted, "card": card, "second_card": bench.other, "library": libraries}
        typer.echo(json.dumps({**where, "held": held, **_document(found)}, indent=1))
    else:
        results_console().print(claim_table(found, f"card {card}, {libraries}"))
    if problem:
        typer.echo(f"error: {problem}", err=True)
    if not held:
        raise typer.Exit(1)


def _document(found: Sequence[Claim]) -> dict[str, Any]:
    counts = Counter(claim.verdict for claim in found)
    return {
        "counts": {verdict.value: counts[verdict] for verdict in Verdict},
        "claims": [asdict(claim) for claim in found],
    }


def passed(claims: Sequence[Claim]) -> tuple[bool, str]:
    """Whether something was proven and nothing disproven; and what is wrong with the run itself.

    What holds without any sharing, such as equal results, is not enough.
    """
    if any(claim.verdict is Verdict.FAILED for claim in claims):
        return False, ""
    sharing = [claim for claim in claims if claim.name not in NOT_OF_SHARING]
    if any(claim.verdict is Verdict.HELD for claim in sharing):
        return True, ""
    why = "; ".join(dict.fromkeys(claim.says for claim in sharing))
    return False, f"nothing was seen to be shared: {why}"


def keep_mixture(claims: Sequence[Claim], card: int) -> None:
    """Remember on this node whether GE models run beside ACL models: cards ask before they do."""
    for claim in claims:
        if claim.name == verdicts.MIXTURE and claim.verdict is not Verdict.UNCHECKED:
            where = verdicts.combination(device.own_npu_id(card))
            holds = claim.verdict is Verdict.HELD
            try:
                verdicts.keep(verdicts.Verdict(where, holds, claim.says, verdicts.MIXTURE))
            except OSError as error:
                typer.echo(f"warning: {claim.name} is not remembered: {error}", err=True)


def _kind_here() -> Kind:
    files = (file.name for file in device.DEVICES.iterdir())
    return Kind.ASCEND if device.count({}, files) else Kind.EMULATED
