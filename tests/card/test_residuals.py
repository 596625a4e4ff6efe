"""What serving cards took beyond their plans is left free in later ones."""

from pathlib import Path

from actors.machine.npusmi import Holder, SmiCard
from actors.memory import CardMemory
from actors.messages import MemoryReport
from orchestrator.config import Cards
from orchestrator.inventory import Inventory
from orchestrator.profiles import Residuals
from orchestrator.runtime.cluster.discover import idle_bytes
from orchestrator.runtime.cluster.measure import reserved


def report(measured: int | None) -> MemoryReport:
    planned = CardMemory(weights=1000)
    return MemoryReport("local/0", planned, planned, None, 9000, 0, 0, 0, (), measured)


def test_the_largest_excess_of_a_card_type_is_kept(tmp_path: Path) -> None:
    residuals = Residuals(tmp_path)
    for measured in (1500, 1200, 800, None):
        residuals.note("ascend", "910B/64G", report(measured))
    assert residuals.largest("ascend", "910B/64G") == 500
    assert residuals.largest("ascend", "310P") == residuals.largest("ascend", None) == 0
    residuals.note("emulated", None, report(5000))
    assert residuals.largest("emulated", None) == 0
    (tmp_path / "ascend-310P.json").write_text("half a fi")
    assert residuals.largest("ascend", "310P") == 0


def test_a_folder_that_cannot_be_written_is_no_reason_not_to_serve(caplog) -> None:
    residuals = Residuals(Path("/proc/residuals"))
    residuals.note("ascend", "310P", report(1500))
    assert residuals.largest("ascend", "310P") == 0
    assert "local/0 took 500 bytes beyond its plan, which cannot be kept" in caplog.text
    assert "/proc/residuals: No such file or directory" in caplog.text


def test_a_plan_leaves_it_free_and_says_so(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ASCEND_ORCHESTRATOR_CACHE", str(tmp_path))
    cards = Cards(kind="ascend", type="310P", count=2, reserve="1KiB")
    inventory = Inventory.declared(cards)
    told: list[str] = []
    assert reserved(inventory, cards, told.append) == inventory
    assert told == []
    Residuals().note("ascend", "310P", report(4000))
    assert {card.reserve_bytes for card in reserved(inventory, cards, told.append)} == {3000}
    assert told == [
        "leaving 3,000 bytes of each card free: cards of type 310P took so much beyond a plan"
    ]
    assert {card.overhead_bytes for card in inventory.taking(7)} == {7}


def test_capacity_is_the_least_that_is_free_on_an_idle_card() -> None:
    idle = SmiCard(0, "910B4", "OK", 3 << 30, 32 << 30)
    emptier = SmiCard(1, "910B4", "OK", 2 << 30, 32 << 30)
    used = SmiCard(2, "910B4", "OK", 30 << 30, 32 << 30, (Holder(1, "python", 28 << 30),))
    assert idle_bytes([(emptier, used), (idle,)]) == 29 << 30
    assert idle_bytes([(), (used,)]) is None
