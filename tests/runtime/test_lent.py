"""Handles of a deployment that one process owns, in tasks and actors of the same Ray."""

import asyncio
import contextlib
import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray

from orchestrator import (
    DeploymentError,
    ModelHandle,
    NotServingError,
    Orchestrator,
    RequestFailedError,
)
from orchestrator.runtime.calls.following import Seen
from orchestrator.runtime.calls.lending import Board
from orchestrator.runtime.cluster.connect import Connection
from orchestrator.runtime.options import Options
from tests.models import write_mlp
from tests.runtime.connections import cut
from tests.runtime.deployments import WIDTH, Truth, geared, model, planned, rows
from tests.runtime.test_deaths import card, until_back

remote: Any = ray.remote(num_cpus=0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lent")


@pytest.fixture(scope="module")
def owner(cluster: Connection, files: Path) -> Iterator[Orchestrator]:
    """One model on two cards. What it lends ends with it."""
    with Orchestrator(planned(geared("both", files, threads=2, replicas=2))) as made:
        yield made


@pytest.fixture(scope="module")
def truth(owner: Orchestrator, files: Path) -> Truth:
    return Truth(files / "both.mindir")


@remote
def ask(handle: ModelHandle, x: np.ndarray) -> np.ndarray:
    """One task; it sends the handle on to another for the second half."""
    half = len(x) // 2
    if not half:
        return handle.predict({"x": x})["y"]
    other = ask.remote(handle, x[half:]) if half > 4 else None
    mine = [answer["y"] for answer in handle.map({"x": x[i : i + 1]} for i in range(half))]
    rest = handle.predict({"x": x[half:]})["y"] if other is None else ray.get(other)
    return np.concatenate([*mine, rest])


@remote
def ask_what_is_kept(kept: list[Any]) -> np.ndarray:
    """Of a reference and a handle that were sent as one thing."""
    x, handle = ray.get(kept[0]), kept[1]
    return handle.predict({"x": x})["y"]


@remote
class Caller:
    """An actor that keeps a handle."""

    def __init__(self, handle: ModelHandle) -> None:
        self.handle = handle

    def ask(self, x: np.ndarray) -> np.ndarray:
        return self.handle.predict({"x": x})["y"]

    def ask_many(self, x: np.ndarray) -> np.ndarray:
        answers = self.handle.map({"x": x[i : i + 1]} for i in range(len(x)))
        return np.concatenate([answer["y"] for answer in answers])

    def fails(self, x: np.ndarray) -> Exception | None:
        try:
            self.ask(x)
        except (NotServingError, RequestFailedError) as error:
            return error
        return None

    def cut(self, pid: int) -> int:
        return cut(pid)

    def status(self) -> None:
        self.handle._orchestrator.status()


@remote
def too_late(sent: bytes) -> Exception | None:
    try:
        pickle.loads(sent).predict({"x": rows(1)})
    except NotServingError as error:
        return error
    return None


def test_a_board_passes_on_questions_answers_and_news() -> None:
    async def talk() -> None:
        board = Board(Options(), Seen(None, (), {}))
        _, _, version = await board.begin()
        news = asyncio.ensure_future(board.follow(version))
        there, gone = (asyncio.ensure_future(board.look(slot, 1, "?")) for slot in "ab")
        asked = await board.questions()
        while len(asked) < 2:
            asked += await board.questions()
        for question in asked:
            await board.answer(question.number, question.slot == "a")
            await board.answer(question.number, False)  # said before
        assert (await there, await gone) == (True, False)
        assert not news.done()
        await board.post(Seen(None, (), {"x": None}))
        seen, later = await news
        assert set(seen.signatures) == {"x"}
        assert later == version + 1
        assert await board.follow(version) == (seen, later)

    asyncio.run(talk())


def test_tasks_call_a_model_and_send_its_handle_on(owner: Orchestrator, truth: Truth) -> None:
    x = rows(20)  # sent on twice; each task that waits for another takes a process more
    kept = [ray.put(x), owner.model("both")]
    assert np.allclose(ray.get(ask_what_is_kept.remote(kept)), truth(x), atol=1e-5)
    got = ray.get([ask.remote(owner.model("both"), x + i) for i in range(2)])
    for i, y in enumerate(got):
        assert np.allclose(y, truth(x + np.float32(i)), atol=1e-5)


def test_an_actor_follows_cards_that_die(owner: Orchestrator, truth: Truth) -> None:
    caller, x = Caller.remote(owner.model("both")), rows(300)
    assert np.allclose(ray.get(caller.ask.remote(x)), truth(x), atol=1e-5)
    asked = caller.ask_many.remote(x)
    for slot in ("local/0", "local/1"):
        until_back(owner, slot)
        os.kill(card(owner, slot).pid, signal.SIGKILL)
    assert np.allclose(ray.get(asked), truth(x), atol=1e-5)
    assert np.allclose(ray.get(caller.ask_many.remote(x)), truth(x), atol=1e-5)
    ray.kill(caller)


def board() -> int:
    """The process of the one board that there is."""
    found = []
    for one in psutil.Process().children(True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            if one.name().startswith("ray::Board"):
                found.append(one.pid)
    assert len(found) == 1
    return found[0]


def replace_all_cards(owner: Orchestrator) -> None:
    for slot in ("local/0", "local/1"):
        until_back(owner, slot)
        os.kill(card(owner, slot).pid, signal.SIGKILL)


def test_a_borrower_goes_on_when_connections_are_lost_and_when_the_board_dies(
    owner: Orchestrator, truth: Truth
) -> None:
    caller, x = Caller.remote(owner.model("both")), rows(300)
    assert np.allclose(ray.get(caller.ask.remote(x)), truth(x), atol=1e-5)
    assert ray.get(caller.cut.remote(board()))
    replace_all_cards(owner)  # it must hear of their new processes
    assert np.allclose(ray.get(caller.ask_many.remote(x)), truth(x), atol=1e-5)

    assert cut(board())  # the owner must hear of what borrowers ask
    for slot in ("local/0", "local/1"):
        until_back(owner, slot)
        while not ray.get(caller.cut.remote(card(owner, slot).pid)):  # it is there all the same
            ray.get(caller.ask_many.remote(x))
    assert np.allclose(ray.get(caller.ask_many.remote(x)), truth(x), atol=1e-5)

    os.kill(board(), signal.SIGKILL)
    replace_all_cards(owner)
    assert np.allclose(ray.get(caller.ask_many.remote(x)), truth(x), atol=1e-5)
    ray.kill(caller)


def test_here_a_handle_is_the_owners_own(owner: Orchestrator) -> None:
    again = pickle.loads(pickle.dumps(owner.model("both")))
    assert again._orchestrator is owner


def test_only_what_runs_can_be_sent(tmp_path: Path) -> None:
    path = write_mlp(tmp_path, "unsent", width=WIDTH, rows=1)
    with pytest.raises(
        NotServingError, match="deployment tiny takes no requests: it was not started"
    ):
        pickle.dumps(Orchestrator(planned(model("unsent", path), count=1)).models)


def test_borrowers_are_told_when_the_owner_has_left(cluster: Connection, tmp_path: Path) -> None:
    path = write_mlp(tmp_path, "slow", width=WIDTH, rows=1)
    both = [model("slow", path, emulated={"execute": "1s"}), model("quick", path)]
    with Orchestrator(planned(*both, count=1, name="brief")) as brief:
        quick, slow = (Caller.remote(brief.model(name)) for name in ("quick", "slow"))
        assert ray.get(quick.ask.remote(rows(1))).shape == (1, WIDTH)
        with pytest.raises(DeploymentError) as told:
            ray.get(quick.status.remote())
        assert str(told.value.cause).startswith("brief: it belongs to another process: here its")
        flying = slow.fails.remote(rows(100))
        process = brief._require()._controller.slots["local/0"].serving
        while not any(one.model == "slow" for one in process.stats().result().working):
            ray.wait([flying], timeout=0.05)
        sent = pickle.dumps(brief.model("quick"))
        brief.close()
    gone = "deployment brief takes no requests: it ended with the process that owned it"
    errors = [ray.get(flying), ray.get(quick.fails.remote(rows(1))), ray.get(too_late.remote(sent))]
    assert all(gone in str(error) for error in errors), errors
    assert isinstance(ray.get(quick.fails.remote(rows(1))), NotServingError)
    for caller in (quick, slow):
        ray.kill(caller)
