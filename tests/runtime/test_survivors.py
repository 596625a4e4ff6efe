"""A card that is gone for good: the others take over, and what nobody serves any more is named."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from orchestrator import RequestFailedError
from orchestrator.runtime.cluster.connect import Connection
from orchestrator.runtime.deployments.running import Running
from orchestrator.runtime.options import Options, RestartRules
from tests.models import write_mlp
from tests.runtime.deployments import WIDTH, Truth, model, planned, rows


def test_the_others_take_over_what_they_can_and_the_rest_is_named(
    cluster: Connection, tmp_path: Path
) -> None:
    files = {
        name: write_mlp(tmp_path, name, width=WIDTH, rows=1, seed=seed)
        for seed, name in enumerate(("here", "there", "both"))
    }
    where = {"here": ["local/0"], "there": ["local/1"], "both": ["local/0", "local/1"]}
    plan = planned(*(model(name, path, cards=where[name]) for name, path in files.items()))
    [lost] = plan.plan.replicas("both")
    only = "here" if lost == "local/0" else "there"
    running = Running(Options(restarts=RestartRules(most_failures=1)))
    running.start(plan)
    try:
        x = rows(1)

        def answered(name: str) -> bool:
            got = running.submit(name, {"x": x}, None, True, "online").result()["y"]
            return np.allclose(got, Truth(files[name])(x), atol=1e-5)

        assert all(map(answered, files))
        pid = next(card.pid for card in running.status(250.0).cards if card.slot == lost)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(
            RequestFailedError,
            match=f"model {only} is not served now: {lost} failed 1 times in a row, last: its "
            "process ",
        ):
            while True:
                answered(only)
        assert all(answered(name) for name in files if name != only)
        seen = running.status(250.0)
        assert seen.notes == (f"planned without {lost}: no longer served: {only}",)
        assert seen.notes[0] in str(seen)
        assert [card.state for card in seen.cards if card.slot == lost] == ["given up"]

        assert running._survivors is not None
        running._survivors.back([lost]).result()
        assert all(map(answered, files))
        assert running.status(250.0).notes == ()
    finally:
        running.close()
