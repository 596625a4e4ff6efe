"""What ``doctor`` found on each node, a line for each thing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actors.machine.finding import Finding
from actors.machine.node import NodeReport
from actors.machine.npusmi import SmiCard
from orchestrator.inventory import ray_start_options
from orchestrator.report.check import finding_document
from orchestrator.units import format_bytes


@dataclass(frozen=True)
class NodeFindings:
    """A node's report, and all lines that it comes to."""

    node: NodeReport
    findings: tuple[Finding, ...]

    @property
    def to_fix(self) -> int:
        """How many lines say that something needs fixing."""
        return sum(not finding.ok for finding in self.findings)


def node_findings(node: NodeReport, resource: str, offered: float | None) -> NodeFindings:
    """All lines about a node. ``offered``: of the Ray resource; None where Ray does not run."""
    lines = [*node.findings, *map(_card, node.cards)]
    if offered is not None and node.usable:
        lines.append(_offered(node, resource, offered))
    return NodeFindings(node, tuple(lines))


def doctor_lines(nodes: Sequence[NodeFindings]) -> Iterator[str]:
    """For each node its name and its lines; then how many things there are to fix."""
    for found in nodes:
        yield f"{found.node.host}:"
        for finding in found.findings:
            mark = "FIX" if not finding.ok else "see" if finding.warns else "ok "
            yield f"  {mark}  {finding}"
    total, wrong = sum(found.to_fix for found in nodes), sum(bool(f.to_fix) for f in nodes)
    machines = "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"
    yield f"{total} to fix on {wrong} of {machines}" if total else f"nothing to fix on {machines}"


def doctor_document(nodes: Sequence[NodeFindings]) -> Mapping[str, Any]:
    """The same for programs, with the cards' bytes and who holds them."""
    return {
        "ok": not any(found.to_fix for found in nodes),
        "nodes": [
            {
                "host": found.node.host,
                "findings": [finding_document(finding) for finding in found.findings],
                "cards": [_card_document(card) for card in found.node.cards],
                "usable_cards": found.node.usable,
            }
            for found in nodes
        ],
    }


def _card(card: SmiCard) -> Finding:
    """``6.2 GiB free of 32.0 GiB; python (pid 7) holds 1.0 GiB, driver and system 24.8 GiB``."""
    held = [f"{h.name} (pid {h.pid}) holds {format_bytes(h.nbytes)}" for h in card.holders]
    rest = card.used_bytes - sum(holder.nbytes for holder in card.holders)
    if rest > 0:
        held.append(f"driver and system hold {format_bytes(rest)}")
    free = f"{format_bytes(card.free_bytes)} free of {format_bytes(card.total_bytes)}"
    if not card.total_bytes:
        free = "npu-smi does not tell its memory"
    ok = card.health == "OK"
    state = "" if ok else f"health {card.health}, "
    fix = "" if ok else "npu-smi info -t health shows its fault; do not plan for it until then"
    wanted = "" if ok else "health OK"
    subject = f"card {card.npu_id} ({card.chip})"
    return Finding(subject, f"{state}{'; '.join([free, *held])}", wanted, fix, ok)


def _offered(node: NodeReport, resource: str, offered: float) -> Finding:
    """Ray places one process for each of what it offers: more than there are cards cannot start."""
    ok = offered == node.usable
    wanted = f"{node.usable}, as many as cards"
    options = ray_start_options(resource, node.usable)
    fix = "" if ok else f"start Ray on this node with {options}"
    return Finding(f"Ray resource {resource}", f"{offered:g}", wanted, fix, ok)


def _card_document(card: SmiCard) -> Mapping[str, Any]:
    return {
        "npu_id": card.npu_id,
        "chip": card.chip,
        "health": card.health,
        "total_bytes": card.total_bytes,
        "free_bytes": card.free_bytes,
        "holders": [
            {"pid": holder.pid, "name": holder.name, "bytes": holder.nbytes}
            for holder in card.holders
        ],
    }
