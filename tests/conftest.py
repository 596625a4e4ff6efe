"""Fixtures for all tests, and their order."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

# A busy machine is no reason to fail: examples count, not the time that each takes. They are the
# same in every run; pytest --hypothesis-profile=default looks for others.
settings.register_profile(
    "any_machine", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any_machine")

# Some tests import the engine before the emulated card does, which would have set this.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Whoever runs the tests may ignore Ctrl-C, as a shell has what it puts into the background do; the
# processes that they start must not inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: Files with Ray, which take longest: those that share one, and those that start one each.
_WITH_RAY = "tests/runtime/test_"
_WITH_THEIR_OWN = (
    "tests/docs/",
    "tests/seed/",
    "tests/ascend/test_deployment.py",
    "tests/cli/test_run.py",
    "tests/jobs/test_ray_job.py",
)
#: Of those that share one, what takes seconds.
_SHORT = (
    *("examine", "gate", "history", "journal", "map", "metrics"),
    *("parcels", "record", "router", "scouts", "start", "turns"),
)


def _place(item: pytest.Item) -> int:
    if item.nodeid.startswith(_WITH_THEIR_OWN):
        return 0
    if item.nodeid.startswith(_WITH_RAY):
        return 2 if item.path.stem.removeprefix("test_") in _SHORT else 1
    return 3


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With Ray first, and of that what is short last: so all processes end together."""
    items.sort(key=_place)


class _FromBothEnds(LoadFileScheduling):
    """All processes but two begin at the end, with what needs no Ray, as those wait for theirs.

    So three Rays do not start at once: Ray's own limit for that is tight on two processors.
    """

    def _assign_work_unit(self, node: WorkerController) -> None:
        last = next(reversed(self.workqueue))
        if self.nodes.index(node) > 1 and not last.startswith((*_WITH_THEIR_OWN, _WITH_RAY)):
            self.workqueue.move_to_end(last, last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Ours for ``--dist loadfile``."""
    return _FromBothEnds(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Path]:
    """Keep measured sizes of this test run away from the user's cache, children included.

    What a model takes on the emulated card is measured once for all processes of a run.
    """
    folder = tmp_path_factory.mktemp("cache")
    if worker_id != "master":
        measured = tmp_path_factory.getbasetemp().parent / "emulator"
        measured.mkdir(exist_ok=True)
        (folder / "emulator").symlink_to(measured)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASCEND_ORCHESTRATOR_CACHE", str(folder))
        yield folder
