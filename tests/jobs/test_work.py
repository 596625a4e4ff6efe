"""Work of a job where records kill: which rows are sent again and how, and what is said first."""

import asyncio
import json
import threading
from collections import Counter

import numpy as np
import pytest

from actors.shapes import Gear, Signature, TensorSpec
from orchestrator.errors import RequestFailedError
from orchestrator.jobs import Job
from orchestrator.runtime.calls.suspicion import suspicion
from orchestrator.runtime.io.inputs import open_source
from orchestrator.runtime.jobs.through import ThroughModel
from orchestrator.runtime.jobs.work import Task, Work

RECORDS, GUILTY = 64, 37


class Books:
    """What is told."""

    def __init__(self):
        self.rejects, self.settled_records, self.batches, self.ends = [], 0, 0, None

    async def set_aside(self, part, reject):
        self.rejects.append(reject)

    async def settled(self, part, batch, settled):
        self.settled_records += settled.records
        self.batches += 1

    async def ended(self, part, batches):
        self.ends = batches


class Cards:
    """A model on cards that die of negative rows, in pieces of four; notes what they were asked.

    What is not suspected shares its cards: it takes four deaths before it is given up.
    """

    def __init__(self):
        specs = (TensorSpec("x", "float32", (-1,)),)
        outputs = (TensorSpec("y", "float32", (-1,)),)
        self.signature = Signature(specs, outputs, (Gear((("x", (4,)),)),))
        self.deaths, self.asked = 0, Counter()

    async def predict_async(self, inputs):
        await asyncio.sleep(0)
        x = inputs["x"]
        self.asked.update(abs(x).tolist())
        bad = np.flatnonzero(x < 0)
        if len(bad):
            self.deaths += suspicion() or 4
            piece = int(bad[0]) // 4 * 4
            rows = piece, min(piece + 4, len(x))
            raise RequestFailedError("m", ("cards died",), ("local/0",), True, rows)
        return {"y": x * 2}


def work(tmp_path, pipeline, models, books):
    """Work over lines of ``x``; and its only part."""
    lines = [json.dumps({"x": -row if row == GUILTY else row}) for row in range(RECORDS)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    source = open_source(tmp_path / "a.jsonl")
    (part,) = Job.of(source.pieces(1 << 20), source.stamp, 1 << 20).parts
    return Work(Task(source, pipeline, RECORDS, 4), models, books, lambda model: ""), part


def done(work, part, books):
    left = iter([part])

    async def next_part():
        return next(left, None)

    asyncio.run(work.run(next_part, threading.Event()))
    assert books.batches == books.ends


def test_of_a_models_records_only_the_piece_that_killed_is_looked_through(tmp_path):
    books, cards = Books(), Cards()
    one, part = work(tmp_path, ThroughModel("m", {}, ("record_id",), 0), {"m": cards}, books)
    done(one, part, books)
    (reject,) = books.rejects
    assert (reject.reason, reject.card) == ("model m: request failed: cards died", "local/0")
    assert books.settled_records == RECORDS - 1
    # 4 together, and of the piece (36 to 39) one with 37 in the half 36, 37, and two alone.
    assert cards.deaths == 7
    assert max(cards.asked[row] for row in range(RECORDS) if row not in range(36, 40)) == 2


def test_of_any_pipelines_records_all_are_looked_through_one_death_for_each_half(tmp_path):
    async def pipeline(batch, models):
        answers = [models.predict_async({"x": rows}) for rows in np.array_split(batch["x"], 2)]
        return {"y": np.concatenate([one["y"] for one in await asyncio.gather(*answers)])}

    books, cards = Books(), Cards()
    one, part = work(tmp_path, pipeline, cards, books)
    done(one, part, books)
    assert len(books.rejects) == 1
    assert books.settled_records == RECORDS - 1
    assert cards.deaths <= 4 + 5 + 2


@pytest.mark.parametrize(("deaths", "name"), [(1, "a.jsonl@"), (2, "part-00000, which begins")])
def test_a_part_that_ended_workers_is_done_record_by_record(tmp_path, deaths, name):
    noted, seen = [], []

    async def note(number):
        noted.append(number)
        await asyncio.sleep(0)

    async def pipeline(batch, models):
        seen.append((noted[-1], batch["x"].tolist()))
        await asyncio.sleep(0)
        return {"y": batch["x"]}

    books = Books()
    one, part = work(tmp_path, pipeline, None, books)
    one.beware(part, {GUILTY: deaths}, note)
    done(one, part, books)
    others = [number for number in range(RECORDS) if number != GUILTY]
    assert seen == [(number, [number]) for number in others]
    touched = others if deaths == 2 else list(range(RECORDS))
    assert noted == [said for number in touched for said in (number, None)]
    (reject,) = books.rejects
    assert reject.record.startswith(name)
    assert "the process of a worker ended while it had this record" in reject.reason
    assert books.settled_records == RECORDS - 1
