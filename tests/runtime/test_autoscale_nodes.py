"""Ray's own autoscaler, with nodes that are processes here: none, two for a job, none again."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from ray.util import get_node_ip_address

from tests.models import write_mlp
from tests.runtime.deployments import SIZES, WIDTH, rows

DRIVER = """
import json, sys, time
from pathlib import Path
import ray
from orchestrator import Orchestrator, load_deployment

folder = Path(sys.argv[2])
seen = []

def nodes():
    alive = [n for n in ray.nodes() if n["Alive"] and n["Resources"].get("NPU")]
    if not seen or seen[-1] != len(alive):
        seen.append(len(alive))
    return len(alive)

ray.init(sys.argv[1], log_to_driver=False)
nodes()
with Orchestrator(load_deployment(folder / "deployment.yaml")) as orc:
    nodes()
    columns = {"x": "data"}
    job = orc.run(folder / "in.npy", folder / "out", model="one", columns=columns, batch_size=1)
    while not job.done:
        nodes()
        time.sleep(0.2)
    done = job.wait().rows
    while nodes():
        time.sleep(0.2)
    events = [(event.before, event.cards) for event in orc.status().scaling.events]
print(json.dumps({"nodes": seen, "rows": done, "events": events}))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def elastic_cluster(most: int) -> Iterator[str]:
    """A head whose autoscaler adds and removes nodes of one card each; its address."""
    address = f"{get_node_ip_address()}:{free_port()}"
    steps = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray")
    worker = {"CPU": 1, "NPU": 1, "object_store_memory": 100 << 20}
    config = {
        "cluster_name": "emulated",
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "cards": {
                "resources": worker,
                "node_config": {},
                "min_workers": 0,
                "max_workers": most,
            },
        },
        "max_workers": most,
        "idle_timeout_minutes": 0.05,
        "upscaling_speed": 1.0,
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        **{f"{step}_commands": [] for step in (*steps, "worker_start_ray")},
    }
    env = dict(
        os.environ,
        RAY_FAKE_CLUSTER="1",
        RAY_enable_autoscaler_v2="0",
        AUTOSCALER_UPDATE_INTERVAL_S="1",
        RAY_AUTH_MODE="disabled",
    )
    with tempfile.TemporaryDirectory(prefix="e", dir="/tmp") as folder:
        file = Path(folder, "autoscaling.json")
        file.write_text(json.dumps(config))
        ray_command = Path(sys.executable).with_name("ray")
        options = [
            f"--port={address.rpartition(':')[2]}",
            f"--temp-dir={folder}/r",
            f"--autoscaling-config={file}",
            "--num-cpus=0",
            "--object-store-memory=100000000",
            "--include-dashboard=false",
            "--disable-usage-stats",
        ]
        head = subprocess.Popen(
            [ray_command, "start", "--head", "--block", *options],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for(address, head)
            yield address
        finally:
            family = psutil.Process(head.pid).children(recursive=True)
            head.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                head.wait(timeout=10)
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            head.kill()
            head.wait()


def wait_for(address: str, head: "subprocess.Popen[bytes]") -> None:
    host, _, port = address.rpartition(":")
    while head.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection((host, int(port)), 5).close()
            return


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_nodes_come_for_a_job_and_go(tmp_path: Path) -> None:
    write_mlp(tmp_path, "one", width=WIDTH, rows=1)
    (tmp_path / "deployment.yaml").write_text(
        json.dumps(
            {
                "name": "elastic",
                "cards": {"kind": "emulated", "count": 2, "capacity": "64MiB"},
                "autoscale": {"min_cards": 0, "idle": "2s"},
                "models": [
                    {
                        "name": "one",
                        "path": "one.mindir",
                        "sizes": SIZES,
                        "service_time": "10ms",
                        "emulated": {"execute": "10ms"},
                    }
                ],
            }
        )
    )
    np.save(tmp_path / "in.npy", rows(4000))
    with elastic_cluster(most=2) as address:
        env = {**os.environ, "RAY_AUTH_MODE": "disabled"}
        env.pop("RAY_ADDRESS", None)
        driver = subprocess.run(
            [sys.executable, "-c", DRIVER, address, tmp_path],
            env=env,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
    assert driver.returncode == 0, driver.stderr
    told = json.loads(driver.stdout.splitlines()[-1])
    assert told["rows"] == 4000
    assert told["nodes"][0] == 0
    assert max(told["nodes"]) == 2
    assert told["nodes"][-1] == 0
    assert told["events"] == [[1, 2], [2, 0]]
