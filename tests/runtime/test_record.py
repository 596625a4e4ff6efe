"""What is kept of a named deployment, and the slots that a controller makes of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.runtime.cards.history import History
from orchestrator.runtime.cards.inherited import lost_slots, planned_slots
from orchestrator.runtime.cards.losses import Loss, Losses
from orchestrator.runtime.cards.record import Record, forget, kept
from orchestrator.runtime.cards.slots import SlotState
from orchestrator.runtime.cluster.connect import Connection
from tests.models import write_mlp
from tests.runtime.deployments import WIDTH, model, planned

QUARANTINED = Loss("was unfit 4 times, last: it hangs", "n0", quarantined=True, npu_id="3")
GIVEN_UP = Loss("failed 5 times in a row, last: killed", "gone")


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Two cards, one of them quarantined; another one was lost with its node before."""
    path = write_mlp(tmp_path, "both", width=WIDTH, rows=1)
    plan = planned(model("both", path, replicas=2), name="kept")
    lost = {"local/0": QUARANTINED, "far/0": GIVEN_UP}
    histories = {"local/0": History(1, 3, (1.5, 2.5, 3.5, 4.5))}
    return Record(plan, {"local": "n0"}, losses=Losses(plan, lost), histories=histories)


def test_all_of_it_is_kept_until_it_is_forgotten(cluster: Connection, record: Record) -> None:
    assert record.save(new=True)
    assert not record.save(new=True)
    found = Record.load("kept")
    assert found is not None
    assert replace(found, plan=record.plan, losses=record.losses) == record
    assert found.losses.lost == record.losses.lost
    assert found.losses.whole is not None
    assert found.losses.whole.to_dict() == record.plan.to_dict()
    forget("kept")
    assert not record.save()  # by a controller that has not ended yet
    assert "kept" not in kept()


def test_lost_slots_start_no_process_wherever_they_were(record: Record) -> None:
    states = {name: slot.state for name, slot in planned_slots(record).items()}
    assert states == {"local/0": SlotState.QUARANTINED, "local/1": SlotState.WAITING}
    quarantined, given_up = lost_slots(record).values()
    assert (quarantined.state, quarantined.why) == (SlotState.QUARANTINED, QUARANTINED.why)
    assert [order.name for order in quarantined.order.models] == ["both"]
    assert quarantined.restarts == 3
    assert (given_up.state, given_up.node_id) == (SlotState.GIVEN_UP, "gone")


def test_a_change_lifts_what_was_given_up_and_no_quarantine(record: Record) -> None:
    changed = record.changed(record.plan, {"local": "n0"}, record.plan)
    assert changed.losses == Losses(record.plan, {"local/0": QUARANTINED})
    assert changed.histories["local/0"].unfit
    assert changed.forgiving(["local/0"]).histories["local/0"] == History(restarts=3)
    back = changed.rescaled(record.plan, {"local": "n0"}, back=["local/0"])
    assert back.losses == Losses()
