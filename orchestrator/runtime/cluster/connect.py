"""Start a Ray of our own or join one, quietly, and leave nothing behind.

Ray's own rules that shape this: a bare ``ray.init()`` may join whatever runs on the host, so the
address is always explicit; token authentication is on by default since 2.60, and its token can come
from the environment instead of a file in the user's home; its socket paths must stay below 107
bytes, so the session folder needs a short name.
"""

import contextlib
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import ray

from orchestrator.errors import ClusterError
from orchestrator.inventory import ray_resources
from orchestrator.runtime.cluster.leftovers import end_leftovers
from orchestrator.runtime.cluster.light import light_start
from orchestrator.runtime.cluster.staying import Staying

#: Largest share of free shared memory, and of nothing more than this, for a Ray of our own.
_OBJECT_STORE_MOST = 1 << 30
_OBJECT_STORE_LEAST = 100 << 20
#: What is left of a socket's 107 bytes for the folder that Ray puts its session folder into.
_TEMP_ROOT_MOST = 24
_PROBE_SECONDS = 5.0
_STARTS = 3
#: How often the folder of a Ray of our own is removed until it stays away, and the pause between.
_REMOVALS, _REMOVAL_SECONDS = 20, 0.1
#: Ray tells these on standard output, where our own output goes; our status says the same.
_NOISE = (
    r"A worker died or was killed|Raylet is terminated|The node with node id"
    r"|retries remaining, so the task will be retried"
)
_AUTH = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")

_log = logging.getLogger(__name__)
_staying = Staying()
#: The folder of the Ray of our own that this process is in.
_ours: list[Path] = []


@dataclass
class Connection:
    """Ray, joined or started by us. ``close`` undoes exactly what ``connect`` did."""

    address: str
    joined: bool
    folder: Path | None = None
    _undo: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def ours(self) -> bool:
        """Whether this Ray was started by us and ends with us."""
        return self.folder is not None

    def close(self) -> None:
        """Leave a Ray that we joined, end one that we started, and remove its folder."""
        self._undo.close()


def connect(
    address: str | None,
    *,
    resources: Mapping[str, float] | None = None,
    object_store_bytes: int | None = None,
) -> Connection:
    """Connect this process to Ray.

    ``address``: ``local`` starts a Ray of our own, with ``resources`` and ``object_store_bytes``;
    ``auto`` joins the one of this machine, ``host:port`` that one. None means the Ray that this
    process is connected to already, else ``RAY_ADDRESS``, else ``local``.

    Raises:
        ClusterError: it cannot be started or joined.
    """
    if ray.is_initialized():
        return _existing(address)
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    logging.getLogger("ray._private.accelerators.npu").setLevel(logging.CRITICAL)
    if address == "local":
        return _start(resources or {}, object_store_bytes)
    return _join(address)


def _existing(address: str | None) -> Connection:
    here = ray.get_runtime_context().gcs_address
    if address not in (None, "auto", here):
        raise ClusterError(
            str(address),
            f"this process is connected to Ray at {here} already",
            "leave the address out to use that one, or call ray.shutdown() first",
        )
    return Connection(here, joined=False, _undo=_held())


def _held() -> contextlib.ExitStack:
    """What a connection undoes, whichever it is."""
    undo = contextlib.ExitStack()
    _staying.hold()
    undo.callback(_staying.release)
    return undo


def started_here() -> bool:
    """Whether this process has started the Ray of ours that it is connected to."""
    return bool(_ours)


def _start(resources: Mapping[str, float], object_store_bytes: int | None) -> Connection:
    undo = _held()
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(undo.close)  # an exception, or Ctrl-C
        folder = Path(tempfile.mkdtemp(prefix="ao-", dir=_temp_root()))
        undo.callback(_remove, folder)
        undo.callback(end_leftovers, folder)
        reclaim_sigterm = _keep_sigterm(undo)
        here: list[str] = []
        undo.callback(_shut_down, here)
        with light_start():
            _provide_token()
            _init(
                "local",
                partial(end_leftovers, folder),
                "see the logs of Ray for the reason, and whether this machine has memory to spare",
                include_dashboard=False,
                object_store_memory=object_store_bytes or _object_store_bytes(),
                **ray_resources(resources),
                _temp_dir=str(folder),
            )
        here.append(ray.get_runtime_context().gcs_address)
        reclaim_sigterm()
        _ours.append(folder)
        undo.callback(_ours.remove, folder)
        on_failure.pop_all()
    return Connection("local", joined=True, folder=folder, _undo=undo)


def _join(address: str) -> Connection:
    if address.startswith("ray://"):
        raise ClusterError(
            address,
            "the Ray client protocol is not supported",
            "run the driver on a node of the cluster (ray job submit) or use host:port of the head",
        )
    if address != "auto":
        require_answer(address)
    undo = _held()
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(undo.close)
        reclaim_sigterm = _keep_sigterm(undo)
        here: list[str] = []
        undo.callback(_shut_down, here)
        _use_token_if_there_is_one()
        _init(
            address,
            _nothing,
            "is a Ray running there? ray status shows it, ray start --head starts one",
        )
        here.append(ray.get_runtime_context().gcs_address)
        reclaim_sigterm()
        on_failure.pop_all()
    return Connection(here[0], joined=True, _undo=undo)


