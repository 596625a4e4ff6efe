"""Ray's own memory monitor ends a card's process: the story says that it was the host's memory.

The limit is a little above what is used now, in a Ray of its own; then its driver takes that much.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.models import write_mlp
from tests.runtime.deployments import WIDTH, Truth, model, planned, rows
from tests.runtime.test_host_memory import HOST_FULL

#: What an actor died of is waited for by those who called it; by default for a second at most.
LATE = {"RAY_timeout_ms_task_wait_for_death_info": "60000"}
DRIVER = """
import json, os, sys, time
import numpy as np
from ray._common.utils import get_system_memory
from ray._private.utils import get_used_memory

from orchestrator import CardLostError, DeploymentPlan, Orchestrator

PIECE = 64 << 20
os.environ["RAY_memory_monitor_refresh_ms"] = "100"
plan = DeploymentPlan.from_json(open(sys.argv[1]).read(), sys.argv[1])
x = np.load(sys.argv[2])
while True:
    limit = get_used_memory() + (2 << 30)
    os.environ["RAY_memory_usage_threshold"] = str(limit / get_system_memory())
    running = Orchestrator(plan)
    try:
        running.start()
        break
    except CardLostError:
        pass  # others on this machine took as much meanwhile
with running:
    slow = running.model("slow")
    slow.predict({"x": x})
    (before,) = running.status().cards
    flying, taken = [], []
    while not (killed := running.status().cards[0]).why:
        while sum(not one.done() for one in flying) < 4:  # some are on the card at any time
            flying.append(slow.submit({"x": x}))
        if get_used_memory() < limit + PIECE:
            taken.append(np.ones(PIECE, np.uint8))
        time.sleep(0.01)
    taken.clear()
    y = [one.result()["y"].tolist() for one in flying]
    (after,) = running.status().cards
print(json.dumps([before.pid, after.pid, after.restarts, killed.why, y]))
"""


def test_a_card_that_ray_kills_for_its_hosts_memory_is_told_as_such(tmp_path: Path) -> None:
    path = write_mlp(tmp_path, "slow", width=WIDTH, rows=1)
    plan = planned(model("slow", path, emulated={"execute": "300ms"}), count=1)
    (tmp_path / "plan.json").write_text(plan.to_json())
    x = rows(2)
    np.save(tmp_path / "x.npy", x)
    driver = subprocess.run(
        [sys.executable, "-c", DRIVER, tmp_path / "plan.json", tmp_path / "x.npy"],
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | LATE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert driver.returncode == 0, driver.stderr
    before, after, restarts, why, y = json.loads(driver.stdout.splitlines()[-1])
    assert f"card local/0: {why}" == HOST_FULL
    assert f"requests were on it and go elsewhere: {why}" in driver.stderr
    assert before != after
    assert restarts >= 1
    truth = Truth(path)(x)
    assert all(np.allclose(np.array(one), truth, atol=1e-5) for one in y)
