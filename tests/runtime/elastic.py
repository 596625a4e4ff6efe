"""A cluster whose nodes come and go: Ray's own autoscaler, with nodes that are processes here."""

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

import psutil
from ray.util import get_node_ip_address

#: The environment of a head, and of whoever joins it.
SETTINGS = {
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "0",
    "RAY_AUTH_MODE": "disabled",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
}
#: The name under which the provider lists the head; under another, one more is started and ended
#: in every round.
_HEAD = "ray.head.default"
_STEPS = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray")


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def elastic_cluster(most: int, idle_seconds: float = 3.0, least: int = 0) -> Iterator[str]:
    """A head whose autoscaler adds and removes nodes of one card each; its address."""
    address = f"{get_node_ip_address()}:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="e", dir="/tmp") as folder:
        file = Path(folder, "autoscaling.json")
        file.write_text(json.dumps(_config(address, least, most, idle_seconds)))
        options = f"""--port={address.rpartition(":")[2]} --temp-dir={folder}/r --num-cpus=0
            --autoscaling-config={file} --object-store-memory=100000000
            --include-dashboard=false --disable-usage-stats"""
        head = subprocess.Popen(
            [Path(sys.executable).with_name("ray"), "start", "--head", "--block", *options.split()],
            env={**os.environ, **SETTINGS},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_for(address, head)
            yield address
        finally:
            _end(head)


def _config(address: str, least: int, most: int, idle_seconds: float) -> dict[str, object]:
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    card = {"CPU": 1, "NPU": 1, "object_store_memory": 100 << 20}
    cards = {"resources": card, "node_config": {}, "min_workers": least, "max_workers": most}
    return {
        "cluster_name": "emulated",
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "head_node_type": _HEAD,
        "available_node_types": {_HEAD: head, "cards": cards},
        "max_workers": most,
        "idle_timeout_minutes": idle_seconds / 60,
        "upscaling_speed": float(most),
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        **{f"{step}_commands": [] for step in (*_STEPS, "worker_start_ray")},
    }


def _wait_for(address: str, head: "subprocess.Popen[bytes]") -> None:
    host, _, port = address.rpartition(":")
    while head.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection((host, int(port)), 5).close()
            return


def _end(head: "subprocess.Popen[bytes]") -> None:
    family = psutil.Process(head.pid).children(recursive=True)
    head.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        head.wait(timeout=10)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    head.kill()
    head.wait()