def _shut_down(here: list[str]) -> None:
    """Leave the Ray at this address; none yet: whatever there is of it.

    The user may have left it before, and be in another one by now.
    """
    if not here or (ray.is_initialized() and ray.get_runtime_context().gcs_address in here):
        ray.shutdown()


def _init(
    address: str,
    clean_up: Callable[[], None],
    hint: str,
    **options: Any,  # noqa: ANN401 - ray.init's own
) -> None:
    for name in ("authentication.authentication_token_setup", "worker"):
        logging.getLogger(f"ray._private.{name}").setLevel(logging.ERROR)
    try:
        _init_patiently(address, clean_up, options)
    except Exception as error:  # Ray raises bare Exception for a node that is late
        text = str(error).strip() or repr(error)
        if "uthentication" in text or "token" in text:
            hint = (
                "this Ray asks for a token: copy ~/.ray/auth_token from its head node, or set "
                "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
            )
        raise ClusterError(address, text.splitlines()[0].rstrip("."), hint) from error
    _silence_ray()


def _init_patiently(address: str, clean_up: Callable[[], None], options: Mapping[str, Any]) -> None:
    """Try once more when Ray's own processes took too long to come up, as on a busy machine.

    Ray's limits for that are fixed (raylet/node_manager.cc WaitForDashboardAgentPorts, node.py).
    """
    for attempt in range(1, _STARTS + 1):
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
        except Exception as error:
            if attempt == _STARTS or "timed out during startup" not in str(error):
                raise
            clean_up()
        else:
            return


def _nothing() -> None:
    """A Ray that was there before leaves nothing of ours."""


def _silence_ray() -> None:
    """Keep Ray's paragraphs about dead workers off standard output, which ``--json`` owns.

    Ray prints them in spite of ``log_to_driver=False``; its own switch is an environment variable
    that must be set before its import, and the same expression is kept here.
    """
    worker = getattr(ray, "_private", None) and ray._private.worker
    for name in ("stdout_deduplicator", "stderr_deduplicator"):
        deduplicator = getattr(worker, name, None)
        if deduplicator is not None and getattr(deduplicator, "skip_re", "") is None:
            deduplicator.skip_re = re.compile(_NOISE)


def _provide_token() -> None:
    """Let Ray's default, token authentication, take a token from this process's environment.

    Without one Ray would write ``~/.ray/auth_token``. The token stays for the life of the process,
    because Ray reads it once.
    """
    home = Path.home() / ".ray" / "auth_token"
    if "RAY_AUTH_MODE" in os.environ or home.exists() or any(name in os.environ for name in _AUTH):
        return
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _use_token_if_there_is_one() -> None:
    """Ray tries a token by itself only for a cluster that it finds by itself (``auto``)."""
    try:
        from ray._private.authentication.authentication_token_setup import (
            maybe_enable_token_auth_if_token_available as enable,
        )
    except ImportError:  # before token authentication came
        return
    logging.getLogger(enable.__module__).setLevel(logging.ERROR)
    enable(warn_if_disabled=False)


def require_answer(address: str) -> None:
    """Say at once that nobody listens at ``host:port``, which Ray says after a minute.

    Raises:
        ClusterError: nobody does, or it is no address.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(address, "not an address", "write local, auto, or host:port")
    try:
        socket.create_connection((host, int(port)), _PROBE_SECONDS).close()
    except OSError as error:
        raise ClusterError(
            address, f"nobody answers ({error})", "is the head running, and is this its port?"
        ) from error


def _object_store_bytes() -> int:
    """At most half of the free shared memory: what is larger spills to slow files."""
    try:
        free = shutil.disk_usage("/dev/shm").free
    except OSError:
        return _OBJECT_STORE_LEAST
    return max(min(free // 2, _OBJECT_STORE_MOST), _OBJECT_STORE_LEAST)


def _temp_root() -> str:
    root = tempfile.gettempdir()
    return root if len(root) <= _TEMP_ROOT_MOST else "/tmp"


def _keep_sigterm(undo: contextlib.ExitStack) -> Callable[[], None]:
    """What to call after ``ray.init`` so that SIGTERM leaves all ``with`` blocks, like Ctrl-C.

    Ray's core catches it below Python and aborts the process three seconds later, which may be too
    early to stop all cards. A handler that the user had set is kept.
    """
    before = signal.getsignal(signal.SIGTERM)
    undo.callback(_set_sigterm, signal.SIG_DFL if before is None else before)
    return partial(_set_sigterm, _leave if before in (None, signal.SIG_DFL) else before)


def _set_sigterm(handler: Any) -> None:  # noqa: ANN401 - whatever signal.getsignal may return
    if threading.current_thread() is threading.main_thread():  # Python's rule
        signal.signal(signal.SIGTERM, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _remove(folder: Path) -> None:
    """Remove it, and again if a process of Ray's that was just ending has written there."""
    for _ in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_REMOVAL_SECONDS)
    files = sorted(name for _, _, names in os.walk(folder) for name in names)
    _log.warning("the folder of the Ray that has ended stays: %s, with %s", folder, files[:10])
