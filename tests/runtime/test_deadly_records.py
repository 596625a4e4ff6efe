"""Records that end the processes of cards, or of a job's workers: found and set aside alone."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestrator import Orchestrator
from orchestrator.jobs import Outcome
from orchestrator.runtime.cluster.connect import Connection
from tests.models import write_mlp
from tests.runtime.deployments import POISON, WIDTH, Truth, model, planned, rows

RECORDS, GUILTY = 64, 37


@pytest.fixture
def two_cards(cluster: Connection, tmp_path: Path):
    path = write_mlp(tmp_path, "mlp", width=WIDTH, gears=[1, 16])
    gears = {"gears": [{"x": [1, WIDTH]}, {"x": [16, WIDTH]}]}
    with Orchestrator(planned(model("mlp", path, shapes=gears, replicas=2), name="deadly")) as on:
        yield on, Truth(path)


def deaths(running: Orchestrator) -> int:
    return sum(card.restarts for card in running.status().cards)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    data = rows(RECORDS)
    data[GUILTY, 3] = POISON
    texts = [json.dumps({"key": key, "x": row.tolist()}) for key, row in enumerate(data)]
    (tmp_path / "rows.jsonl").write_text("\n".join(texts))
    return tmp_path / "rows.jsonl"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_record_that_kills_cards_is_found_before_the_cards_are_used_up(
    two_cards, poison: np.ndarray, lines: Path, tmp_path: Path, workers: int
) -> None:
    running, truth = two_cards
    before, out = deaths(running), tmp_path / "out"
    job = running.run(
        lines, out, model="mlp", ids=("key",), batch_size=16, in_flight=2, workers=workers
    )
    summary = job.wait()
    assert (summary.outcome, summary.read) == (Outcome.COMPLETE, RECORDS - 1)
    (reject,) = summary.rejects
    assert "2 cards died while it was the only request on them" in reject.reason
    assert reject.card
    table = pq.read_table(out)
    keys = [key for key in range(RECORDS) if key != GUILTY]
    assert table["key"].to_pylist() == keys
    expected = truth(rows(RECORDS))[keys]
    assert np.allclose(np.stack(table["y"].to_numpy()), expected, atol=1e-5)
    # At most 4 of the request of 16 rows, 3 of halves of it, and 2 of the record alone.
    assert deaths(running) - before <= 9


def test_a_record_that_kills_workers_is_found_and_others_of_its_workers_are_not_blamed(
    two_cards, lines: Path, tmp_path: Path
) -> None:
    running, _ = two_cards
    out = tmp_path / "out"

    async def deadly(batch, models):
        if GUILTY in batch["key"]:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await models.mlp.predict_async({"x": batch["x"].astype(np.float32)})
        return {"key": batch["key"], "y": answer["y"]}

    options = {"batch_size": 4, "part_size": "4kB", "workers": 1}
    summary = running.run(lines, out, pipeline=deadly, **options).wait()
    assert summary.outcome is Outcome.COMPLETE
    (reject,) = summary.rejects
    assert "the process of a worker ended" in reject.reason
    keys = [key for key in range(RECORDS) if key != GUILTY]
    assert pq.read_table(out)["key"].to_pylist() == keys
